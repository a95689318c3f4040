"""The grammar of the command line. A verb has the name of its function, and is described by the docstring of that."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sentopt._version import __version__
from sentopt.cli import bundle_verbs, information_verbs, run_verbs
from sentopt.cli.printing import EXIT_USAGE
from sentopt.errors import ServingError

Option = tuple[str, dict[str, Any]]


def build() -> argparse.ArgumentParser:
    """The parser of the whole command; the function of the verb that was given is the attribute `verb`."""
    parser = _Parser(
        prog="sentopt",
        description="From a labelled text dataset to the fastest classifier that is verified to be still as accurate.",
        epilog="start with:\n"
        "  sentopt train && sentopt export\n"
        "  sentopt run quickstart\n"
        "  sentopt train --data reviews.csv --set data.label_column=stars",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sentopt {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for function, options in VERBS.items():
        description = inspect.cleandoc(function.__doc__ or "")
        verb = verbs.add_parser(
            function.__name__,
            help=description.partition("\n")[0].rstrip("."),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.set_defaults(verb=function)
        for name, settings in options:
            verb.add_argument(name, **settings)
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse with this project's error format; sub-parsers inherit it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"sentopt: {message}\nTry: {self.prog} --help\n")


def _value(name: str, metavar: str, help: str, **settings: Any) -> Option:
    if metavar != "TEXT" and not settings.keys() & {"default", "type", "action"}:
        settings["type"] = _filled  # an unset variable of a shell must not mean the default
    return name, {"metavar": metavar, "help": help, **settings}


def _filled(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"expected a value, found {text!r}")
    return text


def _flag(name: str, help: str) -> Option:
    return name, {"action": "store_true", "help": help}


def _number(kind: type[int] | type[float], least: int, most: int) -> Callable[[str], float]:
    """What reads a number from `least` to `most`."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {least} to {most}, found {text}")
        return value

    read.__name__ = kind.__name__  # argparse names it where the text is no number
    return read


def _of_demo(option: str) -> Callable[[str], Any]:
    """What reads the value of one of the demo's options as the demo does."""

    def read(text: str) -> Any:
        from sentopt.demo import cors, hosts, limits, prefix, proxies, settings

        readers: dict[str, Callable[[str], Any]] = {
            "--trusted-proxy": proxies.read_network,
            "--allowed-host": hosts.read_name,
            "--root-path": prefix.read_prefix,
            "--cors-origin": cors.read_origin,
            "--rate": limits.read_rate,
            "--processes": settings.read_processes,
        }
        try:
            return readers[option](text)
        except ServingError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"{option} ")) from error

    return read


