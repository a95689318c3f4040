"""The `sentopt` command: one verb, one function, thin over `pipeline` and `runtime`.

Only this module prints and decides exit codes: 0 done, 1 could not be done, 2 wrong usage, 3 no variant passed
verification, 130 interrupted. Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sentopt import __version__, distributed
from sentopt.errors import BundleError, DataError, RecipeError, RunDirError, SentoptError, TrainingInterrupted

if TYPE_CHECKING:
    from sentopt.pipeline import Pipeline
    from sentopt.recipe import Recipe
    from sentopt.results import Selection, TrainResult

EXIT_ERROR, EXIT_USAGE, EXIT_NONE_PASSED, EXIT_INTERRUPTED = 1, 2, 3, 130
_DATA_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    try:
        return verb(arguments)
    except RecipeError as error:
        return _fail(str(error), EXIT_USAGE)
    except TrainingInterrupted as error:
        return _fail(str(error), EXIT_INTERRUPTED)
    except SentoptError as error:
        return _fail(str(error), EXIT_ERROR)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command continues where it can", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: leave without a second complaint
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(
                f"no space left on the disk ({error.filename or 'unknown file'}); "
                "free some and run the same command again",
                EXIT_ERROR,
            )
        return _fail(f"{type(error).__name__}: {error}", EXIT_ERROR)


def train(arguments: argparse.Namespace) -> int:
    """Tune the recipe's backbone on its data."""
    pipeline = _new_pipeline(arguments)
    if not distributed.is_first():
        pipeline.follow()
        return 0
    with pipeline.run_dir.locked():
        result = pipeline.train()
        pipeline.report()
    if arguments.json:
        return _print_json({"run_dir": str(pipeline.run_dir.root), "train": _as_json(result)})
    _print_training(result)
    print(
        f"\ncheckpoint: {pipeline.run_dir.checkpoint}\nnext:       sentopt export{_run_dir_hint(arguments, pipeline)}"
    )
    return 0


def average(arguments: argparse.Namespace) -> int:
    """The mean of the weights of several runs that started from the same ones; as fast as each of them."""
    from sentopt import recipe
    from sentopt._optional import require
    from sentopt.run_dir import RunDir
    from sentopt.text_tables import Table, as_text

    runs = [RunDir(Path(run)) for run in arguments.runs]
    checkpoint = Path(arguments.output)
    found = require("sentopt.soup", extra="train").average(runs, checkpoint)
    if arguments.json:
        return _print_json({"checkpoint": str(checkpoint), **_as_json(found)})
    rows = [*zip(map(str, arguments.runs), found.runs, strict=True), ("their average", found.average)]
    headings = ("run", f"validation {found.metric}")
    print(as_text(Table(headings, tuple((name, f"{score:.4f}") for name, score in rows), mark=len(runs))))
    if not found.is_best:
        print("\nThe best single run scores higher: export that one.")
    data = recipe.load(str(runs[0].recipe)).data
    print(f"\ncheckpoint: {checkpoint}")
    print(f"next:       sentopt export --model {checkpoint} --data {data.train or data.dataset}")
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
        return _finish(_existing_pipeline(arguments), arguments, depth="quick")
    pipeline = _pipeline_of_tuned_model(arguments)
    with pipeline.run_dir.locked():
        pipeline.train()
    return _finish(pipeline, arguments, depth="quick")


def bench(arguments: argparse.Namespace) -> int:
    """The full benchmark of a run, then select and bundle again."""
    return _finish(_existing_pipeline(arguments), arguments, depth="full")


def run(arguments: argparse.Namespace) -> int:
    """Everything: train, export, verify, benchmark, select, bundle, report."""
    pipeline = _new_pipeline(arguments)
    if not distributed.is_first():
        pipeline.follow()
        return 0
    with pipeline.run_dir.locked():
        pipeline.train()
    return _finish(pipeline, arguments, depth="full")


