"""What a bundle records about its verification, its speed and its origin, for its card, its check and its page.

The runtime needs none of it. It comes from somebody else's file: types and bounds are checked. The texts are for people
to read, so what no name may hold is replaced, not refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sentopt.errors import BundleError
from sentopt.measure.familiarity import Familiarity
from sentopt.measure.scores import ClassScores
from sentopt.results import ScoreBand
from sentopt.runtime.description import DESCRIPTION_FILE, BundleDescription
from sentopt.runtime.names import printable
from sentopt.runtime.strict_json import Fields

_MOST = 10**12
T = TypeVar("T")


@dataclass(frozen=True)
class ChangedOnCpu:
    """How many of some test texts get another label on an emulated CPU."""

    cpu: str
    changed: int
    texts: int


@dataclass(frozen=True)
class Verified:
    """What the verification found on the test split; `micro_f1` and `average_precision` of a multi-label model only."""

    test_texts: int
    accuracy: float
    macro_f1: float
    agreement: float
    micro_f1: float | None
    average_precision: float | None
    reason: str
    per_label: tuple[ClassScores, ...]
    elsewhere: tuple[ChangedOnCpu, ...]


@dataclass(frozen=True)
class Measured:
    """How fast the variant was, and where. Latencies are milliseconds; the version of onnxruntime may be empty.

    `mean` and `p95` are None in bundles of earlier versions. `all_deferred` is the mean for texts that a cascade
    defers, None where there is no cascade or it deferred none.
    """

    cpu: str
    cores: int
    isa: tuple[str, ...]
    threads: int
    mean: float | None
    p50: float
    p95: float | None
    p99: float
    all_deferred: float | None
    texts_per_second: float
    onnxruntime: str


@dataclass(frozen=True)
class Origin:
    """Data and backbone of a bundle; revision and licence may be empty."""

    dataset: str
    files: str
    texts: tuple[tuple[str, int], ...]
    backbone: str
    revision: str
    license: str
    tuned_elsewhere: bool


def verified(description: BundleDescription) -> Verified:
    """The verdict.

    Raises:
        BundleError: it is missing or malformed.
    """

    def read(facts: Fields) -> Verified:
        found = facts.inner("verified")
        return Verified(
            test_texts=found.integer("test_texts", 1, _MOST),
            accuracy=found.number("accuracy", 0, 1),
            macro_f1=found.number("macro_f1", 0, 1),
            agreement=found.number("agreement_with_pytorch", 0, 1),
            micro_f1=found.inner("sets").number("micro_f1", 0, 1) if "sets" in found else None,
            average_precision=found.inner("sets").number("average_precision", 0, 1) if "sets" in found else None,
            reason=printable(found.text("reason")),
            per_label=tuple(_scores(scores) for scores in found.objects("per_label")) if "per_label" in found else (),
            elsewhere=_elsewhere(found),
        )

    return _read(description, read)


def measured(description: BundleDescription) -> Measured:
    """The benchmark.

    Raises:
        BundleError: it is missing or malformed.
    """

    def read(facts: Fields) -> Measured:
        found = facts.inner("measured")
        hardware, row = found.inner("hardware"), found.inner("row")
        latency = row.inner("latency")
        deferred = row.values.get("deferred_latency") is not None
        return Measured(
            cpu=printable(hardware.text("cpu")),
            cores=hardware.integer("cores", 1, _MOST),
            isa=tuple(printable(name) for name in hardware.texts("isa")),
            threads=found.integer("threads", 1, _MOST),
            mean=_number(latency, "mean"),
            p50=latency.number("p50", 0, _MOST),
            p95=_number(latency, "p95"),
            p99=latency.number("p99", 0, _MOST),
            all_deferred=_number(row.inner("deferred_latency"), "mean") if deferred else None,
            texts_per_second=row.number("texts_per_second", 0, _MOST),
            onnxruntime=_text(found, "onnxruntime"),
        )

    return _read(description, read)


def origin(description: BundleDescription) -> Origin | None:
    """What the bundle was made from; None in a bundle that does not say.

    Raises:
        BundleError: it is malformed.
    """

    def read(facts: Fields) -> Origin | None:
        if not facts.values.get("made_from"):
            return None
        found = facts.inner("made_from")
        texts = found.inner("texts") if "texts" in found else Fields({})
        return Origin(
            dataset=printable(found.text("dataset")),
            files=_text(found, "files"),
            texts=tuple((printable(split), texts.integer(split, 0, _MOST)) for split in texts.values),
            backbone=printable(found.text("backbone")),
            revision=_text(found, "backbone_revision"),
            license=_text(found, "backbone_license"),
            tuned_elsewhere="tuned_elsewhere" in found and found.boolean("tuned_elsewhere"),
        )

    return _read(description, read)


def calibration_error(description: BundleDescription) -> float | None:
    """The expected calibration error; None in a bundle that does not say.

    Raises:
        BundleError: it is malformed.
    """
    return _read(
        description,
        lambda facts: facts.inner("confidence").number("error", 0, 1) if "confidence" in facts else None,
    )


def score_bands(description: BundleDescription) -> tuple[ScoreBand, ...]:
    """How often the scores of the variant were right on the test split; empty in bundles of earlier versions.

    Raises:
        BundleError: it is malformed.
    """

    def read(facts: Fields) -> tuple[ScoreBand, ...]:
        bands = facts.objects("score_bands") if "score_bands" in facts else ()
        return tuple(
            ScoreBand(
                least=band.number("least", 0, 1),
                texts=band.integer("texts", 1, _MOST),
                mean_score=band.number("mean_score", 0, 1),
                right=band.integer("right", 0, _MOST),
            )
            for band in bands
        )

    return _read(description, read)


def familiarity(description: BundleDescription) -> Familiarity | None:
    """What is usual for texts of the bundle's kind; None in a bundle that does not say.

    Raises:
        BundleError: it is malformed.
    """

    def read(facts: Fields) -> Familiarity | None:
        if facts.values.get("familiarity") is None:
            return None
        found = facts.inner("familiarity")
        usual = Familiarity(
            shortest=found.integer("shortest", 0, _MOST),
            longest=found.integer("longest", 0, _MOST),
            new=found.number("new", 0, 1),
            seen=found.text("seen"),
            texts=found.integer("texts", 1, _MOST),
        )
        usual.is_seen([0])
        return usual

    return _read(description, read)


def share_deferred(description: BundleDescription) -> float | None:
    """The share of the test split that a cascade deferred; None for what is no cascade.

    Raises:
        BundleError: it is malformed.
    """
    return _read(
        description,
        lambda facts: facts.inner("cascade").number("deferred", 0, 1) if "cascade" in facts else None,
    )


def _number(facts: Fields, key: str) -> float | None:
    return None if facts.values.get(key) is None else facts.number(key, 0, _MOST)


def _text(facts: Fields, key: str) -> str:
    return printable(facts.text(key)) if key in facts else ""


def _elsewhere(found: Fields) -> tuple[ChangedOnCpu, ...]:
    """Older bundles have one record or null, newer ones a list."""
    told = found.values.get("cpu_flips")
    if not told:
        return ()
    each = found.objects("cpu_flips") if isinstance(told, list) else [found.inner("cpu_flips")]
    return tuple(
        ChangedOnCpu(
            cpu=printable(one.text("model")),
            changed=one.integer("changed", 0, _MOST),
            texts=one.integer("texts", 1, _MOST),
        )
        for one in each
    )


def _scores(scores: Fields) -> ClassScores:
    return ClassScores(
        label=printable(scores.text("label")),
        precision=scores.number("precision", 0, 1),
        recall=scores.number("recall", 0, 1),
        f1=scores.number("f1", 0, 1),
        support=scores.integer("support", 0, _MOST),
    )


def _read(description: BundleDescription, read: Callable[[Fields], T]) -> T:
    try:
        return read(Fields(dict(description.facts)))
    except ValueError as error:
        raise BundleError(f"{DESCRIPTION_FILE} of the bundle {description.name} is malformed: {error}") from error
