"""The verbs that make and continue runs: train, average, export, bench, run, report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentopt.cli import pipelines
from sentopt.cli.printing import EXIT_NONE_PASSED, as_json, fail, print_json
from sentopt.errors import RecipeError
from sentopt.training import distributed

if TYPE_CHECKING:
    from sentopt.pipeline import Pipeline
    from sentopt.results import Selection, TrainResult
    from sentopt.training.soup import Soup


def train(arguments: argparse.Namespace) -> int:
    """Tune the recipe's backbone on its data."""
    pipeline = pipelines.of_recipe(arguments)
    if not distributed.is_first():
        pipeline.join_training()
        return 0
    with pipeline.run_dir.locked():
        pipeline.forecast(None)
        result = pipeline.train()
        reference = pipeline.check_reference()
        pipeline.report()
    if arguments.json:
        return print_json({"run_dir": str(pipeline.run_dir.root), "train": as_json(result)})
    _print_training(result)
    if not reference.passed:
        print(f"\n{reference.words}.\nNothing that is compared with it would ship.")
    _print_checkpoint(arguments, pipeline)
    return 0


def average(arguments: argparse.Namespace) -> int:
    """A run made from the mean of the weights of several runs that started from the same ones."""
    from sentopt._optional import require
    from sentopt.data.names import run_name
    from sentopt.run_dir import EXPORTS, RunDir

    soup = require("sentopt.training.soup", extra="train")
    runs = [RunDir(Path(run)) for run in arguments.runs]
    target = RunDir(Path(arguments.run_dir) if arguments.run_dir else EXPORTS / "average")
    found = soup.average(runs, target)
    recipe = soup.recipe_of(runs[0], target, name=run_name(target.root.name))
    pipeline = pipelines.of(recipe, target, arguments)
    with target.locked():
        pipeline.prepare()
        soup.check_same_data([runs[0], target])
        result = pipeline.train()
        pipeline.report()
    if arguments.json:
        return print_json({"run_dir": str(target.root), "average": as_json(found), "train": as_json(result)})
    _print_average(found)
    _print_training(result)
    _print_checkpoint(arguments, pipeline)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """From a tuned checkpoint to a verified, benchmarked, selected bundle.

    Without --model, the checkpoint is what `sentopt train` left in the run directory.
    """
    if arguments.string_input:
        arguments.set = [*arguments.set, "export.string_input=true"]
    if not arguments.model:
        if arguments.data:
            raise RecipeError("--data", ["goes with --model: the data that a tuned model is verified on"])
        return _finish(pipelines.of_existing_run(arguments), arguments, depth="quick")
    pipeline = pipelines.of_tuned_model(arguments)
    with pipeline.run_dir.locked():
        pipeline.forecast("quick")
        pipeline.train()
    return _finish(pipeline, arguments, depth="quick")


def bench(arguments: argparse.Namespace) -> int:
    """The full benchmark of a run, then select and bundle again."""
    return _finish(pipelines.of_existing_run(arguments), arguments, depth="full")


def run(arguments: argparse.Namespace) -> int:
    """Everything: train, export, verify, benchmark, select, bundle, report."""
    pipeline = pipelines.of_recipe(arguments)
    if not distributed.is_first():
        pipeline.join_training()
        return 0
    with pipeline.run_dir.locked():
        pipeline.forecast("full")
        pipeline.train()
    return _finish(pipeline, arguments, depth="full")


def report(arguments: argparse.Namespace) -> int:
    """Write the reports of a run again and print its table."""
    pipeline = pipelines.of_existing_run(arguments)
    with pipeline.run_dir.locked():
        pipeline.report()
    if "bench" in pipeline.manifest.stages and "select" in pipeline.manifest.stages:
        _print_table(pipeline)
    print(f"report: {pipeline.run_dir.report}\n        {pipeline.run_dir.html_report}")
    return 0


def _finish(pipeline: Pipeline, arguments: argparse.Namespace, *, depth: Any) -> int:
    """Export to report, then the table and what to type next."""
    with pipeline.run_dir.locked():
        reference = pipeline.check_reference()
        if not reference.passed:
            selection = pipeline.refuse_weak_reference(reference)
            pipeline.report()
            if arguments.json:
                print_json(_run_as_json(pipeline))
            return fail(selection.reason, EXIT_NONE_PASSED)
        pipeline.bench(depth)
        bundle = pipeline.bundle()
        pipeline.report()
    selection = _selection(pipeline)
    if arguments.json:
        print_json(_run_as_json(pipeline))
    else:
        _print_table(pipeline)
        if bundle:
            print(_next_steps(pipeline, arguments))
    if selection.variant is None:
        return fail(
            "no variant passed verification; nothing was bundled. The reasons are above and in the report.",
            EXIT_NONE_PASSED,
        )
    return 0


def _selection(pipeline: Pipeline) -> Selection:
    from sentopt.results import Selection

    return pipeline.manifest.result("select", Selection)


def _print_table(pipeline: Pipeline) -> None:
    from sentopt.report.sections import comparison
    from sentopt.report.tables import as_text
    from sentopt.results import BenchResult, VerifyResult

    selection = _selection(pipeline)
    verified, measured = (
        pipeline.manifest.result("verify", VerifyResult),
        pipeline.manifest.result("bench", BenchResult),
    )
    print(as_text(comparison(verified.verdicts, measured, selection)))
    print(f"\n{selection.reason}")


def _run_as_json(pipeline: Pipeline) -> dict[str, Any]:
    stages = {
        name: entry.result
        for name, entry in pipeline.manifest.stages.items()
        if name in ("verify", "bench", "select", "bundle")
    }
    return {"run_dir": str(pipeline.run_dir.root), "bundle_dir": str(pipeline.run_dir.bundle), **stages}


def _next_steps(pipeline: Pipeline, arguments: argparse.Namespace) -> str:
    bundle, hint = pipeline.run_dir.bundle, _run_dir_hint(arguments, pipeline)
    return (
        f"\nbundle: {bundle}\nreport: {pipeline.run_dir.html_report}\n\n"
        f"in Python:  from sentopt import Classifier; clf = Classifier.load({str(bundle)!r}); "
        "print(clf('What a lovely day'))\n"
        f"next:       sentopt predict{hint} 'What a lovely day'\n"
        f"            sentopt demo{hint}"
    )


def _run_dir_hint(arguments: argparse.Namespace, pipeline: Pipeline) -> str:
    return f" --run-dir {pipeline.run_dir.root}" if arguments.run_dir else ""


def _print_training(result: TrainResult) -> None:
    from sentopt.report import sections, tables

    shown = sections.per_class(result.test), sections.confusion(result.test), sections.samples(result)
    print(sections.training(result), sections.against_majority(result), *map(tables.as_text, shown), sep="\n\n")


def _print_checkpoint(arguments: argparse.Namespace, pipeline: Pipeline) -> None:
    print(f"\ncheckpoint: {pipeline.run_dir.checkpoint}")
    print(f"next:       sentopt export{_run_dir_hint(arguments, pipeline)}")


def _print_average(found: Soup) -> None:
    from sentopt.report.tables import Table, as_text

    rows = [*zip(found.runs, found.scores, strict=True), ("their average", found.average)]
    headings = ("run", f"validation {found.metric}")
    print(as_text(Table(headings, tuple((name, f"{score:.4f}") for name, score in rows), mark=len(found.runs))))
    print("" if found.is_best else "\nThe best single run scores higher: export that one.\n")
