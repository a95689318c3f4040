"""Millions of rows without a Python object for each: texts in Arrow buffers, in memory or mapped from a file.

Sequences here make their items when they are asked for one. A part of a sequence shares its texts and has positions.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from sentopt._optional import require
from sentopt.data.examples import Example, RawRow, as_text
from sentopt.runtime.description import Text
from sentopt.runtime.surrogates import repaired

Positions = npt.NDArray[np.int64]
Item = TypeVar("Item", covariant=True)
CHUNK_ROWS, _CHUNK_CHARACTERS = 1 << 16, 1 << 26  # at most: the strings of Arrow have offsets of 32 bits
_AT_ONCE = 4096


class Lazy(Sequence[Item]):
    """A sequence that makes its items; a slice is such a sequence, too, and equal to any that has equal items."""

    def take(self, positions: npt.ArrayLike) -> Lazy[Item]:
        """The items at these positions, in this order."""
        raise NotImplementedError

    def _item(self, position: int) -> Item:
        raise NotImplementedError

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Lazy[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Lazy[Item]:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        return self._item(range(len(self))[at])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self):,} items>"


class Texts(Lazy[str]):
    """Texts of Arrow arrays, or those of them at `positions`."""

    def __init__(self, chunks: Sequence[Any], positions: Positions | None = None) -> None:
        self._chunks = tuple(chunks)
        self._ends = np.cumsum([len(chunk) for chunk in self._chunks], dtype=np.int64)
        self._positions = positions

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """These texts, in memory."""
        writer = _Chunks(None)
        for text in texts:
            writer.add(text)
        return writer.finish()

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """The texts of all parts, one after another."""
        chunks = [chunk for part in parts for chunk in part._chunks]
        sizes = [int(part._ends[-1]) if len(part._ends) else 0 for part in parts]
        if all(part._positions is None for part in parts):
            return cls(chunks)
        starts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        own = [np.arange(size) if p._positions is None else p._positions for p, size in zip(parts, sizes, strict=True)]
        return cls(chunks, np.concatenate([positions + start for positions, start in zip(own, starts, strict=True)]))

    def __len__(self) -> int:
        if self._positions is not None:
            return len(self._positions)
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[str]:
        if self._positions is None:
            for chunk in self._chunks:
                for start in range(0, len(chunk), _AT_ONCE):
                    yield from chunk.slice(start, _AT_ONCE).to_pylist()
            return
        for start in range(0, len(self._positions), _AT_ONCE):
            where = self._positions[start : start + _AT_ONCE]
            numbers = np.searchsorted(self._ends, where, side="right")
            inside = where - np.concatenate([[0], self._ends])[numbers]
            for number, position in zip(numbers.tolist(), inside.tolist(), strict=True):
                yield self._chunks[number][position].as_py()

    def _item(self, position: int) -> str:
        where = position if self._positions is None else int(self._positions[position])
        number = int(np.searchsorted(self._ends, where, side="right"))
        before = int(self._ends[number - 1]) if number else 0
        text: str = self._chunks[number][where - before].as_py()
        return text

    def take(self, positions: npt.ArrayLike) -> Texts:
        """The texts at these positions."""
        wanted = np.asarray(positions, dtype=np.int64)
        return Texts(self._chunks, wanted if self._positions is None else self._positions[wanted])


class Pairs(Lazy[tuple[str, str]]):
    """Pairs of texts; the first and the second ones are sequences of their own."""

    def __init__(self, first: Texts, second: Texts) -> None:
        self._first, self._second = first, second

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Pairs:
        """These pairs, in memory."""
        writers = _Chunks(None), _Chunks(None)
        for pair in pairs:
            for writer, text in zip(writers, pair, strict=True):
                writer.add(text)
        first, second = (writer.finish() for writer in writers)
        return cls(first, second)

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """The pairs of all parts, one after another."""
        return cls(Texts.joined([part._first for part in parts]), Texts.joined([part._second for part in parts]))

    def __len__(self) -> int:
        return len(self._first)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self._first, self._second, strict=True)

    def _item(self, position: int) -> tuple[str, str]:
        return self._first[position], self._second[position]

    def take(self, positions: npt.ArrayLike) -> Pairs:
        """The pairs at these positions."""
        return Pairs(self._first.take(positions), self._second.take(positions))


def _joined(parts: Sequence[Lazy[Text]]) -> Texts | Pairs:
    pairs = [part for part in parts if isinstance(part, Pairs)]
    return Pairs.joined(pairs) if pairs else Texts.joined([part for part in parts if isinstance(part, Texts)])


def in_memory(texts: Iterable[Text]) -> Texts | Pairs:
    """These texts, which are all strings or all pairs."""
    listed = list(texts)
    pairs = [text for text in listed if not isinstance(text, str)]
    return Pairs.of(pairs) if pairs else Texts.of(text for text in listed if isinstance(text, str))


class _Chunks:
    """Makes Arrow arrays of texts; with a `path`, they are in that file, and the memory is free again."""

    def __init__(self, path: Path | None) -> None:
        self._pyarrow = require("pyarrow", extra="train")
        self._path = None if sys.platform == "win32" else path  # where a mapped file cannot be removed
        self._sink: Any = None
        self._writer: Any = None
        self._texts: list[str] = []
        self._characters = 0
        self._chunks: list[Any] = []

    def add(self, text: str) -> None:
        self._texts.append(text)
        self._characters += len(text)
        if len(self._texts) >= CHUNK_ROWS or self._characters >= _CHUNK_CHARACTERS:
            self._flush()

    def finish(self) -> Texts:
        if self._texts:
            self._flush()
        if self._writer is None:
            return Texts(self._chunks)
        self._writer.close()
        self._sink.close()
        table = self._pyarrow.ipc.open_stream(self._pyarrow.memory_map(str(self._path))).read_all()
        return Texts(table.column("text").chunks)

    def _flush(self) -> None:
        batch = self._pyarrow.record_batch([self._pyarrow.array(self._texts, self._pyarrow.string())], ["text"])
        if self._path is None:
            self._chunks.append(batch.column(0))
        else:
            if self._writer is None:
                self._sink = self._pyarrow.OSFile(str(self._path), "wb")
                self._writer = self._pyarrow.ipc.new_stream(self._sink, batch.schema)
            self._writer.write_batch(batch)
        self._texts, self._characters = [], 0


@dataclasses.dataclass(eq=False, repr=False)
class Examples(Lazy[Example]):
    """Texts, or pairs of them, with labels, int64."""

    texts: Lazy[Text]
    labels: Positions

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Examples:
        """These examples, in memory."""
        if isinstance(examples, Examples):
            return examples
        listed = list(examples)
        return cls(in_memory(e.text for e in listed), np.array([e.label for e in listed], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Example]:
        return map(Example, self.texts, self.labels.tolist())

    def _item(self, position: int) -> Example:
        return Example(self.texts[position], int(self.labels[position]))

    def take(self, positions: npt.ArrayLike) -> Examples:
        """The examples at these positions."""
        wanted = np.asarray(positions, dtype=np.int64)
        return Examples(self.texts.take(wanted), self.labels[wanted])

    def relabelled(self, position: Mapping[int, int]) -> Examples:
        """The same texts; `position` has the new label of each that there is."""
        table = np.zeros(max(position, default=0) + 1, dtype=np.int64)
        table[list(position)] = list(position.values())
        return Examples(self.texts, table[self.labels])

    def majority(self) -> float:
        """Accuracy of always answering the most frequent label, which a model must exceed."""
        return max(self.counts().values()) / len(self)

    def counts(self) -> dict[int, int]:
        """How often each label occurs, in order of first occurrence."""
        found, first, counts = np.unique(self.labels, return_index=True, return_counts=True)
        return {int(found[i]): int(counts[i]) for i in np.argsort(first)}


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where each row is: one of `names`, and a number after it unless that is negative."""

    names: tuple[str, ...]
    which: npt.NDArray[np.int32]
    numbers: Positions

    def of(self, row: int) -> str:
        number = int(self.numbers[row])
        name = self.names[int(self.which[row])]
        return f"{name} {number}" if number >= 0 else name

    def take(self, rows: Positions) -> _Places:
        return _Places(self.names, self.which[rows], self.numbers[rows])


