"""Recipes: everything a run depends on, as frozen dataclasses read from TOML.

A recipe file states only what differs from the defaults; the resolved recipe, every value explicit, is written into the
run directory. All problems of a recipe are reported at once.

Keys are declared in `sections`, read in `reading`, and written in `writing`.
"""

from sentopt.recipe.reading import (
    BUILTIN_FOLDER,
    DEFAULT_RECIPE,
    builtin_names,
    data_of_training,
    identity,
    identity_of_training,
    key_of,
    load,
    normalize,
    parse_settings,
    resolve,
    values_of,
    with_overrides,
)
from sentopt.recipe.sections import (
    ENOUGH_STEPS,
    KEYS,
    SAMPLE_TEXTS,
    TEST_AS_VALIDATION,
    BenchSection,
    DataSection,
    DistillSection,
    ExportSection,
    ModelSection,
    Recipe,
    RunSection,
    SelectSection,
    TrainSection,
    VerifySection,
)
from sentopt.recipe.writing import annotated, help_lines, reference, shown, to_toml

__all__ = [
    "BUILTIN_FOLDER",
    "DEFAULT_RECIPE",
    "ENOUGH_STEPS",
    "KEYS",
    "SAMPLE_TEXTS",
    "TEST_AS_VALIDATION",
    "BenchSection",
    "DataSection",
    "DistillSection",
    "ExportSection",
    "ModelSection",
    "Recipe",
    "RunSection",
    "SelectSection",
    "TrainSection",
    "VerifySection",
    "annotated",
    "builtin_names",
    "data_of_training",
    "help_lines",
    "identity",
    "identity_of_training",
    "key_of",
    "load",
    "normalize",
    "parse_settings",
    "reference",
    "resolve",
    "shown",
    "to_toml",
    "values_of",
    "with_overrides",
]