def predict(arguments: argparse.Namespace) -> int:
    """Classify texts from the command line, from stdin, or from a table file."""
    from sentopt.runtime.classifier import Classifier

    if arguments.input and arguments.texts:
        return _fail("give texts or --input FILE, not both", EXIT_USAGE)
    if arguments.input and not arguments.output:
        return _fail("--input needs --output FILE (.csv, .jsonl or .parquet) for the scored rows", EXIT_USAGE)
    if arguments.output and not arguments.input:
        return _fail("--output goes with --input; for texts and stdin, redirect stdout", EXIT_USAGE)
    classifier = Classifier.load(_bundle(arguments), threads=arguments.threads, abstain_below=arguments.abstain_below)
    if arguments.input:
        return _predict_table(classifier, arguments)
    if not arguments.texts and sys.stdin.isatty():
        print("reading texts from the terminal, one a line; Ctrl-D ends", file=sys.stderr)
    texts = arguments.texts or (line.rstrip("\r\n") for line in sys.stdin)
    truncated = 0
    for text, answer in _answered(classifier, texts):
        truncated += answer.truncated
        if arguments.json:
            print(
                json.dumps(
                    {
                        "text": text,
                        "label": answer.label,
                        "score": answer.score,
                        "probabilities": answer.probabilities,
                        "truncated": answer.truncated,
                        "abstained": answer.abstained,
                    }
                )
            )
        else:
            print(f"{'?' if answer.abstained else answer.label}\t{answer.score:.4f}\t{text}")
    if truncated:
        print(
            f"note: {truncated} text(s) were longer than {classifier.encoder.max_length} tokens and were cut",
            file=sys.stderr,
        )
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Serve the selected bundle as a web page."""
    from sentopt._optional import require

    bundle = _bundle(arguments)
    server = require("sentopt.demo.server", extra="demo")
    server.serve(
        bundle,
        say=lambda line: print(line, file=sys.stderr),
        host=arguments.host,
        port=arguments.port,
        auth=arguments.auth,
        log_texts=arguments.log_texts,
    )
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Whether a bundle is what was verified, and answers here as it did there."""
    from sentopt import checking

    folder = _bundle(arguments)
    if arguments.cpu:
        return _check_elsewhere(folder, arguments.cpu, as_json=arguments.json)
    found = checking.check(folder)
    if arguments.json:
        return _print_json({"bundle": str(folder), **_as_json(found)})
    print(f"{folder}: {found.variant}, labels {', '.join(found.labels)}")
    print(f"files:   {found.files} intact (size and SHA-256)")
    print(
        f"golden:  {found.golden_texts} texts answered as verified, "
        f"largest probability difference {found.largest_difference:.4f} (allowed {found.tolerance:.4f})"
    )
    print(f"machine: {checking.machine_in_words(found)}")
    print(f"runtime: {checking.runtime_in_words(found)}")
    return 0


def _check_elsewhere(folder: Path, cpu: str, *, as_json: bool) -> int:
    from sentopt.backends import emulation

    arguments = ["-m", "sentopt", "check", str(folder), *(["--json"] if as_json else [])]
    print(f"on an emulated {cpu}; this takes a fraction of a second per golden text", file=sys.stderr)
    said = emulation.python(cpu, *arguments)
    if as_json:
        found = {**json.loads(said), "emulated_cpu": cpu}
        for of_host in ("here", "same_instruction_set"):  # the emulated process reads the host's description
            found.pop(of_host)
        return _print_json(found)
    print("".join(line for line in said.splitlines(keepends=True) if not line.startswith("machine:")), end="")
    print(f"machine: an emulated {cpu}")
    return 0


