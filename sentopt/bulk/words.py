"""What a call of bulk scoring did, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from sentopt.bulk.score_files import BulkSummary


def of(summary: BulkSummary, place: str) -> Iterator[str]:
    """A line for each thing worth knowing."""
    total = summary.total
    if summary.scored_rows:
        rate = summary.scored_rows / max(summary.seconds, 1e-9)
        yield f"{summary.scored_rows:,} rows scored in {summary.seconds:.1f} s ({rate:,.0f} a second): {place}"
    elif summary.finished_before:
        yield f"nothing was left to score: {place}"
    else:
        yield f"there are no rows for this shard: {place}"
    if summary.finished_before:
        yield f"{summary.finished_before:,} of {summary.units:,} units were finished before"
    if summary.open_units:
        yield f"{summary.open_units:,} units of other shards are not finished"
    for count, what in (
        (total.empty, "had no text and got no answer"),
        (total.unreadable, "had something that is no text, and got no answer"),
        (total.truncated, "were cut"),
        (total.abstained, "got no label, because the best one scored too low"),
    ):
        if count:
            yield f"{count:,} row(s) {what}"
    yield from (f"  {label}: {count:,}" for label, count in total.labels.items())
    if total.without_label:
        yield f"  none of the labels: {total.without_label:,}"
