"""What is said of a run: the comparison of its variants, and the parts of its report.

Everything comes from `run.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentopt.manifest import Manifest
from sentopt.measure.hardware import Hardware
from sentopt.measure.scores import Scores
from sentopt.measure.stats import wilson_interval
from sentopt.recipe import Recipe
from sentopt.report.tables import Table
from sentopt.results import (
    BenchResult,
    BenchRow,
    BundleResult,
    Confidence,
    ExportResult,
    PrepareResult,
    QuantizeResult,
    Selection,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.variants import REFERENCE

_HEADINGS = ("variant", "accuracy", "agreement", "verdict", "p50 ms", "p99 ms", "texts/s", "MB", "x PyTorch")


def comparison(verdicts: Sequence[Verdict], bench: BenchResult, selection: Selection | None) -> Table:
    """One row per variant: quality and speed side by side. `x PyTorch` is the ratio of median latencies."""
    judged = {v.variant: v for v in verdicts}
    reference = next((row for row in bench.rows if row.variant == REFERENCE), None)
    rows = [_comparison_row(row, judged.get(row.variant), reference) for row in bench.rows]
    names = [row.variant for row in bench.rows]
    chosen = selection.variant if selection else None
    return Table(_HEADINGS, tuple(rows), names.index(chosen) if chosen in names else None)


def _comparison_row(row: BenchRow, verdict: Verdict | None, reference: BenchRow | None) -> tuple[str, ...]:
    ratio = f"{reference.latency.p50 / row.latency.p50:.2f}" if reference else "-"
    return (
        row.variant,
        f"{verdict.scores.accuracy:.4f}" if verdict else "-",
        f"{verdict.agreement:.4f}" if verdict else "-",
        verdict_word(row.variant, verdict),
        f"{row.latency.p50:.2f}",
        f"{row.latency.p99:.2f}",
        f"{row.texts_per_second:.0f}",
        f"{row.bytes / 1e6:.1f}",
        ratio,
    )


def verdict_word(variant: str, verdict: Verdict | None) -> str:
    """One word for a verdict; `pass*` where too few texts could decide something."""
    if variant == REFERENCE:
        return "reference"
    if verdict is None:
        return "not verified"
    if not verdict.tested:
        return "not tested"
    if not verdict.passed:
        return "FAIL"
    return "pass*" if verdict.undecided else "pass"


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, then tables, then plots (paths of PNG files)."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    images: tuple[tuple[str, Path], ...] = ()


def sections(recipe: Recipe, manifest: Manifest, images: dict[str, Path]) -> list[Section]:
    """The parts of the report for which stages have finished; `images` are plots by name."""
    found = []
    if "select" in manifest.stages:
        found.append(_result_section(manifest, images))
    if "verify" in manifest.stages:
        found.append(_verdict_section(recipe, manifest.result("verify", VerifyResult)))
    if "bench" in manifest.stages:
        found.append(_speed_section(manifest.result("bench", BenchResult), images))
    trained = manifest.result("train", TrainResult)
    found.append(_training_section(trained, images))
    found.append(_test_section(trained, images))
    found.append(_confidence_section(trained.confidence))
    found.append(_data_section(manifest.result("prepare", PrepareResult), trained))
    found.append(_provenance_section(manifest))
    return found


def _result_section(manifest: Manifest, images: dict[str, Path]) -> Section:
    selection = manifest.result("select", Selection)
    if "bench" not in manifest.stages:  # the reference was too weak to compare anything with
        return Section("Result", (selection.reason,))
    bench, verified = manifest.result("bench", BenchResult), manifest.result("verify", VerifyResult)
    paragraphs = [selection.reason]
    if "bundle" in manifest.stages:
        bundle = manifest.result("bundle", BundleResult)
        paragraphs.append(
            f"The bundle holds {bundle.files} files, {bundle.bytes / 1e6:.1f} MB, "
            f"and {bundle.golden_texts} golden texts."
        )
    paragraphs.append(
        f"One text at a time, tokenization included, {bench.threads} threads, "
        f"{bench.rounds} interleaved rounds ({bench.depth} benchmark). "
        f"Accuracy and agreement: {verified.texts} distinct test texts."
    )
    return Section(
        "Result",
        tuple(paragraphs),
        (comparison(verified.verdicts, bench, selection),),
        _pick(images, "accuracy_latency"),
    )


def _verdict_section(recipe: Recipe, verified: VerifyResult) -> Section:
    rows = tuple(
        (
            v.variant,
            verdict_word(v.variant, v),
            f"{v.comparison.lost} / {v.comparison.gained}",
            f"{v.comparison.difference * 100:+.2f}",
            f"{v.max_probability_difference:.4f}",
            "-" if v.batch_flips is None else f"{v.batch_flips.changed} of {v.batch_flips.texts}",
            "-" if v.cpu_flips is None else f"{v.cpu_flips.changed} of {v.cpu_flips.texts}",
            f"{v.scores.macro_f1:.4f}",
        )
        for v in verified.verdicts
    )
    headings = (
        "on the test split",
        "verdict",
        "lost / gained",
        "accuracy, points",
        "max change of p",
        "labels changed, batch 1 to 32",
        f"labels changed, {recipe.verify.cpu}",
        "macro F1",
    )
    failed = tuple(f"{v.variant}: {v.reason}." for v in verified.verdicts if not v.passed)
    notices = tuple(f"{notice}." for notice in verified.notices)
    reference = verified.reference.words
    paragraphs = (f"{reference[:1].upper()}{reference[1:]}.", _rules(recipe), *notices, _procedure(verified), *failed)
    return Section("Verification", paragraphs, (Table(headings, rows), _criteria(verified)))


def _rules(recipe: Recipe) -> str:
    verify = recipe.verify
    f1 = " and macro F1" if recipe.train.metric == "macro_f1" else ""
    return (
        f"A variant passes if it is proven at {verify.confidence:.0%} confidence that its accuracy{f1} is less than "
        f"{verify.margin:g} points below PyTorch's, the recall of no label {verify.recall_margin:g} points or more, "
        f"and that fewer than {verify.max_changed:g} % of the labels change: Tango's score test for paired proportions "
        "(Statistics in Medicine 17, 1998) with an exact binomial limit, one-sided, on the worse of two ways of "
        "serving (micro-batches, one text at a time). Labels with too few texts to prove even identical answers are "
        "tested together; where they are too few all the same, that is undecided (pass*), and what was seen must be "
        "within the margin. FP32 graphs with PyTorch's labels and probabilities need no test."
    )


def _procedure(verified: VerifyResult) -> str:
    """Evidence and order."""
    evidence = [f"{verified.texts} distinct test texts"]
    if verified.validation_texts:
        evidence.append(f"{verified.validation_texts} validation texts")
    if verified.unlabelled_texts:
        evidence.append(f"{verified.unlabelled_texts} texts without labels")
    by = "of their agreement on the validation split" if verified.ordered_by == "validation" else "from safe to risky"
    order = f"in the order {by}: {', '.join(verified.order)}" if verified.order else "none: all are exact"
    return (
        f"Evidence: {', '.join(evidence)}. Variants are tested {order}, up to the first that fails, so that the "
        "probability of shipping anything inferior stays at that of one test."
    )


def _criteria(verified: VerifyResult) -> Table:
    """Every criterion of every variant that was tested."""
    rows = tuple(
        (
            v.variant,
            c.name,
            c.outcome,
            str(c.texts),
            f"{c.lost} changed" if c.name == "agreement" else f"{c.lost} / {c.gained}",
            f"{c.loss * 100:.2f}",
            f"{c.limit * 100:.2f}",
            f"{c.margin * 100:g}",
            c.by,
        )
        for v in verified.verdicts
        for c in v.criteria
    )
    headings = ("variant", "criterion", "outcome", "texts", "lost / gained", "loss", "at most", "margin", "decided by")
    return Table(headings, rows)


def _speed_section(bench: BenchResult, images: dict[str, Path]) -> Section:
    cells = [(cell.batch, cell.tokens) for cell in bench.rows[0].grid]
    grid = Table(
        ("variant", *(f"{b} x {t}" for b, t in cells)),
        tuple((row.variant, *(f"{cell.p50:.2f}" for cell in row.grid)) for row in bench.rows),
    )
    cost = Table(
        ("variant", "load ms", "first answer ms", "peak memory MiB", "file MB"),
        tuple(
            (
                row.variant,
                f"{row.load_ms:.0f}",
                f"{row.first_ms:.1f}",
                f"{row.peak_memory_bytes / 2**20:.0f}",
                f"{row.bytes / 1e6:.1f}",
            )
            for row in bench.rows
        ),
    )
    text = (
        f"Median milliseconds of the graph alone, by batch x tokens; then a fresh process per variant. "
        f"Tokenization takes {bench.tokenization.p50:.3f} ms of each text. Measured on {_machine(bench.hardware)}."
    )
    return Section("Speed", (text,), (grid, cost), _pick(images, "latency_by_length"))


def _training_section(trained: TrainResult, images: dict[str, Path]) -> Section:
    evals = Table(
        ("step", "epoch", "validation loss", "accuracy", "macro precision", "macro recall", "macro F1"),
        tuple(
            (
                str(e.step),
                f"{e.epoch:.2f}",
                *(f"{x:.4f}" for x in (e.loss, e.accuracy, e.macro_precision, e.macro_recall, e.macro_f1)),
            )
            for e in trained.evals
        ),
    )
    tables = (evals, samples(trained)) if trained.evals else (samples(trained),)
    return Section("Training", (training(trained), against_majority(trained)), tables, _pick(images, "loss"))


def training(trained: TrainResult) -> str:
    """What was trained, how long it took, and how good it became on the validation split."""
    n, low, high = _accuracy_interval(trained.validation)
    quality = (
        f"Validation accuracy in FP32 {trained.validation.accuracy:.4f} of {n} texts "
        f"(95 % interval {low:.4f} to {high:.4f}), macro F1 {trained.validation.macro_f1:.4f}."
    )
    if not trained.steps:
        size = f"{trained.parameters:,} parameters"
        return f"{trained.backbone} was tuned already and is taken as it is: {size}, not trained. {quality}"
    processes = f", {trained.processes} processes" if trained.processes > 1 else ""
    resumed = f" since it was resumed at step {trained.resumed_from_step}" if trained.resumed_from_step else ""
    best = (
        f"Best validation {trained.metric} {trained.best_metric:.4f} at step {trained.best_step}: its weights are kept."
        if trained.evals
        else "Too short to be evaluated on the way: the last weights are kept."
    )
    return (
        f"{trained.backbone}, {trained.parameters:,} trainable parameters, {trained.steps} steps "
        f"({trained.epochs:.3g} epochs) in {trained.precision} on {trained.device}{processes}: "
        f"{trained.seconds:.0f} s{resumed}, {trained.samples_per_second:.0f} texts/s. {best} {quality}"
    )


def against_majority(trained: TrainResult) -> str:
    """Whether tuning was worth anything: accuracy against always answering the most frequent label."""
    _, low, high = _accuracy_interval(trained.test)
    beats = "beats" if trained.beats_majority else "does NOT beat"
    if low <= trained.majority["test"] < trained.test.accuracy:
        beats = f"not proven (95 % interval {low:.4f} to {high:.4f}) to beat"
    others = ", ".join(f"{split} {trained.majority[split]:.4f}" for split in ("train", "validation"))
    return (
        f"Test accuracy {trained.test.accuracy:.4f}, macro F1 {trained.test.macro_f1:.4f}: {beats} the majority-class "
        f"baseline of {trained.majority['test']:.4f} ({others})."
    )


def _accuracy_interval(scores: Scores) -> tuple[int, float, float]:
    """How many texts were scored, and the 95 % limits of the accuracy."""
    n = sum(c.support for c in scores.per_class)
    return (n, *wilson_interval(round(scores.accuracy * n), n, 0.95))


def samples(trained: TrainResult) -> Table:
    """The sample texts before tuning, where that was done here, and after."""
    if any(s.untuned_label is None for s in trained.samples):
        rows = tuple((s.text, f"{s.tuned_label} {s.tuned_score:.3f}") for s in trained.samples)
        return Table(("sample text", "answer"), rows)
    return Table(
        ("sample text", "untuned", "tuned"),
        tuple(
            (s.text, f"{s.untuned_label} {s.untuned_score:.3f}", f"{s.tuned_label} {s.tuned_score:.3f}")
            for s in trained.samples
        ),
    )


def _test_section(trained: TrainResult, images: dict[str, Path]) -> Section:
    n, low, high = _accuracy_interval(trained.test)
    text = (
        f"PyTorch on {n} test texts: accuracy {trained.test.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"macro precision {trained.test.macro_precision:.4f}, recall {trained.test.macro_recall:.4f}, "
        f"F1 {trained.test.macro_f1:.4f}."
    )
    return Section(
        "Test split", (text,), (per_class(trained.test), confusion(trained.test)), _pick(images, "confusion")
    )


def _confidence_section(confidence: Confidence) -> Section:
    fitted = (
        f"Logits are divided by {confidence.temperature:.3f}, fitted on the validation split, in the model itself: "
        f"expected calibration error on the test split {confidence.error_before:.4f} before, "
        f"{confidence.error:.4f} after (15 bins, Guo et al. 2017). "
        if confidence.temperature != 1.0
        else f"Expected calibration error on the test split: {confidence.error:.4f} (15 bins, Guo et al. 2017). "
    )
    rows = tuple(
        (f"{p.threshold:g}", f"{p.answered:.1%}", "-" if p.accuracy is None else f"{p.accuracy:.4f}")
        for p in confidence.coverage
    )
    text = fitted + "What abstaining below a score would leave unanswered, and how accurate the rest is:"
    return Section("Confidence", (text,), (Table(("abstain below", "answered", "accuracy of answers"), rows),))


def per_class(scores: Scores) -> Table:
    """Precision, recall, F1 and support of each label."""
    rows = tuple(
        (c.label, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", str(c.support)) for c in scores.per_class
    )
    return Table(("label", "precision", "recall", "F1", "texts"), rows)


def confusion(scores: Scores) -> Table:
    """Counts of (true label, answered label)."""
    labels = [c.label for c in scores.per_class]
    rows = tuple((label, *(str(count) for count in row)) for label, row in zip(labels, scores.confusion, strict=True))
    return Table(("true \\ answered", *labels), rows)


def _data_section(prepared: PrepareResult, trained: TrainResult) -> Section:
    rows = tuple(
        (
            split,
            *(str(counts.get(label, 0)) for label in prepared.labels),
            str(sum(counts.values())),
            str(trained.truncated[split]),
        )
        for split, counts in prepared.counts.items()
    )
    table = Table(("split", *prepared.labels, "texts", "cut at max length"), rows)
    return Section("Data", (f"Source: {prepared.source}.", *prepared.notices, *trained.notices), (table,))


def _provenance_section(manifest: Manifest) -> Section:
    versions = Table(("package", "version"), tuple(manifest.versions.items()))
    stages = Table(
        ("stage", "seconds", "finished"),
        tuple((name, f"{entry.seconds:.1f}", entry.finished) for name, entry in manifest.stages.items()),
    )
    paragraphs: list[str] = []
    if "export" in manifest.stages:
        export = manifest.result("export", ExportResult)
        paragraphs.extend(
            f"{check.variant}: largest logit difference from PyTorch {check.max_logit_difference:.2g} "
            f"on {len(check.shapes)} padded batches (allowed {check.tolerance:g})."
            for check in export.checks
        )
        paragraphs.append(
            f"Traced graphs come from {export.exporter}. "
            f"{export.tokenizer_texts} texts are tokenized as transformers does."
        )
        paragraphs.extend(f"Note: {notice}." for notice in export.notices)
    if "quantize" in manifest.stages and (vocabulary := manifest.result("quantize", QuantizeResult).vocabulary):
        paragraphs.append(
            f"The trimmed vocabulary keeps {vocabulary.kept:,} of {vocabulary.tokens:,} tokens. "
            f"Of {vocabulary.words:,} words of the test split {vocabulary.respelled:,} are spelled in other tokens, "
            f"{vocabulary.lost:,} of them as unknown; "
            f"{vocabulary.changed_texts:,} of {vocabulary.texts:,} texts have such a word."
        )
    if "quantize" in manifest.stages and (found := manifest.result("quantize", QuantizeResult).calibration):
        paragraphs.append(
            f"INT8 of the lean graph: {found.products} products calibrated on {found.texts} training texts "
            f"({found.tokens} tokens); "
            f"largest relative error of an output {found.worst_error:.1e} ({found.worst_product})."
        )
    return Section("Provenance", tuple(paragraphs), (stages, versions))


def _machine(hardware: Hardware) -> str:
    quota = f", quota {hardware.cpu_quota:g}" if hardware.cpu_quota else ""
    memory = f"{hardware.memory_bytes / 2**30:.0f} GiB"
    return f"{hardware.cpu}, {hardware.cores} cores{quota}, {memory} ({', '.join(hardware.isa)})"


def _pick(images: dict[str, Path], name: str) -> tuple[tuple[str, Path], ...]:
    return ((name.replace("_", " "), images[name]),) if name in images else ()
