"""Units in this process, one after the other; the workers of the runtime share the texts of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sentopt.bulk.job import Job
from sentopt.bulk.units import Unit
from sentopt.bulk.work import Outcome, Work, outcome


def run(
    work: Work, job: Job, pending: Sequence[Unit], advance: Callable[[int], None]
) -> Iterator[tuple[Unit, Outcome]]:
    """Each unit with what became of it; `advance` is called with numbers of rows.

    Raises:
        BundleError: the bundle cannot be loaded.
    """
    scorer = work.scorer(job)
    for unit in pending:
        yield unit, outcome(scorer, unit, advance)
