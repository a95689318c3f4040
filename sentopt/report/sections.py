"""The comparison of the variants of a run, and the parts of its report. Everything comes from `run.json`.

The one exception are the raw samples of the benchmark, which tell why p99 is high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sentopt import records
from sentopt.manifest import Manifest, StageEntry
from sentopt.measure.hardware import Hardware
from sentopt.measure.scores import Scores
from sentopt.measure.stats import wilson_interval
from sentopt.measure.timing import Figure, shared_figure
from sentopt.recipe import Recipe
from sentopt.report import alt_texts, answers, cascades, glossary, refused, speed, tail, teaching, verification
from sentopt.report.section import Section, picked
from sentopt.report.speed import machine, milliseconds
from sentopt.report.tables import Table, as_text, counted, second_heading, texts_of
from sentopt.report.verification import changed_on, counted_verdicts, emulated_cpus, verdict_word
from sentopt.results import (
    BenchResult,
    BenchRow,
    BundleResult,
    ExamineResult,
    ExportResult,
    PrepareResult,
    QuantizeResult,
    Selection,
    TeachingGain,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.variants import REFERENCE

if TYPE_CHECKING:
    from sentopt.training.soup import Soup

_QUALITY = ("variant", "accuracy (95 %)", "agreement", "verdict")
_SPEED = ("mean ms", "p50", "p99", "texts/s", "MB", "speedup")
_CONFIDENCE = 0.95
_LISTED_LABELS = 12
_ACCURACY = "accuracy: right labels on the test split, with its 95 % interval; agreement: same label as PyTorch"
_ACCURACY_OF_SETS = (
    "accuracy: test texts whose labels are all right, with its 95 % interval; agreement: the same labels as PyTorch"
)
_CURVES = ("Where are the training curves?", "questions/training-curves.md")


def comparison(verdicts: Sequence[Verdict], bench: BenchResult, selection: Selection | None) -> Table:
    """One row per variant: quality and speed side by side; `legend` explains the columns.

    Accuracy has its 95 % interval. `speedup` is the ratio of PyTorch's latency to the variant's, by the figure that
    decided. The share of deferred texts is there if a cascade is.
    """
    judged = {v.variant: v for v in verdicts}
    reference = next((row for row in bench.rows if row.variant == REFERENCE), None)
    has_cascade = any(judged[row.variant].deferred is not None for row in bench.rows if row.variant in judged)
    rows = [
        (
            *_quality_cells(row.variant, judged.get(row.variant)),
            *_speed_cells(row, reference, decisive_figure(bench, selection)),
            *([_share_deferred(judged.get(row.variant))] if has_cascade else []),
        )
        for row in bench.rows
    ]
    names = [row.variant for row in bench.rows]
    chosen = selection.variant if selection else None
    headings = (*_QUALITY, *_SPEED, *(["deferred"] if has_cascade else []))
    return Table(headings, tuple(rows), names.index(chosen) if chosen in names else None)


def decisive_figure(bench: BenchResult, selection: Selection | None) -> Figure:
    """The figure of the latencies by which variants are compared: the selection's, else the mean where all have one."""
    return shared_figure(selection.figure if selection else "mean", [row.latency for row in bench.rows])


def legend(verdicts: Sequence[Verdict], bench: BenchResult, selection: Selection | None = None) -> str:
    """What the columns and words of `comparison` mean, and what an emulated CPU answered: lines for a terminal."""
    shown = {row.variant for row in bench.rows}
    words = {verdict_word(name, v) for name in shown for v in verdicts if v.variant == name}
    lines = [
        _ACCURACY_OF_SETS if any(v.scores.sets for v in verdicts) else _ACCURACY,
        "mean, p50, p99: ms for one text, the average, the median and the 99th percentile",
        f"speedup: PyTorch's {decisive_figure(bench, selection)} divided by this one",
        *_on_deferred(verdicts, bench),
    ]
    if any("lean" in (name, *name.split("-")) for name in shown):
        lines.append(f"lean: {glossary.LEAN}")
    lines += [f"{word}: {glossary.TERMS[word]}" for word in ("pass*", "untested") if word in words]
    return "\n".join([*lines, *_on_other_cpus(verdicts)])


def _on_other_cpus(verdicts: Sequence[Verdict]) -> list[str]:
    """How many labels change on emulated CPUs, a line for each CPU and count."""
    variants: dict[str, list[str]] = {}
    for cpu in emulated_cpus(verdicts):
        for v in verdicts:
            if changed := changed_on(cpu, v):
                variants.setdefault(f"emulated {cpu}: {changed} labels change", []).append(v.variant)
    return [f"{outcome} ({', '.join(names)})" for outcome, names in variants.items()]


