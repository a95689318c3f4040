"""The grammar of the command line: every verb's options and examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sentopt import __version__
from sentopt.cli import bundle_verbs, information_verbs, run_verbs
from sentopt.cli.printing import EXIT_USAGE


class _Parser(argparse.ArgumentParser):
    """argparse with this project's error format; sub-parsers inherit it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"sentopt: {message}\nTry: {self.prog} --help\n")


def build() -> argparse.ArgumentParser:
    """The parser of the whole command; the function of the verb that was given is the attribute `verb`."""
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
    for add in (
        _add_train,
        _add_average,
        _add_export,
        _add_bench,
        _add_run,
        _add_report,
        _add_predict,
        _add_demo,
        _add_check,
        _add_tune,
        _add_pack,
        _add_push,
        _add_recipes,
        _add_env,
    ):
        add(verbs)
    return parser


def _add_train(verbs: Any) -> None:
    p = _verb(
        verbs,
        run_verbs.train,
        "tune a backbone on a dataset",
        "sentopt train\n"
        "  sentopt train --data reviews.csv --set data.text_column=review\n"
        "  sentopt train quickstart --set train.epochs=2 --run-dir exports/short",
    )
    _recipe_options(p)


def _add_average(verbs: Any) -> None:
    p = _verb(
        verbs,
        run_verbs.average,
        "one model from several trainings with one start: the mean of their weights",
        "sentopt train --run-dir exports/a\n"
        "  sentopt train --run-dir exports/b --set train.seed=7\n"
        "  sentopt average exports/a exports/b && sentopt export",
    )
    p.add_argument("runs", nargs="+", metavar="RUN_DIR", help="run directories of `sentopt train`, two or more")
    p.add_argument("--run-dir", metavar="DIR", help="run directory of the average (default: exports/average)")
    p.add_argument("--json", action="store_true", help="print a JSON object")


