"""Write the pages that follow from the code: `python docs/generate.py`, or with --check only say which are stale."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sentopt import recipe
from sentopt.cli import parser as cli_parser
from sentopt.variants import VARIANTS

DOCS = Path(__file__).parent
_MADE = "<!-- Made by docs/generate.py: change the code that it describes, not this page. -->"


def cli() -> str:
    """The page of the command line, from the parser that the program uses."""
    command = cli_parser.build()
    lines = [
        _MADE,
        "",
        "# Command line",
        "",
        f"{command.description}",
        "",
        "Results go to stdout, progress and notes to stderr. `--json` prints what a script can read. "
        "Exit codes: 0 done, 1 error, 2 wrong usage, 3 no variant passed verification, 130 interrupted.",
        "",
    ]
    for name, verb in _verbs(command).items():
        lines += _verb(name, verb)
    return "\n".join(lines).rstrip() + "\n"


def recipes() -> str:
    """The page of recipes: how they are used, then the shipped ones and every key."""
    return "\n".join(
        [
            _MADE,
            "",
            "# Recipes",
            "",
            "A recipe is a TOML file. It names data, backbone, hyperparameters, the margins of the verdict and what "
            '"fastest" means. It states only what differs from the defaults below. The resolved recipe, with every '
            "value, is stored in the run directory as `recipe.toml`.",
            "",
            "```sh",
            "sentopt recipes",
            "sentopt recipes quickstart --output mine.toml",
            "```",
            "",
            "Then `sentopt run mine.toml` runs it. On the command line each key is `--set train.epochs=2`. In Python "
            'it is a keyword, `sentopt.train(data, epochs=2)`, or `overrides={"train.epochs": 2}`.',
            "",
            "Data of `sst2`, `tweets` and `imdb` comes from the Hugging Face Hub at pinned revisions, or from a mirror "
            "below `SENTOPT_DATA_DIR`. DistilBERT and GPT-2 come from the hub. MiniLM also comes from a package index.",
            "",
            recipe.reference().strip(),
            "",
            "## Variants",
            "",
            "`export.variants` limits what is made. Without it, all variants are made that this machine can run, "
            "except those that are made on request only.",
            "",
            *_variants(),
            "",
        ]
    )


def _variants() -> Iterator[str]:
    yield from ("| variant | what it is | ships |", "|---|---|---|")
    for name, spec in VARIANTS.items():
        yield f"| `{name}` | {_cell(spec.summary)} | {'yes' if spec.ships else 'for comparison only'} |"


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli, "recipes.md": recipes}


def stale() -> list[str]:
    """Names of the pages that are not what the code says now."""
    return [
        name
        for name, page in PAGES.items()
        if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != page()
    ]


def main() -> int:
    """Write the pages, or check them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    if not options.parse_args().check:
        for name, page in PAGES.items():
            (DOCS / name).write_text(page(), encoding="utf-8")
        return 0
    for name in (stale_pages := stale()):
        print(f"docs/{name} is stale: run `python docs/generate.py`")
    return 1 if stale_pages else 0


def _verbs(command: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (verbs,) = (a for a in command._actions if isinstance(a, argparse._SubParsersAction))
    return dict(verbs.choices)


def _verb(name: str, verb: argparse.ArgumentParser) -> Iterator[str]:
    description, examples = _description_and_examples(verb)
    yield from (f"## sentopt {name}", "", description, "")
    rows = [row for action in verb._actions if (row := _row(action))]
    if rows:
        yield from ("| argument | meaning |", "|---|---|", *rows, "")
    if examples:
        yield from ("<!-- not run: listed by --help -->", "```sh", *examples, "```", "")


def _description_and_examples(verb: argparse.ArgumentParser) -> tuple[str, list[str]]:
    """What a verb does, and the commands of its examples: lines that begin with the program's name."""
    text = inspect.cleandoc(f"{verb.description or ''}\n\n{verb.epilog or ''}")
    lines = [line.removeprefix("e.g.").removeprefix("examples:") for line in text.splitlines()]
    examples = [line.strip() for line in lines if line.strip().startswith("sentopt ")]
    return "\n".join(line for line in lines if not line.strip().startswith("sentopt ")).strip(), examples


def _row(action: argparse.Action) -> str:
    if action.dest == "help" or action.help == argparse.SUPPRESS:
        return ""
    shown = action.metavar or action.dest.upper()
    value = shown if isinstance(shown, str) else " ".join(shown)
    if action.nargs == "?" and action.option_strings:
        value = f"[{value}]"
    if not action.option_strings:
        left = f"`{value}`" if action.nargs not in ("*", "+") else f"`{value} ...`"
    elif action.nargs == 0:
        left = ", ".join(f"`{option}`" for option in action.option_strings)
    else:
        left = ", ".join(f"`{option} {value}`" for option in action.option_strings)
    return f"| {left} | {_cell((action.help or '') % vars_of(action))} |"


def vars_of(action: argparse.Action) -> dict[str, object]:
    """What argparse puts into the help of an option, such as its default."""
    return {**vars(action), "prog": "sentopt"}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main())
