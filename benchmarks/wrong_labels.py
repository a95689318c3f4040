"""How many wrong labels are found: labels of SST-2 are flipped at random, and looked for among the likeliest ones.

    python benchmarks/wrong_labels.py --data $SENTOPT_DATA_DIR/sst2/train.csv.gz

Prints the share of the flips among the first 2 % and 4 % of all texts, least probable label first, the number of wrong
labels that is estimated, and the time. Without --data, texts are those of the bundled corpus.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sentopt.audit import wrong_labels
from sentopt.data import duplicates, sources, splits
from sentopt.data.rows import Examples
from sentopt.recipe import DataSection


def main() -> None:
    """Flip labels, look for them, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=sources.SAMPLE_FOLDER / "train.csv", help="a table of texts")
    parser.add_argument("--text-column", default="sentence", help="its column of texts")
    parser.add_argument("--flips", type=float, default=0.02, help="share of labels that are flipped")
    parser.add_argument("--texts", type=int, default=0, help="use at most this many texts")
    parser.add_argument("--seed", type=int, default=0, help="of the flips and the folds")
    arguments = parser.parse_args()
    column = "text" if arguments.data.parent == sources.SAMPLE_FOLDER else arguments.text_column
    data = DataSection(dataset="files", train=str(arguments.data), text_column=column)
    train = splits.labelled_rows(sources.load(data), data, []).splits["train"]
    examples = Examples(train.rows.checked_texts(), train.labels)
    examples = examples.take(duplicates.one_of_each(duplicates.numbered([examples.texts])[0], examples.labels)[0])
    examples = examples.take(np.arange(min(len(examples), arguments.texts or len(examples))))
    noisy, flips = flipped(examples, arguments.flips, arguments.seed)
    started = time.perf_counter()
    probabilities = wrong_labels.unseen(noisy.texts, noisy.labels, seed=arguments.seed)
    seconds = time.perf_counter() - started
    order = np.argsort(probabilities[np.arange(len(noisy)), noisy.labels], kind="stable")
    right = float((probabilities.argmax(axis=1) == examples.labels).mean())
    print(f"{len(noisy):,} texts, {int(flips.sum()):,} flipped labels ({flips.mean():.1%}); {seconds:.0f} s")
    print(f"right answers of the models that have not seen the text: {right:.1%}")
    for share in (0.02, 0.04):
        found = flips[order[: int(share * len(noisy))]].sum() / flips.sum()
        print(f"flips among the first {share:.0%}: {found:.1%}")
    listed = wrong_labels.find(noisy, seed=arguments.seed).rows  # learns once more
    print(f"listed as likely wrong: {len(listed):,}, with {flips[listed].sum() / flips.sum():.1%} of the flips")


def flipped(examples: Examples, share: float, seed: int) -> tuple[Examples, npt.NDArray[np.bool_]]:
    """The examples with that share of labels changed to another one, and which these are, shape (texts,)."""
    draw = np.random.default_rng(seed)
    flips = draw.random(len(examples)) < share
    count = int(examples.labels.max()) + 1
    other = (examples.labels + draw.integers(1, count, len(examples))) % count
    return Examples(examples.texts, np.where(flips, other, examples.labels)), flips


if __name__ == "__main__":
    main()
