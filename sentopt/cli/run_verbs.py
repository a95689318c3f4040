"""The verbs that make and continue runs: train, search, average, export, bench, run, report."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import sentopt
from sentopt.cli.printing import EXIT_NONE_PASSED, as_json, fail, print_json
from sentopt.errors import RecipeError
from sentopt.progress import in_words

if TYPE_CHECKING:
    from sentopt.api import Run
    from sentopt.pipeline import Depth

_REPORTED = ("verify", "bench", "select", "bundle")


def train(arguments: argparse.Namespace) -> int:
    """Fine-tune the recipe's backbone on its data.

    e.g. sentopt train --data reviews.csv --set data.text_column=review
         sentopt train --data reviews.csv --dry-run
         sentopt train quickstart --set train.epochs=2 --run-dir exports/short
    """
    from sentopt.report import sections

    run = _train(arguments, until=None)
    if run is None:
        return 0
    if arguments.json:
        return print_json({"run_dir": str(run.path), "train": as_json(run.training), "gain": as_json(run.teaching)})
    print(sections.trained_in_words(run.training, run.teaching))
    if not run.reference.passed:
        print(f"\n{run.reference.words}.\n`sentopt export` would ship nothing.")
    return _print_checkpoint(run, arguments)


def search(arguments: argparse.Namespace) -> int:
    """Search hyperparameters around those of a recipe, by its validation split; the same command goes on.

    e.g. sentopt search quickstart --trials 20
         sentopt search --data reviews.csv --dry-run
         sentopt train exports/search-quickstart/best.toml
    """
    found = sentopt.search(
        arguments.data or None,
        recipe=_named_recipe(arguments),
        model=arguments.model or None,
        trials=arguments.trials,
        folder=arguments.folder,
        overrides=_settings(arguments),
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        files = {"folder": str(found.folder), "recipe_file": str(found.recipe_file or "")}
        return print_json({**files, "metric": found.metric, "seconds": found.seconds, "trials": as_json(found.trials)})
    if arguments.dry_run:
        print(f"forecast: about {in_words(found.seconds)} for {arguments.trials} trials")
        return 0
    print(found)
    if found.recipe_file:
        print(f"\nbest recipe: {found.recipe_file}\nnext:        sentopt train {found.recipe_file}")
    return 0


def average(arguments: argparse.Namespace) -> int:
    """A run with the mean of the weights of several runs that had the same starting weights.

    e.g. sentopt train --run-dir exports/a
         sentopt train --run-dir exports/b --set train.seed=7
         sentopt average exports/a exports/b && sentopt export
    """
    from sentopt.report import sections

    run, soup = sentopt.average(arguments.runs, run_dir=arguments.run_dir)
    if arguments.json:
        return print_json({"run_dir": str(run.path), "average": as_json(soup), "train": as_json(run.training)})
    print(f"{sections.average_in_words(soup)}\n\n{sections.trained_in_words(run.training)}")
    return _print_checkpoint(run, arguments)


def export(arguments: argparse.Namespace) -> int:
    """From a fine-tuned checkpoint to a verified, benchmarked, selected bundle.

    Without --model, the checkpoint is what `sentopt train` left in the run directory.

    e.g. sentopt export --run-dir exports/short --set verify.margin=0.5
         sentopt export --model my-tuned-model/ --data reviews.csv
         sentopt export --json | jq .select
    """
    if arguments.string_input:
        arguments.set = [*arguments.set, "export.string_input=true"]
    if not arguments.model:
        if arguments.data:
            raise RecipeError("--data", ["goes with --model: the data that a tuned model is verified on"])
        return _optimize(_existing(arguments), arguments, depth="quick")
    if not arguments.data:
        raise RecipeError("--model", ["a tuned model is verified on data: name labelled texts with --data"])
    if arguments.recipe_option:
        raise RecipeError("--recipe", ["a recipe says how to train; --model names a model that is tuned already"])
    run = sentopt.optimize(
        arguments.model,
        test=arguments.data,
        run_dir=arguments.run_dir,
        overrides=_settings(arguments),
        force=arguments.force,
    )
    return _finish(run, arguments)


def bench(arguments: argparse.Namespace) -> int:
    """The full benchmark of a run, then select and bundle again.

    e.g. sentopt bench --set select.objective=throughput
    """
    return _optimize(_existing(arguments), arguments, depth="full")


def run(arguments: argparse.Namespace) -> int:
    """Everything: train, export, verify, benchmark, select, bundle, report.

    e.g. sentopt run quickstart
         sentopt run my-recipe.toml --set train.epochs=1
    """
    run = _train(arguments, until="full")
    if run is None:
        return 0
    return _finish(run.optimize(depth="full", force=arguments.force), arguments)


def report(arguments: argparse.Namespace) -> int:
    """Write the reports of a run again and print its table."""
    run = _existing(arguments)
    written = run.write_report()
    if {"bench", "select"} <= run.manifest.stages.keys():
        print(f"{run.table}\n{run.table.legend}\n\n{run.selection.reason}")
    print(f"report: {written.markdown}\n        {written.html}")
    return 0


def _train(arguments: argparse.Namespace, *, until: Depth | None) -> Run | None:
    """The trained run; None after --dry-run, and in all processes of a distributed training but rank 0."""
    from sentopt.training import distributed

    run = sentopt.train(
        arguments.data or None,
        recipe=_named_recipe(arguments),
        model=arguments.model or None,
        run_dir=arguments.run_dir,
        overrides=_settings(arguments),
        force=arguments.force,
        dry_run=arguments.dry_run,
        until=until,
    )
    return run if distributed.is_rank_zero() and not arguments.dry_run else None


def _named_recipe(arguments: argparse.Namespace) -> str:
    if arguments.recipe and arguments.recipe_option and arguments.recipe != arguments.recipe_option:
        raise RecipeError("command line", [f"two recipes are named: {arguments.recipe} and {arguments.recipe_option}"])
    return str(arguments.recipe or arguments.recipe_option or "quickstart")


def _existing(arguments: argparse.Namespace) -> Run:
    """The run that `train` left: --run-dir, else the recipe's, else the newest below exports/."""
    run = sentopt.open(arguments.run_dir) if arguments.run_dir else sentopt.find(arguments.recipe_option or "")
    if not (arguments.run_dir or arguments.recipe_option):
        print(f"run: {run.path}", file=sys.stderr)
    return run


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    from sentopt.recipe import parse_settings

    return parse_settings(arguments.set)


