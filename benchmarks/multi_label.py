"""Texts with any number of labels, made of real sentences: `python benchmarks/multi_label.py --folder exports/joined`.

Each text is one to three sentences of SST-2 (film reviews) and of the tweets of Kaggle's Tweet Sentiment Extraction,
joined in a random order. Its labels are what occurs in it: praise or criticism of a film, a happy or an unhappy tweet.
Neutral tweets have no label, so some texts have none. Every split is made of the sentences of that split of the source,
and no sentence is used twice. The made task is easier than real ones: it tests the way from data to bundle.

The files of both data sets are below SENTOPT_DATA_DIR. The same command makes the same files.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

LABELS = ("film_praise", "film_criticism", "happy_tweet", "unhappy_tweet")
_FILMS = {"train": "sst2/train.csv.gz", "validation": "sst2/validation.csv", "test": "sst2/test.csv"}
_TWEETS = {"train": "tweets/train.csv.gz", "test": "tweets/test.csv"}
_SENTENCES = {"train": "train", "validation": "train", "test": "test"}  # the split of the tweets
_OF_FILMS, _OF_TWEETS = {"1": 0, "0": 1}, {"2": 2, "0": 3, "1": None}
Sentence = tuple[str, int | None]
SIZES = {"train": 6_000, "validation": 800, "test": 1_600}
SEED = 20_261_129


def main() -> None:
    """Write train.csv, validation.csv and test.csv."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("exports/joined"))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(os.environ["SENTOPT_DATA_DIR"]).expanduser()
    tweets = {name: list(_shuffled(root / file, "text", _OF_TWEETS)) for name, file in _TWEETS.items()}
    for split, count in SIZES.items():
        films = list(_shuffled(root / _FILMS[split], "sentence", _OF_FILMS))
        made = list(joined(films, tweets[_SENTENCES[split]], count, seed=f"{SEED} {split}"))
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["text", *LABELS])
            writer.writerows(made)
        print(f"{folder / split}.csv: {len(made)} texts")


def joined(films: list[Sentence], tweets: list[Sentence], count: int, *, seed: str) -> Iterator[list[object]]:
    """Rows of a text and a 0 or 1 for each label; the sentences are taken from the ends of the lists."""
    draw = random.Random(seed)
    for _ in range(count):
        sources = draw.choices([films, tweets], k=draw.randint(1, 3))
        if any(len(source) < 3 for source in (films, tweets)):
            return
        parts = [source.pop() for source in sources]
        held = {label for _, label in parts}
        yield [" ".join(text for text, _ in parts), *(int(label in held) for label in range(len(LABELS)))]


def _shuffled(path: Path, column: str, labels: Mapping[str, int | None]) -> list[Sentence]:
    """The sentences of a file with their labels, in a random order that is always the same."""
    packed = path.read_bytes()
    text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    found = [(" ".join(row[column].split()), labels[row["label"]]) for row in rows if row[column].split()]
    random.Random(f"{SEED} {path.name}").shuffle(found)
    return found


if __name__ == "__main__":
    main()