def pack(arguments: argparse.Namespace) -> int:
    """Write a bundle as one file: a .tar.gz archive, or with --wheel a Python package."""
    from sentopt import packing
    from sentopt.runtime.bundle import read_description, sha256_file

    bundle = _bundle(arguments)
    name = arguments.name or packing.plain_name(read_description(bundle))
    if arguments.wheel:
        written = packing.wheel(bundle, Path(arguments.output or "."), name=name, version=arguments.version)
    else:
        written = packing.archive(bundle, Path(arguments.output or f"{name}.tar.gz"))
    if arguments.json:
        return _print_json({"file": str(written), "bytes": written.stat().st_size, "sha256": sha256_file(written)})
    print(f"{written}: {written.stat().st_size / 1e6:.1f} MB, SHA-256 {sha256_file(written)}")
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Upload a bundle with a model card to a repository of the Hugging Face Hub."""
    from sentopt import model_card
    from sentopt._optional import require
    from sentopt.runtime.bundle import read_description

    bundle = _bundle(arguments)
    if arguments.card_only:
        print(model_card.write(read_description(bundle), license_id=arguments.license), end="")
        return 0
    address = require("sentopt.publishing", extra="hub").push(
        bundle,
        arguments.repository,
        private=arguments.private,
        revision=arguments.revision,
        license_id=arguments.license,
        message=arguments.message,
    )
    if arguments.json:
        return _print_json({"commit": address})
    print(address)
    return 0


def tune(arguments: argparse.Namespace) -> int:
    """Measure which threads, workers and micro-batches run a bundle fastest here, and keep that for this machine."""
    from dataclasses import asdict

    from sentopt.runtime.tune import tune as measure

    folder = _bundle(arguments)
    print("trying threads, workers and micro-batches; leave the machine alone meanwhile", file=sys.stderr)
    tuned = measure(folder)
    if arguments.json:
        return _print_json({"tuning": asdict(tuned.tuning), "trials": [asdict(t) for t in tuned.trials]})
    for trial in tuned.trials:
        way = trial.tuning
        if trial.milliseconds is not None:
            print(f"  one text, {way.threads} thread{'s' if way.threads > 1 else ''}: {trial.milliseconds:.2f} ms")
        else:
            print(
                f"  many, {way.workers} worker{'s' if way.workers > 1 else ''}, "
                f"{_micro_batch(way)}: {trial.texts_per_second:.0f} texts/s"
            )
    chosen = tuned.tuning
    print(
        f"kept for this machine: {chosen.threads} thread{'s' if chosen.threads > 1 else ''} for one text; "
        f"{chosen.workers} worker{'s' if chosen.workers > 1 else ''}, {_micro_batch(chosen)}, for many "
        f"({tuned.kept_in})"
    )
    return 0


def _micro_batch(way: Any) -> str:
    return "one text at a time" if way.max_batch == 1 else f"up to {way.max_batch} texts of {way.max_tokens} tokens"


def recipes(arguments: argparse.Namespace) -> int:
    """List the shipped recipes, or print one with every value."""
    from sentopt import recipe

    if arguments.name:
        print(recipe.to_toml(recipe.load(arguments.name)), end="")
        return 0
    loaded = [recipe.load(name) for name in recipe.builtin_names()]
    if arguments.json:
        return _print_json([{"name": r.run.name, "description": r.run.description} for r in loaded])
    width = max(len(r.run.name) for r in loaded)
    for r in loaded:
        print(f"{r.run.name.ljust(width)}  {r.run.description}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write the reports of a run again and print its table."""
    pipeline = _existing_pipeline(arguments)
    with pipeline.run_dir.locked():
        pipeline.report()
    if "select" in pipeline.manifest.stages:
        _print_table(pipeline)
    print(f"report: {pipeline.run_dir.report}\n        {pipeline.run_dir.html_report}")
    return 0