@dataclasses.dataclass(eq=False, repr=False)
class Rows(Lazy[RawRow]):
    """Rows as read: each distinct label is stored once, and `codes` has its position among the `values`."""

    texts: Lazy[Text]
    codes: npt.NDArray[np.int32]
    values: tuple[Any, ...]
    _places: _Places
    _refused: Mapping[int, Any]  # what is no text at all, by row

    @classmethod
    def of(cls, rows: Iterable[RawRow]) -> Rows:
        """These rows, in memory. All are pairs where the first one is."""
        if isinstance(rows, Rows):
            return rows
        remaining = iter(rows)
        first = next(remaining, None)
        builder = RowsBuilder(pairs=first is not None and isinstance(first.text, tuple))
        for row in () if first is None else chain([first], remaining):
            builder.add(row.text, row.label, row.where)
        return builder.finish()

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        values, names, before = _Codes(), _Codes(), 0
        refused: dict[int, Any] = {}
        codes, which = [], []
        for part in parts:
            codes.append(np.array([values.of(value) for value in part.values], dtype=np.int32)[part.codes])
            which.append(np.array([names.of(name) for name in part._places.names], dtype=np.int32)[part._places.which])
            refused |= {row + before: value for row, value in part._refused.items()}
            before += len(part)
        numbers = np.concatenate([part._places.numbers for part in parts])
        places = _Places(tuple(names.values), np.concatenate(which), numbers)
        texts = _joined([part.texts for part in parts])
        return cls(texts, np.concatenate(codes), tuple(values.values), places, refused)

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[RawRow]:
        for row, text in enumerate(self.texts):
            yield RawRow(self._refused.get(row, text), self.values[self.codes[row]], self.where(row))

    def _item(self, position: int) -> RawRow:
        text = self._refused.get(position) if position in self._refused else self.texts[position]
        return RawRow(text, self.values[self.codes[position]], self.where(position))

    def take(self, positions: npt.ArrayLike) -> Rows:
        """The rows at these positions."""
        rows = np.asarray(positions, dtype=np.int64)
        refused = {}
        if self._refused:
            refused = {new: self._refused[old] for new, old in enumerate(rows.tolist()) if old in self._refused}
        return Rows(self.texts.take(rows), self.codes[rows], self.values, self._places.take(rows), refused)

    def where(self, row: int) -> str:
        """The place of a row, for messages."""
        return self._places.of(row)

    def checked_texts(self) -> Lazy[Text]:
        """The texts.

        Raises:
            DataError: the text of a row is a list, an object, or bytes that are not UTF-8.
        """
        for row in sorted(self._refused):
            as_text(self._refused[row], self.where(row))
        return self.texts

    def labels(self) -> list[tuple[int, int]]:
        """The code of each label that occurs and the first row with it, in order of rows."""
        codes, first = np.unique(self.codes, return_index=True)
        order = np.argsort(first)
        return list(zip(codes[order].tolist(), first[order].tolist(), strict=True))

    def distinct(self) -> list[Any]:
        """Each label that occurs, in order of first occurrence."""
        return [self.values[code] for code, _ in self.labels()]

    def relabelled(self, change: Callable[[Any], object]) -> Rows:
        """The same rows with other labels."""
        return dataclasses.replace(self, values=tuple(map(change, self.values)))


