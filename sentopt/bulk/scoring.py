"""One unit: its rows with their answers become one output file, then a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from sentopt._optional import require
from sentopt.bulk import places, units
from sentopt.bulk.job import Job, UnitRecord
from sentopt.bulk.reading import Reader
from sentopt.bulk.units import Unit
from sentopt.bundles import score as table_scoring
from sentopt.data import row_groups
from sentopt.data.row_writer import BatchWriter, RowWriter
from sentopt.errors import DataError
from sentopt.runtime.classifier import Classifier, Prediction


class Scorer:
    """Scores the units of a job with one classifier, one after the other."""

    def __init__(self, job: Job, classifier: Classifier) -> None:
        self._job, self._classifier = job, classifier
        self._reader = Reader(job.description.text_column, job.options)

    def score(self, unit: Unit, advance: Callable[[int], None] = lambda rows: None) -> UnitRecord:
        """Write the output file of a unit, then its record.

        The columns are those of the file, then `label`, `score` and `p_<label>` for each label; with the prefix
        `predicted_` where the file has such names. They are null in a row without an answer.

        Raises:
            DataError: the file cannot be read, or its columns leave no names for the answers.
            OutputError: the output cannot be written.
        """
        job, labels = self._job, self._job.description.labels
        try:
            added = table_scoring.answer_columns(labels, taken=unit.columns)
        except DataError as error:
            raise DataError(f"{unit.source.place}: {error}; rename them there") from error
        tally = _Tally()
        with job.folder.adding(unit.name) as path:
            with _writer(unit, path, added) as writer:
                for window in self._reader.windows(unit):
                    texts = ["" if text is None else text for text in window.texts]
                    answers = table_scoring.answers_to(self._classifier, texts)
                    writer.write(window.rows, [table_scoring.cells(added, answer) for answer in answers])
                    tally.add(window.texts, answers)
                    advance(len(texts))
                if tally.rows != unit.rows:
                    raise DataError(f"{unit.source.place} has changed: {tally.rows} rows where {unit.rows} were")
            record = tally.record(path.stat().st_size, labels)
        job.finish(unit, record)
        return record


class _Tally:
    """What became of rows."""

    def __init__(self) -> None:
        self.rows = 0
        self._empty = self._unreadable = self._truncated = self._abstained = 0
        self._labels: Counter[str] = Counter()

    def add(self, texts: Sequence[str | None], answers: Sequence[Prediction | None]) -> None:
        given = [answer for answer in answers if answer is not None]
        unreadable = sum(text is None for text in texts)
        self.rows += len(texts)
        self._unreadable += unreadable
        self._empty += len(texts) - len(given) - unreadable
        self._truncated += sum(answer.truncated for answer in given)
        self._abstained += sum(answer.abstained for answer in given)
        self._labels.update(answer.label for answer in given if not answer.abstained)

    def record(self, size: int, labels: Sequence[str]) -> UnitRecord:
        return UnitRecord(
            self.rows,
            self._empty,
            self._unreadable,
            self._truncated,
            self._abstained,
            size,
            {label: self._labels[label] for label in labels},
        )


def _writer(unit: Unit, path: Path, added: Sequence[str]) -> RowWriter | BatchWriter:
    if unit.source.kind != "parquet":
        return RowWriter(path, [*unit.columns, *added])
    pyarrow = require("pyarrow", extra=places.EXTRA)
    types = {name: pyarrow.float64() if i else pyarrow.string() for i, name in enumerate(added)}
    with units.opened(unit.source) as file:
        return BatchWriter(path, file.schema_arrow, types, row_groups.compression_of(file.metadata))
