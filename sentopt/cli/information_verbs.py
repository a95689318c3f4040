"""The verbs that need neither a run nor a bundle: data, recipes, env, emulator."""

from __future__ import annotations

import argparse
from pathlib import Path

import sentopt
from sentopt.cli.printing import EXIT_USAGE, as_json, fail, print_json


def data(arguments: argparse.Namespace) -> int:
    """What is doubtful in labelled texts: likely wrong labels, near-duplicates, leaks, empty and long texts.

    e.g. sentopt data check reviews.csv
         sentopt data check reviews.csv --output doubts.csv
         sentopt train --data reviews.csv --set data.corrections=doubts.csv
    """
    from sentopt.recipe import parse_settings

    found = sentopt.check_data(
        arguments.source,
        recipe=arguments.recipe,
        model=arguments.model,
        output=arguments.output,
        overwrite=arguments.overwrite,
        fetch=arguments.fetch,
        overrides=parse_settings(arguments.set),
    )
    if arguments.json:
        return print_json(as_json(found))
    from sentopt.audit import words

    print(words.said(found, arguments.output or ""))
    return 0


def recipes(arguments: argparse.Namespace) -> int:
    """List the shipped recipes or all keys, or print or write a recipe with every value explained.

    e.g. sentopt recipes quickstart --output my-recipe.toml
         sentopt recipes --keys learning
    """
    from sentopt import recipe
    from sentopt.files import outputs

    if arguments.output and not arguments.name:
        return fail("--output goes with the name of a recipe", EXIT_USAGE)
    if arguments.keys is not None:
        print(*recipe.help_lines(arguments.keys), sep="\n")
        return 0
    if arguments.name:
        text = recipe.shown(arguments.name)
        if not arguments.output:
            print(text, end="")
            return 0
        target = Path(arguments.output)
        outputs.write(target, text.encode(), overwrite=arguments.overwrite, inputs=[Path(arguments.name)])
        print(target)
        return 0
    loaded = [recipe.load(name) for name in recipe.builtin_names()]
    if arguments.json:
        return print_json([{"name": r.run.name, "description": r.run.description} for r in loaded])
    width = max(len(r.run.name) for r in loaded)
    for r in loaded:
        print(f"{r.run.name.ljust(width)}  {r.run.description}")
    return 0


def env(arguments: argparse.Namespace) -> int:
    """What sentopt sees of this machine; paste it into a bug report.

    e.g. sentopt env --json
    """
    machine = sentopt.environment()
    if arguments.json:
        return print_json(as_json(machine))
    print(machine)
    return 0


def emulator(arguments: argparse.Namespace) -> int:
    """What `check --cpu` needs for ARM64 models: what it would fetch, and with --yes, set it up.

    e.g. sentopt emulator
         sentopt emulator --yes
    """
    found = sentopt.emulator(fetch=arguments.yes)
    print_json(as_json(found)) if arguments.json else print(found)
    return 0