def env(arguments: argparse.Namespace) -> int:
    """What sentopt sees of this machine; paste it into a bug report."""
    from sentopt import hardware
    from sentopt.runtime.tuning import cache_folder

    here = hardware.describe()
    variables = {
        name: os.environ.get(name, "") for name in ("SENTOPT_MODEL_DIR", "SENTOPT_DATA_DIR", "SENTOPT_CACHE_DIR")
    }
    cache = cache_folder()
    if arguments.json:
        return _print_json(
            {"hardware": _as_json(here), "versions": hardware.versions(), "environment": variables, "cache": str(cache)}
        )
    print(f"cpu      {here.cpu} ({', '.join(here.isa) or 'no known extensions'})")
    print(f"cores    {here.cores}" + (f" (cgroup quota {here.cpu_quota:g})" if here.cpu_quota else ""))
    print(f"memory   {here.memory_bytes / 2**30:.1f} GiB\nsystem   {here.system}\ncache    {cache}")
    for name, value in variables.items():
        print(f"{name}={value}")
    for package, version in hardware.versions().items():
        print(f"{package}=={version}")
    return 0


def _new_pipeline(arguments: argparse.Namespace) -> Pipeline:
    """The run of a recipe, with the verb's options laid over it."""
    from sentopt import recipe as recipes_module
    from sentopt.run_dir import EXPORTS, RunDir

    if arguments.recipe and arguments.recipe_option and arguments.recipe != arguments.recipe_option:
        raise RecipeError("command line", [f"two recipes are named: {arguments.recipe} and {arguments.recipe_option}"])
    name = arguments.recipe or arguments.recipe_option or recipes_module.DEFAULT_RECIPE
    recipe = recipes_module.load(
        name, [*_data_overrides(arguments.data), *_model_overrides(arguments.model), *arguments.set]
    )
    root = Path(arguments.run_dir) if arguments.run_dir else EXPORTS / recipe.run.name
    return _pipeline(recipe, RunDir(root), arguments)


def _pipeline_of_tuned_model(arguments: argparse.Namespace) -> Pipeline:
    """The run of a classifier that was tuned elsewhere, cut at as many tokens as it was made for."""
    from sentopt import backbones
    from sentopt import recipe as recipes_module
    from sentopt.run_dir import EXPORTS, RunDir

    if not arguments.data:
        raise RecipeError("--model", ["a tuned model is verified on data: name labelled texts with --data"])
    if arguments.recipe_option:
        raise RecipeError("--recipe", ["a recipe says how to train; --model names a model that is tuned already"])
    options = [
        *_data_overrides(arguments.data),
        *_model_overrides(arguments.model),
        f"run.name={_run_name(Path(arguments.model).name)}",
        "model.tuned=true",
        "train.calibrate=false",
        *arguments.set,
    ]
    recipe = recipes_module.resolve({}, options, source="command line")
    if not any(setting.replace(" ", "").startswith("model.max_length=") for setting in arguments.set):
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
        longest = [f"model.max_length={backbones.longest_input(folder)}"]
        recipe = recipes_module.with_overrides(recipe, longest, source="command line")
    root = Path(arguments.run_dir) if arguments.run_dir else EXPORTS / recipe.run.name
    return _pipeline(recipe, RunDir(root), arguments)


def _existing_pipeline(arguments: argparse.Namespace) -> Pipeline:
    """The run that `train` left: --run-dir, else the recipe's, else the newest below exports/."""
    from sentopt import recipe as recipes_module
    from sentopt.run_dir import EXPORTS, RunDir, latest

    if arguments.run_dir:
        run_dir = RunDir(Path(arguments.run_dir))
    elif arguments.recipe_option:
        run_dir = RunDir(EXPORTS / recipes_module.load(arguments.recipe_option).run.name)
    else:
        run_dir = latest()
        print(f"run: {run_dir.root}", file=sys.stderr)
    if not run_dir.recipe.is_file() or not run_dir.manifest.is_file():
        raise RunDirError(f"{run_dir.root} holds no run: start one with `sentopt train --run-dir {run_dir.root}`")
    saved = recipes_module.load(str(run_dir.recipe))
    recipe = recipes_module.with_overrides(saved, getattr(arguments, "set", []), source="--set")
    if (recipe.run.seed, recipe.data, recipe.model, recipe.train) != (
        saved.run.seed,
        saved.data,
        saved.model,
        saved.train,
    ):
        raise RecipeError(
            "--set",
            [
                "run.seed, data, model and train keys decide the checkpoint: "
                "give them to `sentopt train` or `sentopt run`"
            ],
        )
    return _pipeline(recipe, run_dir, arguments)


