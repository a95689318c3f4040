"""A job from its inputs to the sum of what its units became."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from sentopt._optional import check_installed, needs_extra
from sentopt.bulk import inputs as sources
from sentopt.bulk import local, places
from sentopt.bulk.job import Job, UnitRecord
from sentopt.bulk.units import Unit
from sentopt.bulk.work import Outcome, Shard, Work
from sentopt.errors import DataError, InputError
from sentopt.progress import Progress

Engine = Literal["local", "ray", "spark"]
_SHOWN = 5


class _Run(Protocol):
    def __call__(
        self, work: Work, job: Job, pending: Sequence[Unit], advance: Callable[[int], None]
    ) -> Iterator[tuple[Unit, Outcome]]: ...


@dataclass(frozen=True)
class BulkSummary:
    """What a call did, and how far its share of the job is.

    Attributes:
        units: of the share.
        finished_before: how many of them were finished when the call began.
        open_units: how many units of the whole job are not finished: those of other shards.
        scored_rows: rows that this call scored.
        seconds: that it took to score them.
        total: of all units of the share that are finished.
        notices: about how files were read.
    """

    units: int
    finished_before: int
    open_units: int
    scored_rows: int
    seconds: float
    total: UnitRecord
    notices: tuple[str, ...] = ()


def score(work: Work, inputs: Sequence[str], *, shard: Shard, engine: Engine, progress: Progress) -> BulkSummary:
    """Score the files. What is finished is left as it is; what fails does not keep the other units from being scored.

    Raises:
        DataError: an input is not there, or cannot be read; or units failed, after all others were scored.
        OutputError: the output folder belongs to another job, or cannot be written.
        BundleError: the bundle cannot be loaded.
        MissingExtraError: pyarrow, or the package of the engine, is not installed.
    """
    run = _engine(engine)
    check_installed("pyarrow", extra=places.EXTRA)
    found = sources.found(inputs, output=work.output)
    job = work.job()
    notices: list[str] = []
    everything: list[Unit] = []
    failures: dict[str, str] = {}
    for source in found:
        try:
            everything += job.units_of(source, notices.append)
        except DataError as error:
            failures[source.place] = str(error)
    units = shard.of(everything)
    records = job.finished(units)
    before = len(records)
    pending = [unit for unit in units if unit.name not in records]
    start = time.perf_counter()
    done, rows = sum(record.rows for record in records.values()), sum(unit.rows for unit in units)
    if pending:
        with progress.count("score", rows, "rows", done=done) as advance:
            for unit, outcome in run(work, job, pending, advance):
                if isinstance(outcome, str):
                    failures[unit.name] = outcome
                else:
                    records[unit.name] = outcome
    if failures:
        raise DataError(_in_words(failures, job.folder.place, finished=len(records)))
    return BulkSummary(
        len(units),
        before,
        job.open_units(everything),
        sum(unit.rows for unit in pending),
        time.perf_counter() - start,
        UnitRecord.sum(list(records.values()), job.description.labels),
        tuple(notices),
    )


def _engine(name: str) -> _Run:
    if name == "local":
        return local.run
    if name == "ray":
        with needs_extra("ray"):
            from sentopt.bulk.on_ray import run as on_ray
        return on_ray
    if name == "spark":
        with needs_extra("spark"):
            from sentopt.bulk.on_spark import run as on_spark
        return on_spark
    raise InputError(f"engine {name!r}: expected one of {', '.join(get_args(Engine))}")


def _in_words(failures: dict[str, str], place: str, *, finished: int) -> str:
    reasons = list(dict.fromkeys(failures.values()))
    more = f"\nand {len(reasons) - _SHOWN} other reasons" if len(reasons) > _SHOWN else ""
    rest = f". All others are finished in {place}, and the same command tries these again" if finished else ""
    failed = f"{len(failures)} file(s) or parts of files could not be scored{rest}:"
    return "\n".join([failed, *reasons[:_SHOWN]]) + more
