"""The grammar of the command line: every verb with its options and examples, as tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sentopt import __version__
from sentopt.cli import bundle_verbs, information_verbs, run_verbs
from sentopt.cli.printing import EXIT_USAGE

Option = tuple[str, dict[str, Any]]
"""A name, and the settings of `argparse.ArgumentParser.add_argument`."""


@dataclass(frozen=True)
class Verb:
    """A verb has the name of its function and the description of its docstring."""

    function: Callable[[argparse.Namespace], int]
    summary: str
    examples: str
    options: tuple[Option, ...]


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
    for verb in VERBS:
        of_verb = verbs.add_parser(
            verb.function.__name__,
            help=verb.summary,
            description=(verb.function.__doc__ or "").strip(),
            epilog=f"examples:\n  {verb.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        of_verb.set_defaults(verb=verb.function)
        for name, settings in verb.options:
            of_verb.add_argument(name, **settings)
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse with this project's error format; sub-parsers inherit it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"sentopt: {message}\nTry: {self.prog} --help\n")


def _value(name: str, metavar: str, help: str, **settings: Any) -> Option:
    return name, {"metavar": metavar, "help": help, **settings}


def _flag(name: str, help: str) -> Option:
    return name, {"action": "store_true", "help": help}


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


_JSON = _flag("--json", "print the result as JSON")
_OVERWRITE = _flag("--overwrite", "replace a file that is there already")
_NEWEST_RUN = _value("--run-dir", "DIR", "run directory (default: the newest below exports/)")
_NEWEST_BUNDLE = "(default: that of the newest run that has one)"
_COMMON = (
    _value("--run-dir", "DIR", "run directory (default: exports/<name of the recipe or the data>)"),
    _value(
        "--set",
        "KEY=VALUE",
        "override one recipe key, e.g. train.epochs=2; repeatable (all keys: sentopt recipes --keys)",
        action="append",
        default=[],
    ),
    _flag("--force", "redo unchanged stages, and replace a checkpoint that was trained on other data or otherwise"),
    _JSON,
)
_OF_RECIPE = (
    _value("recipe", "RECIPE", "name of a shipped recipe or path of a TOML file (default: quickstart)", nargs="?"),
    _value("--recipe", "RECIPE", "the same as an option", dest="recipe_option"),
    _value(
        "--data",
        "PATH_OR_NAME",
        "a table (.csv, .jsonl, .parquet, .xlsx ...), a folder with train.* (and test.*), or sst2, tweets, imdb",
    ),
    _value(
        "--model", "FOLDER_OR_NAME", "the backbone: a local folder, minilm, or a hub id with --set model.revision=HASH"
    ),
    _flag("--dry-run", "stop when the data is prepared: what it can decide, and a forecast of time and memory"),
    *_COMMON,
)
_OF_RUN = (
    _value("--recipe", "RECIPE", "the run of this recipe (default: the newest below exports/)", dest="recipe_option"),
    *_COMMON,
)
_OF_BUNDLE = (
    _value("bundle", "BUNDLE", f"bundle folder {_NEWEST_BUNDLE}", nargs="?"),
    _value("--run-dir", "DIR", "the bundle of this run"),
    _JSON,
)
_WITH_BUNDLE = (
    _value("--bundle", "DIR", f"bundle folder {_NEWEST_BUNDLE}"),
    _value("--run-dir", "DIR", "the bundle of this run"),
)

VERBS = (
    Verb(
        run_verbs.train,
        "tune a backbone on a dataset",
        "sentopt train\n  "
        "sentopt train --data reviews.csv --set data.text_column=review\n  "
        "sentopt train --data reviews.csv --dry-run\n  "
        "sentopt train quickstart --set train.epochs=2 --run-dir exports/short",
        _OF_RECIPE,
    ),
    Verb(
        run_verbs.average,
        "one model from several trainings with one start: the mean of their weights",
        "sentopt train --run-dir exports/a\n  "
        "sentopt train --run-dir exports/b --set train.seed=7\n  "
        "sentopt average exports/a exports/b && sentopt export",
        (
            _value("runs", "RUN_DIR", "run directories of `sentopt train`, two or more", nargs="+"),
            _value("--run-dir", "DIR", "run directory of the average (default: exports/average)"),
            _JSON,
        ),
    ),
    Verb(
        run_verbs.export,
        "ONNX, INT8, verify, quick benchmark, select, bundle",
        "sentopt export\n  "
        "sentopt export --run-dir exports/short --set verify.margin=0.5\n  "
        "sentopt export --model my-tuned-model/ --data reviews.csv\n  "
        "sentopt export --string-input\n  "
        "sentopt export --json | jq .select",
        (
            _value(
                "--model",
                "FOLDER_OR_ID",
                "a classifier that was tuned elsewhere: a local folder, or a hub id with --set model.revision=HASH",
            ),
            _value(
                "--data", "PATH_OR_NAME", "with --model: the labelled texts to verify it on, as `sentopt train` takes"
            ),
            _flag(
                "--string-input",
                "add onnx/model_string.onnx to the bundle: texts in, tokenizer inside (needs onnxruntime-extensions)",
            ),
            *_OF_RUN,
        ),
    ),
    Verb(
        run_verbs.bench,
        "full benchmark of a run, then select and bundle again",
        "sentopt bench\n  sentopt bench --set select.objective=throughput",
        _OF_RUN,
    ),
    Verb(
        run_verbs.run,
        "all of it: train, export, verify, benchmark, select, bundle, report",
        "sentopt run quickstart\n  sentopt run my-recipe.toml --set train.epochs=1",
        _OF_RECIPE,
    ),
    Verb(
        run_verbs.report,
        "write report.md and report.html of a run again",
        "sentopt report\n  sentopt report --run-dir exports/quickstart",
        (_NEWEST_RUN, _value("--recipe", "RECIPE", "the run of this recipe", dest="recipe_option")),
    ),
    Verb(
        bundle_verbs.predict,
        "classify texts, lines of stdin, or the rows of a file",
        "sentopt predict 'The soup was cold.' 'Lovely people!'\n  "
        "sentopt predict --json < comments.txt\n  "
        "sentopt predict --input reviews.csv --text-column review --output scored.csv",
        (
            _value("texts", "TEXT", "texts to classify (default: lines of stdin)", nargs="*"),
            _value("--input", "FILE", "a table file whose rows to score: .csv, .jsonl, .parquet, .xlsx, ..."),
            _value("--encoding", "NAME", "encoding of --input (default: detected)", default=""),
            _value("--delimiter", "CHARACTER", "between fields of --input (default: detected)", default=""),
            _value("--quote", "CHARACTER", "around fields of --input; '' for none", default="auto"),
            _value("--text-column", "NAME", "column of --input that holds the text (default: text)", default="text"),
            _value(
                "--output", "FILE", "where the rows of --input go, with columns label, score and one per label added"
            ),
            _OVERWRITE,
            _value(
                "--threads",
                "N",
                "threads of one prediction (default: every core granted to this process)",
                type=_positive,
            ),
            _value(
                "--abstain-below",
                "SCORE",
                "give no label (shown as ?) to texts whose best label scores less, from 0 to 1",
                type=_probability,
                default=0.0,
            ),
            _flag("--no-progress", "no progress bar"),
            *_WITH_BUNDLE,
            _flag("--json", "one JSON object a line (with --input: one summary)"),
        ),
    ),
    Verb(
        bundle_verbs.demo,
        "serve the bundle as a web page",
        "sentopt demo\n  "
        "sentopt demo --bundle exports/quickstart/bundle --port 8000\n  "
        "sentopt demo --host 0.0.0.0 --auth people.txt",
        (
            *_WITH_BUNDLE,
            _value(
                "--host", "ADDRESS", "address to listen on (default: 127.0.0.1, this machine only)", default="127.0.0.1"
            ),
            _value("--port", "PORT", "port (default: 7860)", type=_port, default=7860),
            _value(
                "--auth",
                "FILE",
                "ask for a name and a password: a file of name:password lines; without one, SENTOPT_DEMO_AUTH",
                nargs="?",
                const="",
            ),
            _value(
                "--log-texts", "FILE", "add every text and its answer to this file, a JSON object a line", type=Path
            ),
        ),
    ),
    Verb(
        bundle_verbs.check,
        "whether a bundle is intact and answers here as where it was verified",
        "sentopt check\n  sentopt check exports/quickstart/bundle --json\n  sentopt check --cpu EPYC-Milan",
        (
            *_OF_BUNDLE,
            _value("--cpu", "MODEL", "answer on this CPU model, emulated by qemu-user (qemu-x86_64 -cpu help)"),
        ),
    ),
    Verb(
        bundle_verbs.tune,
        "measure how a bundle runs fastest on this machine, and remember it",
        "sentopt tune\n  sentopt tune exports/quickstart/bundle",
        _OF_BUNDLE,
    ),
    Verb(
        bundle_verbs.pack,
        "write a bundle as one file: an archive or an installable wheel",
        "sentopt pack\n  sentopt pack exports/quickstart/bundle --wheel --name my-sentiment --version 1.0",
        (
            *_OF_BUNDLE,
            _flag("--wheel", "a wheel: pip install it, then `from NAME import classifier`"),
            _value("--name", "NAME", "name of the package or archive (default: that of the run)", default=""),
            _value("--version", "VERSION", "version of the package (default: 1.0)", default="1.0"),
            _value("--output", "PATH", "the .tar.gz file, or the folder of the wheel (default: here)"),
            _OVERWRITE,
        ),
    ),
    Verb(
        bundle_verbs.push,
        "upload a bundle with a model card to the Hugging Face Hub",
        "sentopt push me/my-sentiment --private --license apache-2.0\n  sentopt push me/my-sentiment --card-only",
        (
            _value("repository", "OWNER/NAME", "the repository; it is made if there is none"),
            *_OF_BUNDLE,
            _flag("--private", "a repository that is made is private"),
            _value("--revision", "BRANCH", "branch to commit to (default: main)", default="main"),
            _value("--license", "ID", "licence of the model, as the hub calls it", default=""),
            _value("--message", "TEXT", "commit message (default: run and variant)", default=""),
            _flag("--card-only", "print the model card and upload nothing"),
        ),
    ),
    Verb(
        information_verbs.recipes,
        "list the shipped recipes, or print one",
        "sentopt recipes\n  sentopt recipes quickstart --output my-recipe.toml",
        (
            _value("name", "RECIPE", "print this recipe with every value explicit", nargs="?"),
            _value("--output", "FILE", "write it there instead of printing it"),
            _OVERWRITE,
            _JSON,
        ),
    ),
    Verb(information_verbs.env, "what sentopt sees of this machine", ("sentopt env", "sentopt env --json"), (_JSON,)),
)
