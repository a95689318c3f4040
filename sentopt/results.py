"""The typed results of all stages. They are stored in `run.json`; reports are made from them alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sentopt.measure.confidence import CoveragePoint
from sentopt.measure.familiarity import Familiarity
from sentopt.measure.hardware import Hardware
from sentopt.measure.scores import Scores
from sentopt.measure.stats import PairedComparison
from sentopt.measure.timing import Figure, LatencySummary
from sentopt.records import FORMERLY, ONE_OR_MANY


@dataclass(frozen=True)
class PrepareResult:
    """The data of a run: source, identity (hashes), labels, texts of each label by split, and notices.

    `texts` counts the texts of each split where a text may have any number of labels; else it is empty, and the counts
    of the labels add up to it.
    """

    source: str
    identity: dict[str, str]
    labels: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    notices: tuple[str, ...]
    texts: dict[str, int] = field(default_factory=dict)

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have any number of labels."""
        return bool(self.texts)

    def texts_of(self, split: str) -> int:
        """How many texts a split has."""
        return self.texts[split] if self.texts else sum(self.counts[split].values())


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
    micro_f1: float | None = None


@dataclass(frozen=True)
class SampleAnswer:
    """The answers for a sample text before fine-tuning (None if the model was not fine-tuned here) and after."""

    text: str
    untuned_label: str | None
    untuned_score: float | None
    tuned_label: str
    tuned_score: float
    pair: str = ""


@dataclass(frozen=True)
class Confidence:
    """Confidence calibration of the model, measured on the test split.

    Where a text has any number of labels, the error is of the probabilities of all labels, and a text counts as
    answered if the presence or absence of every label is at least as probable as the threshold says.

    `temperature` was fitted on the validation split. `error` is the expected calibration error with the logits divided
    by it, `error_before` without.
    """

    temperature: float
    error: float
    error_before: float
    coverage: tuple[CoveragePoint, ...]


@dataclass(frozen=True)
class Steps:
    """How a model was trained; `steps` is 0 for a model that was fine-tuned elsewhere."""

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
    """The outcome of fine-tuning.

    `parameters` counts trainable parameters. `validation` and `test` are scores in FP32, the precision of the saved
    weights; `evals` and `best_metric` are in the precision of training. `majority` is the accuracy of always answering
    the most frequent label, by split. Where a text has any number of labels, it is that of the most frequent set, and
    each label has a threshold and a temperature, both fitted on the validation split.
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
    thresholds: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()

    @property
    def are_pairs(self) -> bool:
        """Whether the texts are pairs."""
        return any(sample.pair for sample in self.samples)

    @property
    def beats_majority(self) -> bool:
        """Whether the test accuracy is higher than that of always answering the most frequent label."""
        return self.test.accuracy > self.majority["test"]


@dataclass(frozen=True)
class TeacherAnswers:
    """One teacher: which of its variants answered, how many texts it was asked, and the seconds that this took.

    Further answers were in the cache folder.
    """

    name: str
    variant: str
    answered: int
    seconds: float


@dataclass(frozen=True)
class TeachResult:
    """What the teacher answered. `test` are its scores on the test split: of all teachers together.

    `texts` counts training texts, `copies` changed copies of them, `unlabelled` the texts without labels.
    """

    teachers: tuple[TeacherAnswers, ...]
    texts: int
    copies: int
    unlabelled: int
    test: Scores
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class TeachingGain:
    """A model that a teacher taught, the teacher, and the baseline (the recipe without it), on distinct test texts.

    `teacher`, `taught` and `baseline` are accuracies. `against_teacher` and `against_baseline` compare the taught model
    with the others: texts that it lost and gained, and one-sided limits of the difference. `steps` and `baseline_steps`
    are those of the trainings. What was not trained is None.
    """

    texts: int
    teacher: float
    taught: float
    baseline: float | None
    steps: int
    baseline_steps: int | None
    against_teacher: PairedComparison
    against_baseline: PairedComparison | None

    @property
    def proven(self) -> bool | None:
        """Whether the taught model is proven better than the baseline; None where there is none."""
        return None if self.against_baseline is None else self.against_baseline.lower > 0.0


@dataclass(frozen=True)
class StudentDepth:
    """One number of layers that was tried: how the student answers the validation split.

    `cost` is the expected time of a text by its cascade, relative to the full model's. Without distinct validation
    texts there is neither accuracy nor agreement.
    """

    layers: int
    steps: int
    seconds: float
    loss: float
    accuracy: float | None
    agreement: float | None
    cost: float


@dataclass(frozen=True)
class DistillResult:
    """The student. `tried` holds every number of layers that the recipe names; `layers` is the one that was kept.

    `texts` counts training texts, `copies` changed copies of them, `unlabelled` the texts without labels.
    """

    layers: int
    tried: tuple[StudentDepth, ...]
    texts: int
    copies: int
    unlabelled: int
    teacher_seconds: float
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class CascadeRule:
    """When a student defers, as chosen on the validation split.

    Attributes:
        threshold: the probability below which a text of `threshold_tokens` tokens is deferred (`runtime.threshold`).
        texts: distinct validation texts.
        deferred: the share of them that is deferred.
        lost, gained: texts that only the full model, or only the cascade, answers correctly.
        changed: texts to which the two give different labels.
        limit: upper confidence limit of the loss of accuracy there, below which `margin` must stay.
    """

    threshold: float
    threshold_tokens: int
    texts: int
    deferred: float
    lost: int
    gained: int
    changed: int
    limit: float
    margin: float
    confidence: float


@dataclass(frozen=True)
class GraphCheck:
    """The largest logit difference of an FP32 graph to PyTorch over padded batches of `shapes` (batch, tokens)."""

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
    """The FP32 graphs. `exporter` traced those that are not lean.

    `tokenizer_texts` is the number of texts on which the runtime tokenizer gave the same ids as transformers.
    """

    exporter: str
    checks: tuple[GraphCheck, ...]
    tokenizer_texts: int
    variants: tuple[MadeVariant, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class CalibrationSummary:
    """The INT8 calibration of a graph: training texts used, and the product with the largest error.

    `worst_error` is the mean squared error of that product's output relative to its variance.
    """

    texts: int
    tokens: int
    products: int
    worst_product: str
    worst_error: float


@dataclass(frozen=True)
class VocabularySummary:
    """Size of a trimmed vocabulary (`kept` of `tokens`), and its effect on the words of the test split.

    `respelled` of `words` are split into other tokens; `lost` of these become the unknown token. `changed_texts` of
    `texts` contain such a word.
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
    """The quantized graphs, the calibration of the lean ones, the trimmed vocabulary and the rule of each cascade.

    `traced_calibration` is that of a traced graph.
    """

    variants: tuple[MadeVariant, ...]
    calibration: CalibrationSummary | None
    vocabulary: VocabularySummary | None = None
    cascades: dict[str, CascadeRule] = field(default_factory=dict)
    traced_calibration: CalibrationSummary | None = None


