"""Pairs of texts made of single ones: two sentences in a row, a quotation from one of them, and the label of that one.

Each text of two sentences is in two rows, with a quotation from either. Where the sentences have different labels, the
text alone cannot tell which is asked for. For the recipe `quoted-minilm`:

    SENTOPT_DATA_DIR=data python benchmarks/quoted_sentiment.py sst2 quoted
    sentopt run quoted-minilm

The rows are the same wherever it runs.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sentopt.data import sources, splits
from sentopt.data.rows import Examples
from sentopt.recipe import DataSection
from sentopt.run_dir import SPLITS

COLUMNS = ("text", "quote", "label")
_WORDS = range(7, 26)  # of a sentence: shorter ones are phrases
_QUOTED = 4


def main() -> None:
    """Write three CSV files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="sample, or a known dataset: sst2, tweets")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--train", type=int, default=6_000, help="rows of the training split at most")
    arguments = parser.parse_args()
    data = replace(DataSection(), dataset=arguments.dataset)
    clean = splits.clean(sources.load(data), data, seed=42)
    arguments.folder.mkdir(parents=True)
    for split in SPLITS:
        rows = list(quoted(clean.splits[split], clean.labels, random.Random(split)))
        rows = rows[: arguments.train] if split == "train" else rows
        with (arguments.folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        print(f"{split}: {len(rows)} rows")


def quoted(examples: Examples, labels: tuple[str, ...], source: random.Random) -> Iterator[tuple[str, str, str]]:
    """Text, quotation and label; each sentence is in one text."""
    sentences = [(str(e.text).split(), labels[e.label]) for e in examples if len(str(e.text).split()) in _WORDS]
    source.shuffle(sentences)
    for first, second in zip(sentences[::2], sentences[1::2], strict=False):
        text = " ".join([*first[0], *second[0]])
        for words, label in source.sample([first, second], 2):
            start = source.randrange(len(words) - _QUOTED + 1)
            yield text, " ".join(words[start : start + _QUOTED]), label


if __name__ == "__main__":
    main()