class RowsBuilder:
    """Collects rows one by one."""

    def __init__(self, path: Path | None = None, *, pairs: bool = False) -> None:
        """Texts go into the file `path`, or else into memory; the second ones of `pairs` into a file beside it."""
        self._texts = _Chunks(path)
        self._second = _Chunks(path.with_name(f"{path.name}-pair") if path else None) if pairs else None
        self._labels, self._names = _Codes(), _Codes()
        self._codes, self._which, self._numbers = array("i"), array("i"), array("q")
        self._refused: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, text: Any, label: Any, where: str) -> None:
        """Add a row, of pairs with a tuple of two texts; its place ends with a number, if anything."""
        if self._second is not None:
            text, second = text
            self._second.add(repaired(second if isinstance(second, str) else self._converted(second, where)))
        if not isinstance(text, str):
            text = self._converted(text, where)
        self._texts.add(repaired(text))
        self._codes.append(self._labels.of(label))
        name, blank, number = where.rpartition(" ")
        counted = bool(blank) and number.isdecimal() and len(number) < 19 and str(int(number)) == number
        self._which.append(self._names.of(name if counted else where))
        self._numbers.append(int(number) if counted else -1)

    def finish(self) -> Rows:
        """The rows that were added."""
        which, numbers = np.array(self._which, dtype=np.int32), np.array(self._numbers, dtype=np.int64)
        places = _Places(tuple(self._names.values), which, numbers)
        codes = np.array(self._codes, dtype=np.int32)
        first = self._texts.finish()
        texts = Pairs(first, self._second.finish()) if self._second else first
        return Rows(texts, codes, tuple(self._labels.values), places, self._refused)

    def _converted(self, value: Any, where: str) -> str:
        """What is no string as text; what is no text at all is refused later, if its split is used."""
        if isinstance(value, list | tuple | dict) or (isinstance(value, bytes) and not _is_utf8(value)):
            self._refused[len(self._codes)] = value
            return ""
        return as_text(value, where)


class _Codes:
    """Numbers distinct values in order of first occurrence. Values of different types are different."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._codes: dict[Hashable, int] = {}

    def of(self, value: Any) -> int:
        try:
            key: Hashable = (value.__class__, value)
            code = self._codes.get(key)
        except TypeError:  # a list, which cannot be a key
            key = (value.__class__, repr(value))
            code = self._codes.get(key)
        if isinstance(value, float) and math.isnan(value):
            key = (float, "nan")
            code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self.values)
            self.values.append(value)
        return code


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
