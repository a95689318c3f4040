"""The output folder of a job: what it is for, the files it reads, and which of their units are finished.

`_sentopt/job.json` describes it, `_sentopt/sources/` the files, and `_sentopt/units/` has a record for each finished
unit, which is written after its output file. Every record is replaced in one step, so many processes, on many machines,
may share the folder. Readers of data sets leave out what begins with an underscore.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sentopt import records
from sentopt.bulk import units
from sentopt.bulk.inputs import JOB, Source
from sentopt.bulk.places import OutputFolder
from sentopt.bulk.units import Unit
from sentopt.data.options import TableOptions
from sentopt.errors import OutputError

_SCHEMA = 1
_OWN, _SOURCES, _UNITS = "_sentopt", "_sentopt/sources", "_sentopt/units"
R = TypeVar("R")


@dataclass(frozen=True)
class JobDescription:
    """What decides the bytes of the output.

    Attributes:
        bundle: SHA-256 of its description, which has those of its files.
        name: of the bundle, for people.
        labels: of the bundle, in the order of the columns.
        text_column: the column with the texts, or a field in one.
        abstain_below: lowest score of an answer.
        unit_rows: of a unit at least, where the file has as many.
        encoding, delimiter, quote: how delimited files are read.
        pair_column: the column with the second texts of pairs; empty where texts stand alone.
    """

    bundle: str
    name: str
    labels: tuple[str, ...]
    text_column: str
    abstain_below: float
    unit_rows: int
    encoding: str
    delimiter: str
    quote: str
    schema: int = _SCHEMA
    pair_column: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """That of the texts, or those of both texts of pairs."""
        return (self.text_column, self.pair_column) if self.pair_column else (self.text_column,)


@dataclass(frozen=True)
class SourceRecord:
    """A file that the job reads: what it was when its units were counted, its columns, and start, count and rows of
    each unit."""

    place: str
    size: int
    fingerprint: str
    columns: tuple[str, ...]
    units: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class UnitRecord:
    """What became of the rows of a unit.

    Attributes:
        rows: how many there are.
        empty: how many had no text, or a blank one, and got no answer.
        unreadable: how many had something that is no text, and got no answer.
        truncated: how many texts were cut.
        abstained: how many answers were left out for their low score.
        size: of the output file in bytes.
        labels: how often each was given.
        without_label: answers of a multi-label model that have no label.
    """

    rows: int
    empty: int
    unreadable: int
    truncated: int
    abstained: int
    size: int
    labels: dict[str, int] = field(default_factory=dict)
    without_label: int = 0

    @classmethod
    def sum(cls, parts: Sequence[UnitRecord], labels: Sequence[str]) -> UnitRecord:
        """All of them together."""
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(part.labels)
        return cls(
            rows=sum(part.rows for part in parts),
            empty=sum(part.empty for part in parts),
            unreadable=sum(part.unreadable for part in parts),
            truncated=sum(part.truncated for part in parts),
            abstained=sum(part.abstained for part in parts),
            size=sum(part.size for part in parts),
            labels={label: counts[label] for label in labels},
            without_label=sum(part.without_label for part in parts),
        )


class Job:
    """An output folder that belongs to one bundle with one set of options."""

    def __init__(self, folder: OutputFolder, description: JobDescription) -> None:
        self.folder, self.description = folder, description

    @classmethod
    def begun(cls, folder: OutputFolder, description: JobDescription) -> Job:
        """A new job, or the one that is in the folder already.

        Raises:
            OutputError: the folder has another job, or files of others.
        """
        folder.check()
        content = folder.read(JOB)
        if content is None:
            if there := [name for name in folder.names() if name != _OWN]:
                raise OutputError(
                    f"{folder.place} holds other files ({', '.join(there[:3])}): name a new folder, or one of a job to "
                    "be continued"
                )
        elif folder.names(_SOURCES) or folder.names(_UNITS):  # else nothing was scored for it: it may have been a slip
            begun = _decoded(JobDescription, content, f"{folder.place}/{JOB}")
            if begun != description:
                raise OutputError(
                    f"{folder.place} belongs to a job with {_difference(begun, description)}. Name another folder, or "
                    "give what it was begun with: its rows are scored in one way"
                )
            return cls(folder, begun)
        folder.write(JOB, _as_bytes(description))
        return cls(folder, description)

    def units_of(self, source: Source, notify: Callable[[str], None]) -> list[Unit]:
        """The units of a file, which are counted once.

        Raises:
            OutputError: the file has changed since its units were counted.
            DataError: it cannot be read.
        """
        name = f"{_SOURCES}/{source.key}.json"
        if (content := self.folder.read(name)) is not None:
            known = _decoded(SourceRecord, content, f"{self.folder.place}/{name}")
            if (known.size, known.fingerprint) != (source.size, source.fingerprint):
                raise OutputError(
                    f"{source.place} has changed since {self.folder.place} was begun: name another folder, or give "
                    "the file another name"
                )
            return [Unit(source, known.columns, index, *one) for index, one in enumerate(known.units)]
        found = units.of(source, self.description.columns, self.options, self.description.unit_rows, notify)
        pieces = tuple((unit.start, unit.count, unit.rows) for unit in found)
        record = SourceRecord(source.place, source.size, source.fingerprint, found[0].columns, pieces)
        self.folder.write(name, _as_bytes(record))
        return found

    @property
    def options(self) -> TableOptions:
        """How delimited files are read."""
        made_with = self.description
        return TableOptions(made_with.encoding, made_with.delimiter, made_with.quote, setting="--{} {}")

    def finished(self, wanted: Sequence[Unit]) -> dict[str, UnitRecord]:
        """The records of those units that are finished, by name; their output files are there, in full size."""
        there = set(self.folder.names(_UNITS))
        done = {}
        for unit in wanted:
            name = f"{unit.name}.json"
            if name in there and (content := self.folder.read(f"{_UNITS}/{name}")) is not None:
                record = _decoded(UnitRecord, content, f"{self.folder.place}/{_UNITS}/{name}")
                if self.folder.size(unit.name) == record.size:
                    done[unit.name] = record
        return done

    def open_units(self, units: Sequence[Unit]) -> int:
        """How many of these are not finished, by whomever. Removes what processes left that were killed long ago."""
        names = {unit.name for unit in units}
        self.folder.remove_leftovers(names)
        return len(names - {name.removesuffix(".json") for name in self.folder.names(_UNITS)})

    def finish(self, unit: Unit, record: UnitRecord) -> None:
        """Record a unit, whose output file is there."""
        self.folder.write(f"{_UNITS}/{unit.name}.json", _as_bytes(record))


def _as_bytes(record: object) -> bytes:
    return (json.dumps(records.to_json(record), indent=1) + "\n").encode()


def _decoded(kind: type[R], content: bytes, where: str) -> R:
    try:
        return records.from_json(kind, json.loads(content))
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{where} is not a record of this version of sentopt: {error}") from error


def _difference(there: JobDescription, wanted: JobDescription) -> str:
    """The first thing in which two jobs differ."""
    if there.bundle != wanted.bundle:
        return f"another bundle ({there.name}, made otherwise than {wanted.name})"
    name = next(name for name, value in vars(there).items() if value != getattr(wanted, name))
    return f"the {name.replace('_', ' ')} {getattr(there, name)!r}, and not {getattr(wanted, name)!r}"
