"""What each stage found, as typed records. They are stored in `run.json` and are all that reports are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sentopt.measure.confidence import CoveragePoint
from sentopt.measure.hardware import Hardware
from sentopt.measure.scores import Scores
from sentopt.measure.stats import PairedComparison
from sentopt.measure.timing import LatencySummary


@dataclass(frozen=True)
class PrepareResult:
    """The data of a run: where it came from, its labels, sizes, label counts per split, and what was noticed."""

    source: str
    identity: dict[str, str]
    labels: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class LossPoint:
    """Training loss at one logging step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class EvalPoint:
    """Validation metrics at one evaluation."""

    step: int
    epoch: float
    loss: float
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float


@dataclass(frozen=True)
class SampleAnswer:
    """One sample text as the model answered it before tuning, where that was done here, and after."""

    text: str
    untuned_label: str | None
    untuned_score: float | None
    tuned_label: str
    tuned_score: float


@dataclass(frozen=True)
class Confidence:
    """What the scores are worth on the test split.

    `error` is the expected calibration error after logits were divided by `temperature`, which was fitted on the
    validation split; `error_before` is that of the logits as they were trained.
    """

    temperature: float
    error: float
    error_before: float
    coverage: tuple[CoveragePoint, ...]


@dataclass(frozen=True)
class Steps:
    """How a model was trained; 0 steps for one that was tuned elsewhere and taken as it is."""

    device: str
    precision: str
    processes: int
    steps: int
    epochs: float
    seconds: float
    samples_per_second: float
    resumed_from_step: int
    best_step: int
    best_metric: float


@dataclass(frozen=True)
class TrainResult(Steps):
    """The outcome of fine-tuning. `majority` is the accuracy of always answering the most frequent label, per split.

    `parameters` are the trainable ones. `validation` and `test` are scored in FP32, as the weights are saved; `evals`
    and `best_metric` in the precision of the training.
    """

    backbone: str
    parameters: int
    metric: str
    loss: tuple[LossPoint, ...]
    evals: tuple[EvalPoint, ...]
    validation: Scores
    test: Scores
    confidence: Confidence
    majority: dict[str, float]
    truncated: dict[str, int]
    samples: tuple[SampleAnswer, ...]
    notices: tuple[str, ...] = ()

    @property
    def beats_majority(self) -> bool:
        """Whether tuning was worth anything."""
        return self.test.accuracy > self.majority["test"]


@dataclass(frozen=True)
class GraphCheck:
    """An FP32 graph against PyTorch: the largest logit difference over padded batches of `shapes` (batch, tokens)."""

    variant: str
    shapes: tuple[tuple[int, int], ...]
    max_logit_difference: float
    tolerance: float


@dataclass(frozen=True)
class MadeVariant:
    """A variant that this machine can run, and the size of its file."""

    name: str
    bytes: int


