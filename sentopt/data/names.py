"""What a user may name as data, and the recipe keys and the name of a run that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentopt import records
from sentopt.data import folders, formats
from sentopt.data.catalog import DATASETS
from sentopt.errors import DataError
from sentopt.run_dir import SPLITS
from sentopt.runtime.file_names import refusal


def overrides(data: str | None, *, tuned: bool = False) -> dict[str, Any]:
    """`--data` as recipe keys: a file, a folder with train.* (validation.*, test.*), or a name of the dataset table.

    Data for a `tuned` model may lack a train split: its test split is then all the data there is.
    """
    if not data:
        return {}
    path = Path(data).expanduser()
    if path.is_dir():
        try:
            chosen = folders.find(path, lone_test=tuned)
        except DataError as error:
            if data not in DATASETS:
                raise
            raise DataError(f"{error}. For the dataset of that name: --set data.dataset={data}") from error
    elif "://" in data:
        raise DataError(f"--data {data} is an address: download the file, and name it")
    elif path.exists() or formats.is_table(path.name):
        for file in folders.expand(data):
            formats.reading_format(file)
        chosen = {"train": str(path)}
    elif data in ("sample", "files", "hub", *DATASETS):
        return {"data.dataset": data, "run.name": data}
    else:
        hint = records.nearest(data, ["sample", *DATASETS])
        raise DataError(
            f"--data {data}: no such file, folder or dataset{hint}; the datasets are sample, {', '.join(DATASETS)}"
        )
    if any(not _is_text(name) for name in chosen.values()):
        raise DataError(f"--data {data!r}: the path is not UTF-8; rename it")
    paths = {f"data.{split}": chosen.get(split, "") for split in SPLITS}
    return {"data.dataset": "files", "run.name": run_name(path.name.split(".")[0]), "data.labels": [], **paths}


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def run_name(text: str) -> str:
    """A name that a recipe may have, as near to `text` as can be."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in text).strip("-_")
    return name if name[:1].isascii() and name and not refusal(name) else f"run-{name}".rstrip("-")