def _optimize(run: Run, arguments: argparse.Namespace, *, depth: Depth) -> int:
    return _finish(run.optimize(depth=depth, overrides=_settings(arguments), force=arguments.force), arguments)


def _finish(run: Run, arguments: argparse.Namespace) -> int:
    """The table, and what to type next."""
    stages = run.manifest.stages
    if arguments.json:
        results = {name: stages[name].result for name in _REPORTED if name in stages}
        print_json({"run_dir": str(run.path), "bundle_dir": str(run.run_dir.bundle), **results})
    if "bench" not in stages:
        return fail(run.selection.reason, EXIT_NONE_PASSED)
    if not arguments.json:
        print(f"{run.table}\n{run.table.legend}\n\n{run.selection.reason}")
    if run.bundle is None:
        return fail("no variant passed, nothing was bundled: the reasons are above and in the report", EXIT_NONE_PASSED)
    if not arguments.json:
        print(_next_steps(run, arguments))
    return 0


def _next_steps(run: Run, arguments: argparse.Namespace) -> str:
    hint = f" --run-dir {run.path}" if arguments.run_dir else ""
    python, shell = "'What a lovely day'", '"What a lovely day"'
    if run.recipe.data.pair_column:
        python, shell = "('What a lovely day', 'the weather')", f'{shell} "the weather"'
    return (
        f"\nbundle: {run.bundle}\nreport: {run.report.html}\n\n"
        f"in Python:  from sentopt import Classifier; clf = Classifier.load({str(run.bundle)!r}); "
        f"print(clf({python}))\n"
        f"next:       sentopt predict{hint} {shell}\n"
        f"            sentopt demo{hint}"
    )


def _print_checkpoint(run: Run, arguments: argparse.Namespace) -> int:
    hint = f" --run-dir {run.path}" if arguments.run_dir else ""
    print(f"\ncheckpoint: {run.run_dir.checkpoint}\nnext:       sentopt export{hint}")
    return 0
