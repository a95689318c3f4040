"""Units on a Spark cluster: one task a unit, one core a task; each Python worker opens the bundle once.

Spark gives the unit of a worker that was killed to another one (`spark.task.maxFailures` times).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow
from pyspark.sql import SparkSession

from sentopt import records
from sentopt.bulk.job import Job, UnitRecord
from sentopt.bulk.scoring import Scorer
from sentopt.bulk.units import Unit
from sentopt.bulk.work import Outcome, Work, outcome

_scorers: dict[Work, Scorer] = {}
"""Of this Python worker, which Spark uses for many tasks."""


def run(
    work: Work, job: Job, pending: Sequence[Unit], advance: Callable[[int], None]
) -> Iterator[tuple[Unit, Outcome]]:
    """Each unit with what became of it, when all are finished; Spark shows how far they are.

    Uses the session that there is, else one with the defaults of `spark-defaults.conf` and the environment. The paths
    of bundle, inputs and output must be the same on all machines.
    """
    session = SparkSession.getActiveSession()
    spark = session or _started()
    try:
        score = _task(replace(work, threads=1), list(pending))
        table = spark.range(0, len(pending), 1, numPartitions=len(pending))
        for row in table.mapInArrow(score, "id long, outcome string").collect():  # an iterator would run them in turns
            unit, told = pending[row["id"]], json.loads(row["outcome"])
            advance(unit.rows)
            yield unit, told if isinstance(told, str) else records.from_json(UnitRecord, told)
    finally:
        if session is None:
            spark.stop()


def _started() -> SparkSession:
    """A session with the defaults; on this machine alone, its workers run this Python."""
    session = SparkSession.builder.appName("sentopt score").getOrCreate()
    context = session.sparkContext
    if context.master.startswith("local") and not os.environ.get("PYSPARK_PYTHON"):
        context.pythonExec = (
            sys.executable
        )  # else the `python3` of PATH, as spark.pyspark.python is read by spark-submit
    return session


def _task(work: Work, units: Sequence[Unit]) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """What a Python worker does with the positions of units."""

    def score(batches: Iterator[Any]) -> Iterator[Any]:
        if work not in _scorers:
            _scorers[work] = work.scorer(work.job())
        for batch in batches:
            for position in batch.column("id").to_pylist():
                told = json.dumps(records.to_json(outcome(_scorers[work], units[position])))
                yield pyarrow.RecordBatch.from_pydict({"id": [position], "outcome": [told]})

    return score