def _on_deferred(verdicts: Sequence[Verdict], bench: BenchResult) -> list[str]:
    """What the column `deferred` means, and what a text costs where every text is deferred."""
    if all(v.deferred is None for v in verdicts):
        return []
    return [
        "deferred: share of the test texts that the cascade's full model answers",
        *(
            f"{row.variant}: where every text is deferred, a text takes {milliseconds(row.deferred_latency.mean)} ms "
            f"(mean; p99 {row.deferred_latency.p99:.2f})"
            for row in bench.rows
            if row.deferred_latency
        ),
    ]


def _quality_cells(variant: str, verdict: Verdict | None) -> tuple[str, ...]:
    return (
        variant,
        _with_interval(verdict.scores) if verdict else "-",
        f"{verdict.agreement:.4f}" if verdict else "-",
        verdict_word(variant, verdict),
    )


def _speed_cells(row: BenchRow, reference: BenchRow | None, figure: Figure) -> tuple[str, ...]:
    return (
        milliseconds(row.latency.mean),
        f"{row.latency.p50:.2f}",
        f"{row.latency.p99:.2f}",
        f"{row.texts_per_second:.0f}",
        f"{row.bytes / 1e6:.1f}",
        f"{reference.latency.figure(figure) / row.latency.figure(figure):.2f}" if reference else "-",
    )


def _share_deferred(verdict: Verdict | None) -> str:
    return "-" if verdict is None or verdict.deferred is None else f"{verdict.deferred:.1%}"


def _with_interval(scores: Scores) -> str:
    n, low, high = _accuracy_interval(scores)
    return f"{scores.accuracy:.3f} ({low:.3f}-{high:.3f})" if n else f"{scores.accuracy:.3f}"


def sections(
    recipe: Recipe, manifest: Manifest, images: dict[str, Path], samples: tail.Samples | None = None
) -> list[Section]:
    """The parts of the report for which stages have finished.

    Args:
        recipe: that of the run.
        manifest: what its `run.json` holds.
        images: plots by name.
        samples: raw samples of the benchmark, which tell why p99 is high.
    """
    trained = manifest.result("train", TrainResult)
    examined = examination(manifest)
    parts = [_verdict_section(manifest, images)]
    verified = manifest.result("verify", VerifyResult) if "verify" in manifest.stages else None
    if verified:
        parts += refused.sections(recipe, verified, shipped=_chosen(manifest))
    parts.append(_run_section(manifest))
    if verified:
        parts.append(verification.section(recipe, verified, images))
    if "bench" in manifest.stages:
        verdicts = verified.verdicts if verified else ()
        parts.append(speed.section(manifest.result("bench", BenchResult), verdicts, images, samples or {}))
    parts += [
        *teaching.sections(recipe, manifest),
        *cascades.sections(manifest),
        _training_section(trained, images),
        replace(
            _answer_section(trained, manifest, examined),
            images=picked(images, "confusion", alt_texts.confusion(*shown_scores(trained, manifest)))
            if trained.test.confusion
            else (),
        ),
        replace(
            answers.confidence_section(trained, examined),
            images=picked(images, "scores", alt_texts.scores(examined)) if examined and examined.bands else (),
        ),
        *(answers.wrong_section(examined) if examined else []),
        *(answers.changes_section(examined) if examined else []),
        _data_section(manifest.result("prepare", PrepareResult), trained),
        _provenance_section(manifest),
    ]
    return [*parts, _glossary_section(manifest, parts)]


def _run_section(manifest: Manifest) -> Section:
    """What the run was made from: data, labels, model, machine, date."""
    prepared, trained = manifest.result("prepare", PrepareResult), manifest.result("train", TrainResult)
    counts = ", ".join(f"{prepared.texts_of(split):,} {split}" for split in prepared.counts)
    labels = [*prepared.labels[:_LISTED_LABELS], *(["..."] if len(prepared.labels) > _LISTED_LABELS else [])]
    how = f"fine-tuned here in {_duration(trained.seconds)}" if trained.steps else "fine-tuned elsewhere"
    items = (
        f"**Data:** {prepared.source} ({counts} texts)",
        f"**Labels:** {', '.join(labels)} ({len(prepared.labels)})",
        f"**Model:** {trained.backbone}, {trained.parameters:,} trainable parameters, {how}",
        *([f"**Machine:** {machine(_hardware(manifest))}"] if manifest.hardware else []),
        f"**Date:** {max(entry.finished for entry in _reported(manifest).values())[:10]}",
    )
    return Section("This run", items=items)