@dataclass(frozen=True)
class BatchFlips:
    """Label changes between single texts and padded batches of `batch` texts in file order, among `texts` texts."""

    batch: int
    texts: int
    changed: int


@dataclass(frozen=True)
class CpuFlips:
    """Label changes on an emulated CPU `model` among the first `texts` texts, and the largest logit difference.

    `rerouted` counts the texts that a cascade defers there and not here, or here and not there.
    """

    model: str
    texts: int
    changed: int
    max_logit_difference: float
    rerouted: int = 0


Outcome = Literal["pass", "undecided", "fail"]
"""`undecided`: too few texts for a proof, and the observed loss is within the margin."""


@dataclass(frozen=True)
class Criterion:
    """A criterion of a variant. Everything but the counts is a fraction.

    Attributes:
        texts: number of texts that are evidence.
        lost, gained: texts that only PyTorch or only the variant answers correctly. For the agreement, `lost` counts
            changed answers.
        loss: the observed loss.
        limit: upper confidence limit of the loss; the criterion is met if it is less than `margin`.
        by: the deciding test: "labels" compares with the true labels, "changes" counts changed answers.
        confidence: of `limit`.
        needed: number of texts with which an undecided criterion could be decided, else 0.
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
    """Whether the PyTorch model is proven better than always answering the majority label.

    `lower` and `upper` are one-sided limits of the balanced accuracy. `chance` is the balanced accuracy and `majority`
    the accuracy of always answering the most frequent label. `allowed`: the recipe accepts a weak reference.
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
    """A variant compared with PyTorch on the test split, and whether it may ship.

    A variant is judged in the worse of two serving modes: length-sorted micro-batches (`predict` with many texts), or
    one text at a time (single requests). `serving_mode` names it. All figures except `batch_flips` and
    `max_probability_difference` are of that mode. Variants that cannot ship are run in micro-batches only.

    `deferred` is the share of the test split that a cascade hands to the full model; None for what is no cascade.

    `exact` variants give PyTorch's labels and probabilities and need no test. Others must meet all `criteria`, and no
    variant before them in the sequence may have failed; `tested` is False if one has.
    """

    variant: str
    passed: bool
    serving_mode: str = field(metadata={FORMERLY: "way"})
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
    deferred: float | None = None
    cpu_flips: tuple[CpuFlips, ...] = field(default=(), metadata={ONE_OR_MANY: True})

    @property
    def worst_cpu(self) -> CpuFlips | None:
        """The emulated CPU on which the largest share of labels changed; None where none was emulated."""
        return max(self.cpu_flips, key=lambda flips: flips.changed / flips.texts, default=None)

    @property
    def undecided(self) -> tuple[Criterion, ...]:
        """The criteria that could not be decided, because there were too few texts."""
        return () if self.exact else tuple(c for c in self.criteria if c.outcome == "undecided")