def _pipeline(recipe: Recipe, run_dir: Any, arguments: argparse.Namespace) -> Pipeline:
    from sentopt.pipeline import Pipeline

    return Pipeline(
        recipe, run_dir, say=lambda line: print(line, file=sys.stderr), force=getattr(arguments, "force", False)
    )


def _finish(pipeline: Pipeline, arguments: argparse.Namespace, *, depth: Any) -> int:
    """Export to report, then the table and what to type next."""
    with pipeline.run_dir.locked():
        pipeline.bench(depth)
        bundle = pipeline.bundle()
        pipeline.report()
    selection = _selection(pipeline)
    if arguments.json:
        _print_json(_run_as_json(pipeline))
    else:
        _print_table(pipeline)
        if bundle:
            print(_next_steps(pipeline, arguments))
    if selection.variant is None:
        return _fail(
            "no variant passed verification; nothing was bundled. "
            "See the report, or allow more with --set verify.margin=POINTS",
            EXIT_NONE_PASSED,
        )
    return 0


def _selection(pipeline: Pipeline) -> Selection:
    from sentopt.results import Selection

    return pipeline.manifest.result("select", Selection)


def _print_table(pipeline: Pipeline) -> None:
    from sentopt.report import comparison
    from sentopt.results import BenchResult, VerifyResult
    from sentopt.text_tables import as_text

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
    from sentopt import report, text_tables

    tables = report.per_class(result.test), report.confusion(result.test), report.samples(result)
    print(report.training(result), report.against_majority(result), *map(text_tables.as_text, tables), sep="\n\n")


def _data_overrides(data: str | None) -> list[str]:
    """`--data` as recipe keys: a file, a folder with train.* (validation.*, test.*), or a name of the dataset table."""
    if not data:
        return []
    path = Path(data).expanduser()
    if path.is_dir():
        files = {
            split: next((f for s in _DATA_SUFFIXES if (f := path / f"{split}{s}").is_file()), None)
            for split in ("train", "validation", "test")
        }
        if files["train"] is None:
            raise DataError(f"{path} holds no train file; expected train with one of {', '.join(_DATA_SUFFIXES)}")
        chosen = {split: file for split, file in files.items() if file}
    elif path.name.lower().endswith(_DATA_SUFFIXES):
        if not path.is_file():
            raise DataError(f"no such file: {path}")
        chosen = {"train": path}
    else:
        return [f"data.dataset={data}", f"run.name={data}"]
    paths = [f"data.{split}={chosen.get(split, '')}" for split in ("train", "validation", "test")]
    return ["data.dataset=files", f"run.name={_run_name(path.name.split('.')[0])}", "data.labels=[]", *paths]


def _run_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text).strip("-_") or "run"


def _model_overrides(model: str | None) -> list[str]:
    return [f"model.backbone={model}"] if model else []


def _bundle(arguments: argparse.Namespace) -> Path:
    from sentopt.run_dir import RunDir, latest

    if arguments.bundle:
        return Path(arguments.bundle)
    run_dir = RunDir(Path(arguments.run_dir)) if arguments.run_dir else latest()
    if not run_dir.bundle.is_dir():
        raise BundleError(f"{run_dir.root} has no bundle yet: run `sentopt export`")
    return run_dir.bundle