def _reported(manifest: Manifest) -> dict[str, StageEntry]:
    """All stages but the report's own, so that writing it again changes nothing."""
    return {name: entry for name, entry in manifest.stages.items() if name != "report"}


def _hardware(manifest: Manifest) -> Hardware:
    return records.from_json(Hardware, manifest.hardware)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _chosen(manifest: Manifest) -> str | None:
    return manifest.result("select", Selection).variant if "select" in manifest.stages else None


def examination(manifest: Manifest) -> ExamineResult | None:
    """What was found of the answers of the variant that ships; None where none does, or it was not looked at yet.

    What was found before the model was trained again does not count.
    """
    if "examine" not in manifest.stages:
        return None
    examined, trained = manifest.result("examine", ExamineResult), manifest.result("train", TrainResult).confidence
    own = examined.confidence
    is_current = (own.temperature, own.error_before) == (trained.temperature, trained.error_before)
    return examined if is_current and examined.variant == _chosen(manifest) else None


def shown_scores(trained: TrainResult, manifest: Manifest) -> tuple[Scores, str]:
    """The scores of the variant that ships, and its name; of PyTorch where none does."""
    chosen = _chosen(manifest)
    shipped = _judged_scores(manifest, chosen) if chosen else None
    return (shipped, chosen) if shipped and chosen else (trained.test, "PyTorch")


def _judged_scores(manifest: Manifest, variant: str) -> Scores | None:
    """Of a variant on the distinct test texts."""
    verdicts = manifest.result("verify", VerifyResult).verdicts if "verify" in manifest.stages else ()
    return next((verdict.scores for verdict in verdicts if verdict.variant == variant), None)


def _answer_section(trained: TrainResult, manifest: Manifest, examined: ExamineResult | None) -> Section:
    shown, who = shown_scores(trained, manifest)
    reference = shown if who == "PyTorch" else _judged_scores(manifest, REFERENCE) or trained.test
    return answers.answer_section(reference, shown, who, examined, trained.thresholds)


def _verdict_section(manifest: Manifest, images: dict[str, Path]) -> Section:
    """What ships, or why nothing does."""
    if "select" not in manifest.stages:
        trained = manifest.result("train", TrainResult)
        return Section(
            "Verdict",
            (
                "**There is no verdict yet**: the model is trained, but no variant of it has been verified. "
                "Next: `sentopt export`.",
                f"PyTorch's accuracy is {_with_interval(trained.test)} on the test split (95 % interval in brackets).",
            ),
        )
    selection = manifest.result("select", Selection)
    first, *rest = selection.reason.splitlines()
    if selection.variant is None:  # otherwise it begins with the name of a variant
        first = f"{first[:1].upper()}{first[1:]}"
    paragraphs = [f"**{first}**"]
    if "bench" not in manifest.stages:  # the reference was too weak to compare anything with
        return Section("Verdict", (*paragraphs, *rest, *refused.WEAK_REFERENCE))
    bench, verified = manifest.result("bench", BenchResult), manifest.result("verify", VerifyResult)
    failed = {v.variant for v in verified.verdicts if not v.passed}
    paragraphs.append(counted_verdicts(verified.verdicts, bench))
    paragraphs += [line for line in rest if line.partition(" ")[0] not in failed]  # these have a part of their own
    if "bundle" in manifest.stages:
        bundle = manifest.result("bundle", BundleResult)
        paragraphs.append(
            f"The bundle ([bundle/](bundle/)) has {bundle.files} files, {bundle.bytes / 1e6:.1f} MB, "
            f"{bundle.golden_texts} golden texts among them."
        )
    paragraphs.append(
        f"Accuracy and agreement are measured on {verified.texts:,} distinct test texts, milliseconds for one text at "
        f"a time with tokenization, {counted(bench.threads, 'thread')}, {counted(bench.rounds, 'interleaved round')} "
        f"({bench.depth} benchmark)."
    )
    if elsewhere := _on_other_cpus(verified.verdicts):
        paragraphs.append(f"How other CPUs answer: {'; '.join(elsewhere)}.")
    return Section(
        "Verdict",
        tuple(paragraphs),
        tables=(comparison(verified.verdicts, bench, selection),),
        images=picked(
            images,
            "accuracy_latency",
            alt_texts.accuracy_latency(bench, verified.verdicts, decisive_figure(bench, selection), selection.variant),
        ),
        pages=verification.PAGES,
    )


