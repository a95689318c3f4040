"""Write and read the cleaned splits in a run directory."""

from __future__ import annotations

import json
from pathlib import Path

from sentopt.data.duplicates import distinct_rows
from sentopt.data.splits import CleanData, Example
from sentopt.errors import RunDirError
from sentopt.files import atomic
from sentopt.run_dir import RunDir, Split

_LABELS = "labels.json"


def write(run_dir: RunDir, clean: CleanData) -> None:
    """Write one JSONL file per split and the label names."""
    with atomic.replace_folder(run_dir.data) as folder:
        (folder / _LABELS).write_text(json.dumps(clean.labels, ensure_ascii=False) + "\n", encoding="utf-8")
        for split, examples in clean.splits.items():
            lines = (json.dumps({"text": e.text, "label": e.label}) + "\n" for e in examples)
            (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def read_labels(run_dir: RunDir) -> tuple[str, ...]:
    """Label names in the order of the model's outputs."""
    return tuple(json.loads(_read(run_dir.data / _LABELS)))


def read_split(run_dir: RunDir, split: Split) -> list[Example]:
    """The examples of one split."""
    rows = (json.loads(line) for line in _read(run_dir.split(split)).splitlines())
    return [Example(row["text"], row["label"]) for row in rows]


def read_distinct(run_dir: RunDir) -> tuple[list[int], list[int]]:
    """Positions of the distinct test texts, and of the distinct validation texts that are not test texts."""
    seen: set[str] = set()
    test = distinct_rows([example.text for example in read_split(run_dir, "test")], seen)
    return test, distinct_rows([example.text for example in read_split(run_dir, "validation")], seen)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RunDirError(f"{path} is missing: run `sentopt train` first") from error