def _answered(classifier: Any, texts: Any) -> Iterator[tuple[str, Any]]:
    """Texts with their answers. A person at a terminal is answered line by line, a pipe in windows."""
    seen: list[str] = []

    def remembered() -> Iterator[str]:
        for text in texts:
            seen.append(text)
            yield text

    window = 1 if sys.stdin.isatty() else 256
    for position, answer in enumerate(classifier.stream(remembered(), window=window)):
        yield seen[position % window], answer
        if (position + 1) % window == 0:
            seen.clear()


def _predict_table(classifier: Any, arguments: argparse.Namespace) -> int:
    from sentopt.table_scoring import score_table

    summary = score_table(
        classifier,
        Path(arguments.input),
        Path(arguments.output),
        text_column=arguments.text_column,
        progress=not arguments.no_progress,
    )
    if arguments.json:
        return _print_json(_as_json(summary))
    print(f"{summary.rows} rows scored in {summary.seconds:.1f} s: {arguments.output}")
    for label, count in summary.labels.items():
        print(f"  {label}: {count}")
    for count, what in (
        (summary.empty, "had no text (answered as the empty text)"),
        (summary.truncated, f"were cut at {classifier.encoder.max_length} tokens"),
        (summary.abstained, f"scored below {classifier.abstain_below:g} and got no label"),
    ):
        if count:
            print(f"note: {count} row(s) {what}", file=sys.stderr)
    return 0


def _as_json(record: object) -> Any:
    from sentopt.records import to_json

    return to_json(record)


def _print_json(document: object) -> int:
    print(json.dumps(document, indent=1, ensure_ascii=False))
    return 0