def _add_export(verbs: Any) -> None:
    p = _verb(
        verbs,
        run_verbs.export,
        "ONNX, INT8, verify, quick benchmark, select, bundle",
        "sentopt export\n"
        "  sentopt export --run-dir exports/short --set verify.margin=0.5\n"
        "  sentopt export --model my-tuned-model/ --data reviews.csv\n"
        "  sentopt export --string-input\n"
        "  sentopt export --json | jq .select",
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


def _add_bench(verbs: Any) -> None:
    p = _verb(
        verbs,
        run_verbs.bench,
        "full benchmark of a run, then select and bundle again",
        "sentopt bench\n  sentopt bench --set select.objective=throughput",
    )
    _existing_run_options(p)


def _add_run(verbs: Any) -> None:
    p = _verb(
        verbs,
        run_verbs.run,
        "all of it: train, export, verify, benchmark, select, bundle, report",
        "sentopt run quickstart\n  sentopt run my-recipe.toml --set train.epochs=1",
    )
    _recipe_options(p)


def _add_report(verbs: Any) -> None:
    p = _verb(
        verbs,
        run_verbs.report,
        "write report.md and report.html of a run again",
        "sentopt report\n  sentopt report --run-dir exports/quickstart",
    )
    p.add_argument("--run-dir", metavar="DIR", help="run directory (default: the newest below exports/)")
    p.add_argument("--recipe", dest="recipe_option", metavar="RECIPE", help="the run of this recipe")


def _add_predict(verbs: Any) -> None:
    p = _verb(
        verbs,
        bundle_verbs.predict,
        "classify texts, lines of stdin, or the rows of a file",
        "sentopt predict 'The soup was cold.' 'Lovely people!'\n"
        "  sentopt predict --json < comments.txt\n"
        "  sentopt predict --input reviews.csv --text-column review --output scored.csv",
    )
    p.add_argument("texts", nargs="*", metavar="TEXT", help="texts to classify (default: lines of stdin)")
    p.add_argument(
        "--input", metavar="FILE", help="a table file whose rows to score: .csv, .jsonl, .parquet, .xlsx, ..."
    )
    p.add_argument("--encoding", default="", metavar="NAME", help="encoding of --input (default: detected)")
    p.add_argument("--delimiter", default="", metavar="CHARACTER", help="between fields of --input (default: detected)")
    p.add_argument("--quote", default="auto", metavar="CHARACTER", help="around fields of --input; '' for none")
    p.add_argument(
        "--text-column", default="text", metavar="NAME", help="column of --input that holds the text (default: text)"
    )
    p.add_argument(
        "--output",
        metavar="FILE",
        help="where the rows of --input go, with columns label, score and one per label added",
    )
    _overwrite_option(p)
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


def _add_demo(verbs: Any) -> None:
    p = _verb(
        verbs,
        bundle_verbs.demo,
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
        "--log-texts",
        metavar="FILE",
        type=Path,
        help="add every text and its answer to this file, a JSON object a line",
    )


def _add_check(verbs: Any) -> None:
    p = _verb(
        verbs,
        bundle_verbs.check,
        "whether a bundle is intact and answers here as where it was verified",
        "sentopt check\n  sentopt check exports/quickstart/bundle --json\n  sentopt check --cpu EPYC-Milan",
    )
    _bundle_argument(p)
    p.add_argument(
        "--cpu", metavar="MODEL", help="answer on this CPU model, emulated by qemu-user (see qemu-x86_64 -cpu help)"
    )


def _add_tune(verbs: Any) -> None:
    p = _verb(
        verbs,
        bundle_verbs.tune,
        "measure how a bundle runs fastest on this machine, and remember it",
        "sentopt tune\n  sentopt tune exports/quickstart/bundle",
    )
    _bundle_argument(p)


def _add_pack(verbs: Any) -> None:
    p = _verb(
        verbs,
        bundle_verbs.pack,
        "write a bundle as one file: an archive or an installable wheel",
        "sentopt pack\n  sentopt pack exports/quickstart/bundle --wheel --name my-sentiment --version 1.0",
    )
    _bundle_argument(p)
    p.add_argument("--wheel", action="store_true", help="a wheel: pip install it, then `from NAME import classifier`")
    p.add_argument("--name", metavar="NAME", help="name of the package or archive (default: that of the run)")
    p.add_argument("--version", default="1.0", metavar="VERSION", help="version of the package (default: 1.0)")
    p.add_argument("--output", metavar="PATH", help="the .tar.gz file, or the folder of the wheel (default: here)")
    _overwrite_option(p)


def _add_push(verbs: Any) -> None:
    p = _verb(
        verbs,
        bundle_verbs.push,
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


def _add_recipes(verbs: Any) -> None:
    p = _verb(
        verbs,
        information_verbs.recipes,
        "list the shipped recipes, or print one",
        "sentopt recipes\n  sentopt recipes quickstart --output my-recipe.toml",
    )
    p.add_argument("name", nargs="?", metavar="RECIPE", help="print this recipe with every value explicit")
    p.add_argument("--output", metavar="FILE", help="write it there instead of printing it")
    _overwrite_option(p)
    p.add_argument("--json", action="store_true", help="print a JSON list")


def _add_env(verbs: Any) -> None:
    p = _verb(
        verbs,
        information_verbs.env,
        "what sentopt sees of this machine",
        "sentopt env\n  sentopt env --json",
    )
    p.add_argument("--json", action="store_true", help="print a JSON object")


def _verb(
    verbs: Any, function: Callable[[argparse.Namespace], int], summary: str, examples: str
) -> argparse.ArgumentParser:
    """The parser of the verb that has the name of `function`, described by its docstring."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        function.__name__,
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
        help="a table (.csv, .jsonl, .parquet, .xlsx ...), a folder with train.* (and test.*), or sst2, tweets, imdb",
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
    parser.add_argument(
        "--force",
        action="store_true",
        help="redo stages that are unchanged, and replace a checkpoint that was trained on other data or otherwise",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _bundle_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="DIR", help="bundle folder (default: that of the newest run)")
    parser.add_argument("--run-dir", metavar="DIR", help="the bundle of this run")


def _bundle_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="bundle folder (default: that of the newest run)")
    parser.add_argument("--run-dir", metavar="DIR", help="the bundle of this run")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def _overwrite_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")


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
