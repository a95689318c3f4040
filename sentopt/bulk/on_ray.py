"""Units on a Ray cluster: a pool of actors, each of which opens the bundle once and answers on one core.

Ray starts an actor that was killed again, and gives its unit to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from sentopt.bulk.job import Job
from sentopt.bulk.units import Unit
from sentopt.bulk.work import Outcome, Work, outcome

_RETRIES = 3  # of an actor and of its unit, such as one for which there is not enough memory
_OF_A_CORE = 0.9  # an actor takes; what is left lets Ray's own tasks, which hand out the units, run


class _Actor:
    """Scores the units whose positions it is given."""

    def __init__(self, work: Work, units: Sequence[Unit]) -> None:
        self._units = units
        self._scorer = work.scorer(work.job())

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        positions = [int(position) for position in batch["id"]]
        return {"id": positions, "outcome": [outcome(self._scorer, self._units[i]) for i in positions]}


def run(
    work: Work, job: Job, pending: Sequence[Unit], advance: Callable[[int], None]
) -> Iterator[tuple[Unit, Outcome]]:
    """Each unit with what became of it, in the order in which they are finished.

    Connects to the cluster that `RAY_ADDRESS` names, else starts Ray on this machine. The paths of bundle, inputs and
    output must be the same on all machines.
    """
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        actors = max(1, min(len(pending), int(ray.cluster_resources().get("CPU", 1))))
        scored = ray.data.from_items(
            [{"id": i} for i in range(len(pending))], override_num_blocks=len(pending)
        ).map_batches(
            _Actor,
            batch_size=1,
            concurrency=actors,
            num_cpus=_OF_A_CORE,
            fn_constructor_args=(replace(work, threads=1), list(pending)),
            max_restarts=_RETRIES,
            max_task_retries=_RETRIES,
        )
        for row in scored.iter_rows():
            unit = pending[int(row["id"])]
            advance(unit.rows)
            yield unit, row["outcome"]
    finally:
        if started_here:
            ray.shutdown()