def _training_section(trained: TrainResult, images: dict[str, Path]) -> Section:
    of_sets = bool(trained.thresholds)
    evals = Table(
        (
            *("step", "epoch", "validation loss", "accuracy", "macro precision", "macro recall", "macro F1"),
            *(["micro F1"] if of_sets else []),
        ),
        tuple(
            (
                str(e.step),
                f"{e.epoch:.2f}",
                *(f"{x:.4f}" for x in (e.loss, e.accuracy, e.macro_precision, e.macro_recall, e.macro_f1)),
                *([f"{e.micro_f1:.4f}"] if of_sets and e.micro_f1 is not None else []),
            )
            for e in trained.evals
        ),
        title=f"Evaluations on the validation split{', with the thresholds that suit it best' if of_sets else ''}",
    )
    tables = (evals, samples(trained)) if trained.evals else (samples(trained),)
    paragraphs = (training(trained), against_majority(trained))
    shown = picked(images, "loss", alt_texts.loss(trained))
    return Section("Training", paragraphs, tables=tables, images=shown, pages=(_CURVES,))


def trained_in_words(trained: TrainResult, gain: TeachingGain | None = None) -> str:
    """A finished training for a terminal: figures, labels, confusion, sample texts, and what a teacher gained."""
    confusion = [answers.confusion(trained.test)] if trained.test.confusion else []
    shown = answers.by_label(trained.test, trained.thresholds), *confusion, samples(trained)
    taught = [teaching.in_words(gain)] if gain else []
    return "\n\n".join([training(trained), against_majority(trained), *taught, *map(as_text, shown)])


def average_in_words(soup: Soup) -> str:
    """The scores of runs and of their average, for a terminal."""
    rows = [*zip(soup.runs, soup.scores, strict=True), ("their average", soup.average)]
    cells = tuple((name, f"{score:.4f}") for name, score in rows)
    table = as_text(Table(("run", f"validation {soup.metric}"), cells, mark=len(soup.runs)))
    return table if soup.is_best else f"{table}\n\nThe best single run scores higher: export that one."


def training(trained: TrainResult) -> str:
    """What was trained, how long it took, and how good it became on the validation split."""
    n, low, high = _accuracy_interval(trained.validation)
    quality = (
        f"Validation accuracy in FP32 {trained.validation.accuracy:.4f} of {n} texts "
        f"(95 % interval {low:.4f} to {high:.4f}), {_f1(trained.validation)}."
    )
    if not trained.steps:
        size = f"{trained.parameters:,} parameters"
        return f"{trained.backbone} was fine-tuned elsewhere and is used unchanged: {size}. {quality}"
    processes = f", {trained.processes} processes" if trained.processes > 1 else ""
    resumed = f" since it was resumed at step {trained.resumed_from_step}" if trained.resumed_from_step else ""
    best = (
        f"The weights of step {trained.best_step} are kept: best validation {trained.metric} {trained.best_metric:.4f}."
        if trained.evals
        else "Too short for an evaluation during training: the last weights are kept."
    )
    return (
        f"{trained.backbone}, {trained.parameters:,} trainable parameters, {trained.steps} steps "
        f"({trained.epochs:.3g} epochs) in {trained.precision} on {trained.device}{processes}: "
        f"{trained.seconds:.0f} s{resumed}, {trained.samples_per_second:.0f} texts/s. {best} {quality}"
    )


def against_majority(trained: TrainResult) -> str:
    """Whether fine-tuning was worth anything: accuracy against always answering the most frequent label."""
    _, low, high = _accuracy_interval(trained.test)
    beats = "beats" if trained.beats_majority else "does NOT beat"
    if low <= trained.majority["test"] < trained.test.accuracy:
        beats = f"not proven (95 % interval {low:.4f} to {high:.4f}) to beat"
    others = ", ".join(f"{split} {trained.majority[split]:.4f}" for split in ("train", "validation"))
    return (
        f"Test accuracy {trained.test.accuracy:.4f}, {_f1(trained.test)}: {beats} the majority "
        f"baseline of {trained.majority['test']:.4f} ({others})."
    )


def _f1(scores: Scores) -> str:
    micro = f", micro F1 {scores.sets.micro_f1:.4f}" if scores.sets else ""
    return f"macro F1 {scores.macro_f1:.4f}{micro}"


