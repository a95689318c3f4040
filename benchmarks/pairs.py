"""Pairs of texts made of single ones: a positive and a negative text, and which of them is the positive one.

    SENTOPT_DATA_DIR=data python benchmarks/pairs.py sst2 pairs
    sentopt run benchmarks/pairs.toml

Each pair comes once, in an order that is drawn; the rows are the same wherever it runs. No single text tells the label:
the model has to know which of the two it reads.
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

COLUMNS = ("text", "other", "label")
_WORDS = range(7, 31)  # of a text: shorter ones are phrases


def main() -> None:
    """Write three CSV files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="a known dataset with the labels positive and negative: sst2, tweets, imdb")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--train", type=int, default=6_000, help="rows of the training split at most")
    arguments = parser.parse_args()
    data = replace(DataSection(), dataset=arguments.dataset)
    clean = splits.clean(sources.load(data), data, seed=42)
    arguments.folder.mkdir(parents=True)
    for split in SPLITS:
        rows = list(compared(clean.splits[split], clean.labels, random.Random(split)))
        rows = rows[: arguments.train] if split == "train" else rows
        with (arguments.folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        print(f"{split}: {len(rows)} rows")


def compared(examples: Examples, labels: tuple[str, ...], source: random.Random) -> Iterator[tuple[str, str, str]]:
    """Two texts and which is the positive one, `first` or `second`; each text is in one pair."""
    texts: dict[str, list[str]] = {"positive": [], "negative": []}
    for example in examples:
        text, label = " ".join(str(example.text).split()), labels[example.label]
        if label in texts and len(text.split()) in _WORDS:
            texts[label].append(text)
    for some in texts.values():
        source.shuffle(some)
    for positive, negative in zip(texts["positive"], texts["negative"], strict=False):
        if source.random() < 0.5:
            yield positive, negative, "first"
        else:
            yield negative, positive, "second"


if __name__ == "__main__":
    main()
