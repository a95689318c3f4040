"""What a process needs to score units: the bundle's folder, the job, and how units are shared out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentopt.bulk import places
from sentopt.bulk.job import Job, JobDescription, UnitRecord
from sentopt.bulk.places import OutputFolder
from sentopt.bulk.scoring import Scorer
from sentopt.bulk.units import Unit
from sentopt.data import pairs
from sentopt.data.options import TableOptions
from sentopt.errors import InputError, SentoptError
from sentopt.runtime import arguments
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import DESCRIPTION_FILE, read_description, sha256_file

Outcome = UnitRecord | str
"""Of a unit: its record, or why it could not be scored."""


@dataclass(frozen=True)
class Work:
    """Can be pickled: a process on another machine opens bundle and job by their paths, which must be the same there.

    Attributes:
        bundle: the folder that holds `sentopt.json`.
        output: the folder of the job.
        description: of the job.
        threads: of the classifier; None uses every core granted to the process.
    """

    bundle: Path
    output: str
    description: JobDescription
    threads: int | None = None

    @classmethod
    def of(
        cls,
        bundle: Path,
        output: str,
        *,
        text_column: str,
        pair_column: str = "",
        abstain_below: float,
        unit_rows: int,
        options: TableOptions,
        threads: int | None,
    ) -> Work:
        """
        Raises:
            BundleError: this is no bundle.
            DataError: a delimiter or quote that is none, or columns that do not go with the bundle.
            InputError: `unit_rows` is no whole number of at least 1, or `abstain_below` no probability.
        """
        options.check()
        described = read_description(bundle)
        first, *second = pairs.of_bundle(described.pair, text_column, pair_column)
        digest = sha256_file(bundle / DESCRIPTION_FILE)
        description = JobDescription(
            digest,
            described.name,
            tuple(described.labels),
            first,
            arguments.probability("abstain_below", abstain_below),
            arguments.whole_number("unit_rows", unit_rows),
            options.encoding,
            options.delimiter,
            options.quote,
            pair_column="".join(second),
        )
        return cls(bundle.absolute(), places.absolute(output), description, threads)

    def job(self) -> Job:
        """The job in its folder, begun if it is new.

        Raises:
            OutputError: the folder belongs to another one.
        """
        return Job.begun(OutputFolder(self.output), self.description)

    def scorer(self, job: Job) -> Scorer:
        """With the classifier, whose files are checked.

        Raises:
            BundleError: the bundle is damaged, or cannot be loaded.
        """
        classifier = Classifier.load(self.bundle, threads=self.threads, abstain_below=self.description.abstain_below)
        return Scorer(job, classifier)


def outcome(scorer: Scorer, unit: Unit, advance: Callable[[int], None] = lambda rows: None) -> Outcome:
    """Score a unit; what it cannot read is told, so that the other units go on."""
    try:
        return scorer.score(unit, advance)
    except SentoptError as error:
        return str(error)


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1, as `2/8`."""

    number: int = 1
    count: int = 1

    @classmethod
    def read(cls, text: str) -> Shard:
        """
        Raises:
            InputError: not of the form I/N with I from 1 to N.
        """
        number, slash, count = text.partition("/")
        if not (slash and number.strip().isdecimal() and count.strip().isdecimal()):
            raise InputError(f"shard {text!r}: expected I/N, such as 2/8 for the second of eight")
        return cls(int(number), int(count))

    def __post_init__(self) -> None:
        arguments.whole_number("shard", self.number, least=1, most=self.count, hint="I/N counts from 1 to N")

    def of(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of this part: every `count`-th unit of a file. Further files change nothing about which they are."""
        return [unit for unit in units if (int(unit.source.key[-8:], 16) + unit.index) % self.count == self.number - 1]