def _accuracy_interval(scores: Scores) -> tuple[int, float, float]:
    """How many texts were scored, and the 95 % limits of the accuracy; 0 to 1 where there are none."""
    n = scores.texts
    return (n, *(wilson_interval(round(scores.accuracy * n), n, _CONFIDENCE) if n else (0.0, 1.0)))


def samples(trained: TrainResult) -> Table:
    """The sample texts before fine-tuning, where that was done here, and after."""
    title, pair = "Answers to sample texts", second_heading(trained.samples)
    if any(s.untuned_label is None for s in trained.samples):
        rows = tuple((*texts_of(s, pair), f"{s.tuned_label} {s.tuned_score:.3f}") for s in trained.samples)
        return Table(("sample text", *pair, "answer"), rows, title=title)
    return Table(
        ("sample text", *pair, "before training", "after training"),
        tuple(
            (*texts_of(s, pair), f"{s.untuned_label} {s.untuned_score:.3f}", f"{s.tuned_label} {s.tuned_score:.3f}")
            for s in trained.samples
        ),
        title=title,
    )


def _data_section(prepared: PrepareResult, trained: TrainResult) -> Section:
    rows = tuple(
        (
            split,
            *(str(counts.get(label, 0)) for label in prepared.labels),
            str(prepared.texts_of(split)),
            str(trained.truncated[split]),
        )
        for split, counts in prepared.counts.items()
    )
    table = Table(("split", *prepared.labels, "texts", "cut at max length"), rows, title="Texts by split and label")
    notices = tuple(f"{notice}." for notice in (*prepared.notices, *trained.notices))
    return Section("Data", (f"Source: {prepared.source}.",), notices, tables=(table,))


def _provenance_section(manifest: Manifest) -> Section:
    versions = Table(("package", "version"), tuple(manifest.versions.items()), title="Packages")
    stages = Table(
        ("stage", "seconds", "finished"),
        tuple((name, f"{entry.seconds:.1f}", entry.finished) for name, entry in _reported(manifest).items()),
        title="Stages",
    )
    checks = [*_export_checks(manifest), *int8_checks(manifest)]
    return Section("How it was made", (), tuple(checks), tables=(stages, versions))


def _export_checks(manifest: Manifest) -> list[str]:
    if "export" not in manifest.stages:
        return []
    export = manifest.result("export", ExportResult)
    return [
        *(
            f"{check.variant}: the largest logit difference from PyTorch is {check.max_logit_difference:.2g} "
            f"on {len(check.shapes)} padded batches ({check.tolerance:g} allowed)."
            for check in export.checks
        ),
        f"Traced graphs were exported by {export.exporter}.",
        f"On {export.tokenizer_texts} texts the bundled tokenizer gives the token ids that transformers gives.",
        *(f"Note: {notice}." for notice in export.notices),
    ]


def int8_checks(manifest: Manifest) -> list[str]:
    """What there is to say of the quantized graphs."""
    if "quantize" not in manifest.stages:
        return []
    quantized = manifest.result("quantize", QuantizeResult)
    told = []
    if (vocabulary := quantized.vocabulary) is not None:
        told.append(
            f"The trimmed vocabulary keeps {vocabulary.kept:,} of {vocabulary.tokens:,} tokens. "
            f"Of {vocabulary.words:,} words of the test split {vocabulary.respelled:,} are split into other tokens, "
            f"{vocabulary.lost:,} of them into the unknown token; "
            f"{vocabulary.changed_texts:,} of {vocabulary.texts:,} texts have such a word."
        )
    for kind, calibration in (("lean", quantized.calibration), ("calibrated traced", quantized.traced_calibration)):
        if calibration is not None:
            told.append(
                f"The {kind} INT8 graph: {calibration.products} matrix products calibrated on {calibration.texts} "
                f"training texts ({calibration.tokens} tokens). The largest relative error of an output is "
                f"{calibration.worst_error:.1e} ({calibration.worst_product})."
            )
    return told


def _glossary_section(manifest: Manifest, parts: Sequence[Section]) -> Section:
    """The terms that the other parts use, and the variants of this run."""
    variants = {REFERENCE} if "select" in manifest.stages else set()
    if "verify" in manifest.stages:
        variants |= {v.variant for v in manifest.result("verify", VerifyResult).verdicts}
    if "bench" in manifest.stages:
        variants |= {row.variant for row in manifest.result("bench", BenchResult).rows}
    described = glossary.describe(variants)
    said = "\n".join([*(part.text for part in parts), *(cell for row in described.rows for cell in row)])
    return Section("Glossary", tables=(*([described] if variants else []), glossary.explain(said)))