@dataclass(frozen=True)
class ExportResult:
    """The FP32 graphs. `exporter` traced what is not lean; `tokenizer_texts` gave the ids that transformers gives."""

    exporter: str
    checks: tuple[GraphCheck, ...]
    tokenizer_texts: int
    variants: tuple[MadeVariant, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class CalibrationSummary:
    """How much of the training texts the INT8 of the lean graph saw, and the product whose output it changes most.

    The error is relative: mean squared error over variance.
    """

    texts: int
    tokens: int
    products: int
    worst_product: str
    worst_error: float


@dataclass(frozen=True)
class VocabularySummary:
    """What a trimmed vocabulary keeps, and what that does to the words of the test split.

    `respelled` of `words` come out in other tokens, `lost` of these as unknown; `changed_texts` of `texts` have one.
    """

    kept: int
    tokens: int
    texts: int
    changed_texts: int
    words: int
    respelled: int
    lost: int


@dataclass(frozen=True)
class QuantizeResult:
    """The quantized graphs; the calibration of the lean ones and the vocabulary of a trimmed one, if there are any."""

    variants: tuple[MadeVariant, ...]
    calibration: CalibrationSummary | None
    vocabulary: VocabularySummary | None = None


@dataclass(frozen=True)
class BatchFlips:
    """Of `texts`, how many labels change between one text at a time and padded batches of `batch` in file order."""

    batch: int
    texts: int
    changed: int


@dataclass(frozen=True)
class CpuFlips:
    """Of the first `texts`, how many labels change on an emulated CPU `model`, and the largest change of a logit."""

    model: str
    texts: int
    changed: int
    max_logit_difference: float


Outcome = Literal["pass", "undecided", "fail"]
"""`undecided`: too few texts to prove anything, and what was seen is within the margin."""


@dataclass(frozen=True)
class Criterion:
    """One thing that a variant must prove. All but the counts are fractions.

    `loss` is what was seen, `limit` its upper confidence limit, which must be under `margin`. `lost` and `gained` count
    texts; for the agreement, `lost` counts the labels that change. `by` says what decided: `labels`, or `changes`, the
    share of changed labels, for which no text needs a label. `needed` is how many texts could decide, if these cannot;
    `confidence` that of the limit.
    """

    name: str
    outcome: Outcome
    texts: int
    lost: int
    gained: int
    loss: float
    limit: float
    margin: float
    by: Literal["labels", "changes"]
    confidence: float
    needed: int = 0


@dataclass(frozen=True)
class ReferenceCheck:
    """Whether the PyTorch model is proven to know more than the majority answer.

    `lower` and `upper` are one-sided limits of the balanced accuracy, `chance` is what always giving one label gets,
    and `majority` the accuracy of the commonest label. `allowed` says that the recipe accepts a weak reference.
    """

    texts: int
    accuracy: float
    majority: float
    balanced_accuracy: float
    lower: float
    upper: float
    chance: float
    proven: bool
    allowed: bool
    words: str

    @property
    def passed(self) -> bool:
        """Whether variants may ship."""
        return self.proven or self.allowed


@dataclass(frozen=True)
class Verdict:
    """How one variant answers the test split, compared with PyTorch, and whether it may ship.

    It is judged by the way of serving that compares worse: length-sorted micro-batches (as `predict` serves many
    texts) or one text at a time (as a request is served). `way` says which, and all figures but `batch_flips` and
    `max_probability_difference` are of that way. Variants that cannot ship are run in micro-batches only.

    `exact` variants give PyTorch's labels and probabilities, so that nothing is left to test. Others must meet all
    `criteria`, and no variant that was `tested` before them may have failed.
    """

    variant: str
    passed: bool
    way: str
    reason: str
    comparison: PairedComparison
    scores: Scores
    agreement: float
    max_probability_difference: float
    changed_labels: int
    criteria: tuple[Criterion, ...] = ()
    exact: bool = False
    tested: bool = True
    batch_flips: BatchFlips | None = None
    cpu_flips: CpuFlips | None = None

    @property
    def undecided(self) -> tuple[Criterion, ...]:
        """What too few texts could not decide."""
        return () if self.exact else tuple(c for c in self.criteria if c.outcome == "undecided")


@dataclass(frozen=True)
class VerifyResult:
    """Verdicts of all variants, in table order, and the hardware that they hold for.

    `texts` counts distinct test texts. `validation_texts` and `unlabelled_texts` count as evidence beside them. `order`
    holds the variants that were to be tested, in that order, and `ordered_by` says where it comes from. `notices` say
    what became of texts that count as no evidence.
    """

    hardware: Hardware
    texts: int
    verdicts: tuple[Verdict, ...]
    reference: ReferenceCheck
    order: tuple[str, ...]
    ordered_by: Literal["validation", "table"]
    validation_texts: int
    unlabelled_texts: int
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class GridCell:
    """Median milliseconds to answer `batch` texts of `tokens` random ids, without tokenization."""

    batch: int
    tokens: int
    p50: float


@dataclass(frozen=True)
class BenchRow:
    """Measurements of one variant, in a process of its own.

    `latency` is one test text end to end, tokenization included; `peak_memory_bytes` that of the whole benchmark.
    """

    variant: str
    latency: LatencySummary
    texts_per_second: float
    grid: tuple[GridCell, ...]
    load_ms: float
    first_ms: float
    peak_memory_bytes: int
    bytes: int


@dataclass(frozen=True)
class BenchResult:
    """One interleaved benchmark. `tokenization` is the part of `latency` that is spent before the graph."""

    depth: str
    hardware: Hardware
    threads: int
    rounds: int
    tokenization: LatencySummary
    rows: tuple[BenchRow, ...]


@dataclass(frozen=True)
class Selection:
    """Which variant ships, or None, and why, in words."""

    variant: str | None
    objective: str
    reason: str


@dataclass(frozen=True)
class StringInput:
    """The graph that takes texts: its `file` in the bundle, the domain of its `operators`, `version` of their package.

    Its tokens are those of the tokenizer on `texts`; `max_probability_difference` is that to the bundle's own graph.
    """

    file: str
    bytes: int
    texts: int
    max_probability_difference: float
    operators: str
    version: str


@dataclass(frozen=True)
class BundleResult:
    """The bundle that was written, and its graph that takes texts, if one was asked for."""

    variant: str
    files: int
    bytes: int
    golden_texts: int
    string_input: StringInput | None = None