@dataclass(frozen=True)
class VerifyResult:
    """Verdicts of all variants, in table order, and the hardware for which they are valid.

    `texts` counts distinct test texts, `validation_texts` and `unlabelled_texts` further texts that are evidence.
    `order` is the fixed sequence of tested variants, and `ordered_by` what determined it. `notices` concern texts
    without labels.
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
    """Median milliseconds for `batch` texts of `tokens` random ids each, without tokenization."""

    batch: int
    tokens: int
    p50: float


@dataclass(frozen=True)
class BenchRow:
    """Measurements of one variant in a process of its own.

    `latency` is that of one test text, end to end with tokenization. `load_ms` and `first_ms` are the cold start.
    `peak_memory_bytes` covers the whole benchmark; `bytes` is the size of the model file. `deferred_latency` is that of
    test texts that a cascade defers: what a text costs where every text is deferred.
    """

    variant: str
    latency: LatencySummary
    texts_per_second: float
    grid: tuple[GridCell, ...]
    load_ms: float
    first_ms: float
    peak_memory_bytes: int
    bytes: int
    deferred_latency: LatencySummary | None = None


@dataclass(frozen=True)
class BenchResult:
    """One interleaved benchmark. `tokenization` is the part of `latency` before the graph runs."""

    depth: str
    hardware: Hardware
    threads: int
    rounds: int
    tokenization: LatencySummary
    rows: tuple[BenchRow, ...]


@dataclass(frozen=True)
class Selection:
    """The variant that ships (None if none does), and the reason in words.

    `figure` is that of the latencies by which variants were compared; runs of earlier versions compared medians.
    """

    variant: str | None
    objective: str
    reason: str
    figure: Figure = "p50"


@dataclass(frozen=True)
class LengthBand:
    """Test texts of `least` to `most` tokens: how many there are, and how many a variant and PyTorch get right."""

    least: int
    most: int
    texts: int
    right: int
    reference_right: int


@dataclass(frozen=True)
class ScoreBand:
    """Test texts whose score is at least `least`, below the next band: their mean score, and how many are right."""

    least: float
    texts: int
    mean_score: float
    right: int


@dataclass(frozen=True)
class AnsweredText:
    """A test text with its label, and what a variant and PyTorch answer.

    `row` counts from 1 in the test split; long texts are cut. `pair` is the second text of a pair.
    """

    row: int
    text: str
    truth: str
    answer: str
    score: float
    reference_answer: str
    reference_score: float
    pair: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class WrongAnswer(AnsweredText):
    """A text that the variant gets wrong.

    `doubtful`: PyTorch gives the same answer, and both are so sure of it that the label of the text may be wrong.
    """

    tokens: int
    doubtful: bool


@dataclass(frozen=True)
class ChangedAnswer(AnsweredText):
    """A text that the variant and PyTorch answer differently, one of them rightly."""

    @property
    def gained(self) -> bool:
        """Whether the variant is right, and not PyTorch."""
        return self.answer == self.truth


@dataclass(frozen=True)
class ChangedAnswers:
    """What a variant changes: how many texts it loses and gains, and some of each, the surest answers first."""

    variant: str
    lost: int
    gained: int
    texts: tuple[ChangedAnswer, ...]


@dataclass(frozen=True)
class ExamineResult:
    """The answers of the variant that ships, text by text.

    `confidence` is that of the variant, `reference_error` the calibration error of PyTorch on the same texts, and
    `bands` are the variant's scores against how often they are right. `wrong` holds the wrong answers of which it is
    most sure, the surest first, out of `wrong_texts`; `doubtful` counts those that both models score `sure` or more.
    `changes` says of every variant that is not exact which answers of PyTorch it changes. `familiarity` is None where
    there are no training texts.
    """

    variant: str
    texts: int
    confidence: Confidence
    reference_error: float
    bands: tuple[ScoreBand, ...]
    lengths: tuple[LengthBand, ...]
    wrong_texts: int
    doubtful: int
    wrong: tuple[WrongAnswer, ...]
    sure: float
    changes: tuple[ChangedAnswers, ...] = ()
    familiarity: Familiarity | None = None


@dataclass(frozen=True)
class StringInput:
    """The graph with string input: its `file` in the bundle, the domain of its `operators`, their package's `version`.

    Its tokens equal those of the tokenizer on `texts` texts. `max_probability_difference` compares it with the bundle's
    main graph.
    """

    file: str
    bytes: int
    texts: int
    max_probability_difference: float
    operators: str
    version: str


@dataclass(frozen=True)
class BundleResult:
    """The bundle that was written, and its graph with string input, if one was requested."""

    variant: str
    files: int
    bytes: int
    golden_texts: int
    string_input: StringInput | None = None
