"""Pairs of texts whose labels a tiny model can learn: a sentence, and a second text that has the telling word."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csv_files import LABELS, SAMPLE, read_csv

TELLING = {"negative": "terrible", "neutral": "the", "positive": "great"}
COLUMNS = ("text", "aspect", "label")


def rows(count: int, split: str) -> list[tuple[str, str, str]]:
    """Text, aspect and label of so many rows; texts repeat with other aspects, no pair occurs twice."""
    sentences = [row["text"][:40] for row in read_csv(SAMPLE / "train.csv")]
    made = []
    for i in range(count):
        label = LABELS[i % 3]
        text = f"{sentences[(i // 3) % len(sentences)]} {split}"
        made.append((text, f"{TELLING[label]} {TELLING[label]} {i}", label))
    return made


def write(folder: Path, sizes: dict[str, int] | None = None) -> Path:
    """Three CSV files in `folder`."""
    for split, count in (sizes or {"train": 240, "validation": 60, "test": 120}).items():
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([COLUMNS, *rows(count, split)])
    return folder


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as CSV, JSON Lines or Parquet, by the ending of the path."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path
