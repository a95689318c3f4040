"""Further texts without labels (`data.unlabelled`): a label that no variant changes on them is not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentopt.data import tables
from sentopt.data.duplicates import distinct_rows, normal_form
from sentopt.data.examples import as_text
from sentopt.data.options import TableOptions
from sentopt.errors import DataError
from sentopt.recipe import DataSection
from sentopt.runtime.description import sha256_file

MOST_TEXTS = 20_000


@dataclass(frozen=True)
class Unlabelled:
    """Distinct texts that are in none of the splits, and what was left out, in words."""

    texts: tuple[str, ...]
    notice: str


def depends(data: DataSection) -> list[str]:
    """What determines the texts that are read, the SHA-256 of the file among it; nothing without a file.

    Raises:
        DataError: there is no such file.
    """
    if not data.unlabelled:
        return []
    path = Path(data.unlabelled).expanduser()
    if not path.is_file():
        raise DataError(f"data.unlabelled: no such file: {path}")
    return [sha256_file(path), data.text_column, data.encoding, data.delimiter, data.quote]


def load(data: DataSection, known: Iterable[str], *, seed: int) -> Unlabelled:
    """The texts of `data.unlabelled` without blanks, repeats and the `known` texts of the splits; at most 20,000.

    Training texts must not be among them: INT8 is calibrated on those, so it changes fewer labels there.

    Raises:
        DataError: the file cannot be read, has no column of texts, or holds nothing but known texts.
    """
    path = Path(data.unlabelled).expanduser()
    said: list[str] = []
    texts = list(_texts(path, data, said.append))
    kept = [texts[row] for row in distinct_rows(texts, {"", *map(normal_form, known)})]
    if not kept:
        raise DataError(f"data.unlabelled: none of the {len(texts)} rows of {path} is a text that is in no split")
    notice = f"{path.name}: {len(kept)} of {len(texts)} rows are distinct texts that are in no split"
    if len(kept) > MOST_TEXTS:
        chosen = np.random.default_rng(seed).permutation(len(kept))[:MOST_TEXTS]
        kept = [kept[i] for i in sorted(chosen)]
        notice += f"; {MOST_TEXTS} of them are used"
    return Unlabelled(tuple(kept), "; ".join([notice, *said]))


def _texts(path: Path, data: DataSection, say: Callable[[str], None]) -> Iterable[str]:
    """The values of the text column; a file of plain lines, or a table with one column, needs no name for it."""
    options, column = TableOptions(data.encoding, data.delimiter, data.quote), data.text_column
    if path.suffix.lower() == ".txt":
        yield from tables.read_lines(path, options, say)
        return
    for row in tables.read_rows(path, options, say):
        name = column if column in row else next(iter(row)) if len(row) == 1 else None
        if name is None:
            found = ", ".join(repr(str(key)) for key in row)
            raise DataError(
                f"data.unlabelled: {path} has no column {column!r}; it has {found}. Give its column of texts "
                "that name, or leave no other column in it"
            )
        yield as_text(row[name], path.name)
