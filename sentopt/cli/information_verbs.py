"""The verbs that need neither a run nor a bundle: recipes, env."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sentopt.cli.printing import EXIT_USAGE, as_json, fail, print_json


def recipes(arguments: argparse.Namespace) -> int:
    """List the shipped recipes, or print or write one with every value.

    examples:
      sentopt recipes
      sentopt recipes quickstart --output my-recipe.toml
    """
    from sentopt import recipe
    from sentopt.files import outputs

    if arguments.output and not arguments.name:
        return fail("--output goes with the name of a recipe", EXIT_USAGE)
    if arguments.name:
        text = recipe.to_toml(recipe.load(arguments.name))
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

    examples:
      sentopt env
      sentopt env --json
    """
    from sentopt.measure import hardware
    from sentopt.runtime.tuning import cache_folder

    here = hardware.describe()
    variables = {
        name: os.environ.get(name, "") for name in ("SENTOPT_MODEL_DIR", "SENTOPT_DATA_DIR", "SENTOPT_CACHE_DIR")
    }
    cache = cache_folder()
    if arguments.json:
        return print_json(
            {"hardware": as_json(here), "versions": hardware.versions(), "environment": variables, "cache": str(cache)}
        )
    print(f"cpu      {here.cpu} ({', '.join(here.isa) or 'no known extensions'})")
    print(f"cores    {here.cores}" + (f" (cgroup quota {here.cpu_quota:g})" if here.cpu_quota else ""))
    print(f"memory   {here.memory_bytes / 2**30:.1f} GiB\nsystem   {here.system}\ncache    {cache}")
    for name, value in variables.items():
        print(f"{name}={value}")
    for package, version in hardware.versions().items():
        print(f"{package}=={version}")
    return 0
