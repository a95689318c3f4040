"""Reading and writing small CSV files, and where the bundled corpus lies."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import sentopt

__all__ = ["LABELS", "SAMPLE", "read_csv", "write_csv"]

SAMPLE = Path(sentopt.__file__).parent / "sample"

LABELS = ("negative", "neutral", "positive")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_csv(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path