_JSON = _flag("--json", "print the result as JSON")
_OVERWRITE = _flag("--overwrite", "replace a file that is there already")
_NEWEST_BUNDLE = "(default: that of the newest run that has one)"
_SET = _value(
    "--set",
    "KEY=VALUE",
    "set a recipe key, e.g. train.epochs=2; repeatable (keys: sentopt recipes --keys)",
    action="append",
    default=[],
)
_COMMON = (
    _value("--run-dir", "DIR", "run directory (default: exports/<name of the recipe or the data>)"),
    _SET,
    _flag("--force", "redo unchanged stages, and replace a checkpoint of other data or other settings"),
    _JSON,
)
_RECIPE_AND_DATA = (
    _value("recipe", "RECIPE", "name of a shipped recipe or path of a TOML file (default: quickstart)", nargs="?"),
    _value("--recipe", "RECIPE", "the same as an option", dest="recipe_option"),
    _value(
        "--data",
        "PATH_OR_NAME",
        "a table (.csv, .parquet, .xlsx ...), a folder with train.* (and test.*), sst2, tweets, imdb",
    ),
    _value("--model", "FOLDER_OR_NAME", "backbone: folder, minilm, mpnet, or a hub id with --set model.revision=HASH"),
)
_OF_RECIPE = (
    *_RECIPE_AND_DATA,
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

_OF_TABLES = (
    _value("--text-column", "NAME", "column of a table with the texts, or a field in one: data.text", default=""),
    _value("--pair-column", "NAME", "column with the second texts of pairs (default: the bundle's name)", default=""),
    _value("--encoding", "NAME", "encoding of a table (default: detected) or of stdin (default: UTF-8)", default=""),
    _value("--delimiter", "CHARACTER", "between fields of a table (default: detected)", default=""),
    _value("--quote", "CHARACTER", "around fields of a table; '' for none", default="auto"),
    _value("--threads", "N", "threads of one prediction (default: all cores granted)", type=_number(int, 1, 1024)),
    _value(
        "--abstain-below",
        "SCORE",
        "no label (shown as ?) where the best scores less, from 0 to 1",
        type=_number(float, 0, 1),
        default=0.0,
    ),
    _flag("--no-progress", "no progress bar"),
)

_OF_SERVER = (
    _value(
        "--bundle",
        "[NAME=]DIR",
        f"bundle folder {_NEWEST_BUNDLE}; `serve` takes several with names",
        action="append",
        type=_filled,
        default=[],
    ),
    _WITH_BUNDLE[1],
    _value("--host", "ADDRESS", "address (default: 127.0.0.1, this machine only)", default="127.0.0.1"),
    _value("--port", "PORT", "port (default: 7860)", type=_number(int, 0, 65535), default=7860),
    _value(
        "--auth",
        "FILE",
        "ask for a password: a file of name:password lines, else SENTOPT_DEMO_AUTH",
        nargs="?",
        const="",
    ),
    _value(
        "--trusted-proxy",
        "CIDR",
        "believe this proxy or network about the addresses of clients (X-Forwarded-For, Forwarded); repeatable",
        action="append",
        type=_of_demo("--trusted-proxy"),
        default=[],
    ),
    _value(
        "--allowed-host",
        "NAME",
        "answer to this name, too, or to all below *.NAME; repeatable (default on loopback: localhost alone)",
        action="append",
        type=_of_demo("--allowed-host"),
        default=[],
    ),
    _value("--root-path", "PATH", "path where a proxy shows it, e.g. /demo", type=_of_demo("--root-path"), default=""),
    _value(
        "--cors-origin",
        "ORIGIN",
        "let pages of this origin ask the endpoints from a browser, or of all with *; repeatable (default: none)",
        action="append",
        type=_of_demo("--cors-origin"),
        default=[],
    ),
    _value(
        "--rate",
        "N",
        "requests a second of one client (default: 20, or 5000 on loopback without a proxy)",
        type=_of_demo("--rate"),
    ),
    _value("--log-texts", "FILE", "add texts and answers to this file, a JSON object a line", type=Path),
)

VERBS: dict[Callable[[argparse.Namespace], int], tuple[Option, ...]] = {
    run_verbs.train: _OF_RECIPE,
    run_verbs.search: (
        *_RECIPE_AND_DATA,
        _value("--trials", "N", "trainings, with those of earlier calls", type=_number(int, 1, 100_000), default=20),
        _value(
            "--folder", "DIR", "where the search is kept (default: exports/search-<name of the recipe or the data>)"
        ),
        _flag("--dry-run", "stop when the data is prepared, and forecast the time"),
        _SET,
        _JSON,
    ),
    run_verbs.average: (
        _value("runs", "RUN_DIR", "run directories of `sentopt train`, two or more", nargs="+"),
        _value("--run-dir", "DIR", "run directory of the average (default: exports/average)"),
        _JSON,
    ),
    run_verbs.export: (
        _value("--model", "FOLDER_OR_ID", "fine-tuned classifier: a folder, or a hub id with model.revision=HASH"),
        _value("--data", "PATH_OR_NAME", "with --model: labelled texts to verify it on"),
        _flag("--string-input", "add a graph that takes texts, tokenizer inside (needs onnxruntime-extensions)"),
        *_OF_RUN,
    ),
    run_verbs.bench: _OF_RUN,
    run_verbs.run: _OF_RECIPE,
    run_verbs.report: (
        _value("--run-dir", "DIR", "run directory (default: the newest below exports/)"),
        _value("--recipe", "RECIPE", "the run of this recipe", dest="recipe_option"),
    ),
    bundle_verbs.predict: (
        _value("texts", "TEXT", "texts, or both texts of pairs in turn (default: lines of stdin)", nargs="*"),
        _value("--input", "FILE", "a table file whose rows to score: .csv, .jsonl, .parquet, .xlsx, ..."),
        _value("--output", "FILE", "where the rows go, with columns label, score and one per label added"),
        _OVERWRITE,
        *_OF_TABLES,
        *_WITH_BUNDLE,
        _flag("--json", "one JSON object a line (with --input: one summary)"),
    ),
    bundle_verbs.score: (
        _value(
            "inputs", "INPUT", "tables (.parquet, .csv, .tsv, .jsonl), patterns, folders, s3:// or gs://", nargs="+"
        ),
        _value("--output", "FOLDER", "where the scored rows go; the same command continues a job", required=True),
        _value("--shard", "I/N", "score the I-th of N parts alone, e.g. one on each machine", default="1/1"),
        _value("--engine", "NAME", "local (default), ray or spark", default="local"),
        _value("--unit-rows", "N", "rows that are finished together", type=_number(int, 1, 10**9), default=20_000),
        *_OF_TABLES,
        *_WITH_BUNDLE,
        _JSON,
    ),
    bundle_verbs.demo: (
        *_OF_SERVER,
        _flag("--show-test-texts", "list the test texts to whoever reaches the demo (default: to this machine alone)"),
    ),
    bundle_verbs.serve: (
        *_OF_SERVER,
        _value(
            "--processes",
            "N",
            "processes that share port and cores; auto for as many as the cores suffice for (default: 1)",
            type=_of_demo("--processes"),
            default=1,
        ),
    ),
    bundle_verbs.check: (
        *_OF_BUNDLE,
        _value("--cpu", "MODEL", "answer on this CPU model, emulated by qemu-user: EPYC-Milan, neoverse-n1, ..."),
    ),
    bundle_verbs.tune: _OF_BUNDLE,
    bundle_verbs.pack: (
        *_OF_BUNDLE,
        _flag("--wheel", "a wheel: pip install it, then `from NAME import classifier`"),
        _flag("--self-contained", "a wheel that holds sentopt's runtime: for machines that cannot install sentopt"),
        _value("--name", "NAME", "name of the package or archive (default: that of the run)", default=""),
        _value("--version", "VERSION", "version of the package (default: 1.0)", default="1.0"),
        _value("--output", "PATH", "the .tar.gz file, or the folder of the wheel (default: here)"),
        _OVERWRITE,
    ),
    bundle_verbs.push: (
        _value("repository", "OWNER/NAME", "the repository; it is made if there is none"),
        *_OF_BUNDLE,
        _flag("--private", "create the repository as private"),
        _value("--revision", "BRANCH", "branch to commit to (default: main)", default="main"),
        _value("--license", "ID", "licence of the model, as the hub calls it", default=""),
        _value("--message", "TEXT", "commit message (default: run and variant)", default=""),
        _flag("--card-only", "print the model card and upload nothing"),
    ),
    information_verbs.data: (
        ("action", {"choices": ("check",), "help": "what to do with the data"}),
        _value("source", "PATH_OR_NAME", "labelled texts, as `sentopt train --data` takes them", nargs="?"),
        _value("--output", "FILE", "CSV for all rows in doubt, with a column `corrected` to fill in"),
        _OVERWRITE,
        _value("--recipe", "RECIPE", "recipe with the data, the backbone or other keys", default="quickstart"),
        _value("--model", "FOLDER_OR_NAME", "backbone whose tokens are counted (default: the recipe's)"),
        _flag("--fetch", "download the backbone if it is not on this machine"),
        _SET,
        _JSON,
    ),
    information_verbs.recipes: (
        _value("name", "RECIPE", "print this recipe with every value explicit", nargs="?"),
        _value("--keys", "WORD", "list the keys with defaults and help, or those with this word", nargs="?", const=""),
        _value("--output", "FILE", "write it there instead of printing it"),
        _OVERWRITE,
        _JSON,
    ),
    information_verbs.env: (_JSON,),
    information_verbs.emulator: (_flag("--yes", "fetch and unpack what is missing"), _JSON),
}
