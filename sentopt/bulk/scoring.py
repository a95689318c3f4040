"""One unit: its rows with their answers become one output file, then a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sentopt.bulk import units
from sentopt.bulk.job import Job, UnitRecord
from sentopt.bulk.reading import Reader
from sentopt.bulk.units import Unit
from sentopt.bundles import score as table_scoring
from sentopt.bundles.score import Tally
from sentopt.data import row_groups, scorable
from sentopt.data.row_writer import BatchWriter, RowWriter
from sentopt.errors import DataError
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text


class Scorer:
    """Scores the units of a job with one classifier, one after the other."""

    def __init__(self, job: Job, classifier: Classifier) -> None:
        self._job, self._classifier = job, classifier
        self._reader = Reader(job.description.columns, job.options)

    def score(self, unit: Unit, advance: Callable[[int], None] = lambda rows: None) -> UnitRecord:
        """Write the output file of a unit, then its record.

        The columns are those of the file, then `label`, `score` and `p_<label>` for each label; with the prefix
        `predicted_` where the file has such names. They are null in a row without an answer. A multi-label model gives
        a list `labels` in the place of `label` and `score`.

        Raises:
            DataError: the file cannot be read, or its columns leave no names for the answers.
            OutputError: the output cannot be written.
        """
        job, labels = self._job, self._job.description.labels
        sets = bool(self._classifier.thresholds)
        added = table_scoring.free_columns(unit.source.place, labels, unit.columns, sets=sets)
        tally, unreadable = Tally(), 0
        with job.folder.adding(unit.name) as path:
            with _writer(unit, path, added, sets) as writer:
                for window in self._reader.windows(unit):
                    texts: list[Text] = ["" if text is None else text for text in window.texts]
                    answers = table_scoring.answers_to(self._classifier, texts)
                    writer.write(window.rows, [table_scoring.cells(added, answer, sets=sets) for answer in answers])
                    tally.add(answers)
                    unreadable += window.texts.count(None)
                    advance(len(texts))
                if tally.rows != unit.rows:
                    raise DataError(f"{unit.source.place} has changed: {tally.rows} rows where {unit.rows} were")
            record = UnitRecord(
                rows=tally.rows,
                empty=tally.unanswered - unreadable,
                unreadable=unreadable,
                truncated=tally.truncated,
                abstained=tally.abstained,
                size=path.stat().st_size,
                labels=tally.of_labels(labels),
                without_label=tally.without_label,
            )
        job.finish(unit, record)
        return record


def _writer(unit: Unit, path: Path, added: Sequence[str], sets: bool) -> RowWriter | BatchWriter:
    if unit.source.kind != "parquet":
        return RowWriter(path, [*unit.columns, *added])
    types = scorable.arrow_types(table_scoring.types_of(added, sets=sets))
    with units.opened(unit.source) as file:
        return BatchWriter(path, file.schema_arrow, types, row_groups.compression_of(file.metadata))