def _fail(message: str, code: int) -> int:
    print(f"sentopt: {message}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """argparse with this project's error format; sub-parsers inherit it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"sentopt: {message}\nTry: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sentopt",
        description="From a labelled text dataset to the fastest classifier that is provably still as accurate.",
        epilog="start with:\n"
        "  sentopt train && sentopt export\n"
        "  sentopt run quickstart\n"
        "  sentopt train --data reviews.csv --set data.label_column=stars",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sentopt {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_run_verbs(verbs)
    _add_bundle_verbs(verbs)
    _add_information_verbs(verbs)
    return parser


def _add_run_verbs(verbs: Any) -> None:
    p = _verb(
        verbs,
        "train",
        train,
        "tune a backbone on a dataset",
        (
            "sentopt train\n"
            "  sentopt train --data reviews.csv --set data.text_column=review\n"
            "  sentopt train quickstart --set train.epochs=2 --run-dir exports/short"
        ),
    )
    _recipe_options(p)
    p = _verb(
        verbs,
        "average",
        average,
        "one model from several trainings with one start: the mean of their weights",
        (
            "sentopt train --run-dir exports/a --model exports/quickstart/checkpoint\n"
            "  sentopt train --run-dir exports/b --model exports/quickstart/checkpoint --set run.seed=7\n"
            "  sentopt average exports/a exports/b --output exports/averaged"
        ),
    )
    p.add_argument("runs", nargs="+", metavar="RUN_DIR", help="run directories of `sentopt train`, two or more")
    p.add_argument("--output", metavar="DIR", required=True, help="folder of the averaged model")
    p.add_argument("--json", action="store_true", help="print a JSON object")
    p = _verb(
        verbs,
        "export",
        export,
        "ONNX, INT8, verify, quick benchmark, select, bundle",
        (
            "sentopt export\n"
            "  sentopt export --run-dir exports/short --set verify.margin=0.5\n"
            "  sentopt export --model my-tuned-model/ --data reviews.csv\n"
            "  sentopt export --string-input\n"
            "  sentopt export --json | jq .select"
        ),
    )
    p.add_argument(
        "--model",
        metavar="FOLDER_OR_ID",
        help="a classifier that was tuned elsewhere: a local folder, or a hub id with --set model.revision=HASH",
    )
    p.add_argument(
        "--data",
        metavar="PATH_OR_NAME",
        help="with --model: the labelled texts to verify it on, as `sentopt train` takes",
    )
    p.add_argument(
        "--string-input",
        action="store_true",
        help="add onnx/model_string.onnx to the bundle: texts in, tokenizer inside (needs onnxruntime-extensions)",
    )
    _existing_run_options(p)
    p = _verb(
        verbs,
        "bench",
        bench,
        "full benchmark of a run, then select and bundle again",
        "sentopt bench\n  sentopt bench --set select.objective=throughput",
    )
    _existing_run_options(p)
    p = _verb(
        verbs,
        "run",
        run,
        "all of it: train, export, verify, benchmark, select, bundle, report",
        "sentopt run quickstart\n  sentopt run my-recipe.toml --set train.epochs=1",
    )
    _recipe_options(p)
    p = _verb(
        verbs,
        "report",
        report,
        "write report.md and report.html of a run again",
        "sentopt report\n  sentopt report --run-dir exports/quickstart",
    )
    p.add_argument("--run-dir", metavar="DIR", help="run directory (default: the newest below exports/)")
    p.add_argument("--recipe", dest="recipe_option", metavar="RECIPE", help="the run of this recipe")


def _add_bundle_verbs(verbs: Any) -> None:
    p = _verb(
        verbs,
        "predict",
        predict,
        "classify texts, lines of stdin, or the rows of a file",
        (
            "sentopt predict 'The soup was cold.' 'Lovely people!'\n"
            "  sentopt predict --json < comments.txt\n"
            "  sentopt predict --input reviews.csv --text-column review --output scored.csv"
        ),
    )
    p.add_argument("texts", nargs="*", metavar="TEXT", help="texts to classify (default: lines of stdin)")
    p.add_argument("--input", metavar="FILE", help="a .csv, .tsv, .jsonl or .parquet file whose rows to score")
    p.add_argument(
        "--text-column", default="text", metavar="NAME", help="column of --input that holds the text (default: text)"
    )
    p.add_argument(
        "--output",
        metavar="FILE",
        help="where the rows of --input go, with columns label, score and one per label added",
    )
    p.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        help="threads of one prediction (default: every core granted to this process)",
    )
    p.add_argument(
        "--abstain-below",
        type=_probability,
        default=0.0,
        metavar="SCORE",
        help="give no label (shown as ?) to texts whose best label scores less, from 0 to 1",
    )
    p.add_argument("--no-progress", action="store_true", help="no progress bar")
    _bundle_options(p)
    p.add_argument("--json", action="store_true", help="one JSON object a line (with --input: one summary)")
    p = _verb(
        verbs,
        "demo",
        demo,
        "serve the bundle as a web page",
        "sentopt demo\n  sentopt demo --bundle exports/quickstart/bundle --port 8000\n"
        "  sentopt demo --host 0.0.0.0 --auth people.txt",
    )
    _bundle_options(p)
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    p.add_argument("--port", type=_port, default=7860, help="port (default: 7860)")
    p.add_argument(
        "--auth",
        metavar="FILE",
        nargs="?",
        const="",
        help="ask for a name and a password: a file of name:password lines; without one, SENTOPT_DEMO_AUTH",
    )
    p.add_argument(
        "--log-texts", metavar="FILE", type=Path, help="keep every text and its answer, a JSON object a line"
    )
    p = _verb(
        verbs,
        "check",
        check,
        "whether a bundle is intact and answers here as where it was verified",
        "sentopt check\n  sentopt check exports/quickstart/bundle --json\n  sentopt check --cpu EPYC-Milan",
    )
    _bundle_argument(p)
    p.add_argument(
        "--cpu", metavar="MODEL", help="answer on this CPU model, emulated by qemu-user (see qemu-x86_64 -cpu help)"
    )
    p = _verb(
        verbs,
        "tune",
        tune,
        "measure how a bundle runs fastest on this machine, and remember it",
        "sentopt tune\n  sentopt tune exports/quickstart/bundle",
    )
    _bundle_argument(p)
    p = _verb(
        verbs,
        "pack",
        pack,
        "write a bundle as one file: an archive or an installable wheel",
        "sentopt pack\n  sentopt pack exports/quickstart/bundle --wheel --name my-sentiment --version 1.0",
    )
    _bundle_argument(p)
    p.add_argument("--wheel", action="store_true", help="a wheel: pip install it, then `from NAME import classifier`")
    p.add_argument("--name", metavar="NAME", help="name of the package or archive (default: that of the run)")
    p.add_argument("--version", default="1.0", metavar="VERSION", help="version of the package (default: 1.0)")
    p.add_argument("--output", metavar="PATH", help="the .tar.gz file, or the folder of the wheel (default: here)")
    p = _verb(
        verbs,
        "push",
        push,
        "upload a bundle with a model card to the Hugging Face Hub",
        "sentopt push me/my-sentiment --private --license apache-2.0\n  sentopt push me/my-sentiment --card-only",
    )
    p.add_argument("repository", metavar="OWNER/NAME", help="the repository; it is made if there is none")
    _bundle_argument(p)
    p.add_argument("--private", action="store_true", help="a repository that is made is private")
    p.add_argument("--revision", default="main", metavar="BRANCH", help="branch to commit to (default: main)")
    p.add_argument("--license", default="", metavar="ID", help="licence of the model, as the hub calls it")
    p.add_argument("--message", default="", metavar="TEXT", help="commit message (default: run and variant)")
    p.add_argument("--card-only", action="store_true", help="print the model card and upload nothing")


def _add_information_verbs(verbs: Any) -> None:
    p = _verb(
        verbs,
        "recipes",
        recipes,
        "list the shipped recipes, or print one",
        "sentopt recipes\n  sentopt recipes quickstart > my-recipe.toml",
    )
    p.add_argument("name", nargs="?", metavar="RECIPE", help="print this recipe with every value explicit")
    p.add_argument("--json", action="store_true", help="print a JSON list")
    p = _verb(verbs, "env", env, "what sentopt sees of this machine", "sentopt env\n  sentopt env --json")
    p.add_argument("--json", action="store_true", help="print a JSON object")


def _verb(
    verbs: Any, name: str, function: Callable[[argparse.Namespace], int], summary: str, examples: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=(function.__doc__ or "").strip(),
        epilog=f"examples:\n  {examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=function)
    return parser


def _recipe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe",
        nargs="?",
        metavar="RECIPE",
        help="name of a shipped recipe or path of a TOML file (default: quickstart)",
    )
    parser.add_argument("--recipe", dest="recipe_option", metavar="RECIPE", help="the same as an option")
    parser.add_argument(
        "--data",
        metavar="PATH_OR_NAME",
        help="a CSV, JSONL or Parquet file, a folder with train.* (and test.*), or sst2, tweets, imdb",
    )
    parser.add_argument(
        "--model",
        metavar="FOLDER_OR_NAME",
        help="the backbone: a local folder, minilm, or a hub id with --set model.revision=HASH",
    )
    _common_run_options(parser)


def _existing_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        dest="recipe_option",
        metavar="RECIPE",
        help="the run of this recipe (default: the newest below exports/)",
    )
    _common_run_options(parser)


def _common_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run-dir", metavar="DIR", help="run directory (default: exports/<name of the recipe>)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one recipe key, e.g. train.epochs=2; repeatable",
    )
    parser.add_argument("--force", action="store_true", help="redo stages that are unchanged")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _bundle_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="DIR", help="bundle folder (default: that of the newest run)")
    parser.add_argument("--run-dir", metavar="DIR", help="the bundle of this run")


def _bundle_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="bundle folder (default: that of the newest run)")
    parser.add_argument("--run-dir", metavar="DIR", help="the bundle of this run")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {value}")
    return value


def _probability(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, found {text}")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, found {value}")
    return value
