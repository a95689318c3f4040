"""A recipe within the limits of its model, and of what this machine can make and run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from sentopt import backbones
from sentopt import recipe as recipes
from sentopt._optional import check_installed
from sentopt.backends.opening import capabilities
from sentopt.data import store
from sentopt.errors import RecipeError
from sentopt.gate import deferral
from sentopt.graph import families
from sentopt.measure.stats import fewest_texts
from sentopt.progress import SILENT, Progress
from sentopt.recipe import TEST_AS_VALIDATION, DistillSection, Recipe
from sentopt.results import PrepareResult
from sentopt.run_dir import RunDir
from sentopt.stages import exporters
from sentopt.training import trackers
from sentopt.variants import VARIANTS, Need, VariantSpec, runnable

_NO_STUDENT_OF_SETS = (
    "no student and no cascade: where texts have any number of labels, no single probability says which to defer"
)


def within_model(recipe: Recipe, *, fetch: bool, progress: Progress = SILENT) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with texts cut where its model ends, and what to say: if that changed anything, and of idle keys.

    With `fetch`, a model is fetched now if need be, and one that no source has is refused.

    Raises:
        BackboneError: the model cannot be used.
        RecipeError: the recipe asks for variants that do not exist.
    """
    among((), recipe, source=recipe.run.name)  # not when the data is prepared and the model trained
    model = recipe.model
    idle = _idle(recipe)
    longest = backbones.check(model.backbone, model.revision, tuned=model.tuned, fetch=fetch, progress=progress)
    if longest is None or model.max_length <= longest:
        return recipe, idle
    shorter = recipes.with_overrides(recipe, {"model.max_length": longest}, source=model.backbone)
    cut = f"texts are cut at {longest} tokens, not at {model.max_length}: {model.backbone} reads no more"
    return shorter, (cut, *idle)


def of_data(recipe: Recipe, prepared: PrepareResult) -> tuple[str, ...]:
    """What of a recipe is for texts with one label only, and left out here.

    Raises:
        RecipeError: it cannot be left out.
    """
    if not prepared.is_multi_label:
        return ()
    if recipe.train.teacher:
        raise RecipeError(
            "train.teacher", ["texts have any number of labels here, and a teacher's answers are learnt for one each"]
        )
    if staged := [name for name in recipe.export.variants if name in VARIANTS and VARIANTS[name].stages]:
        raise RecipeError(
            "export.variants",
            [f"{', '.join(staged)}: where texts have any number of labels, there is no student and no cascade"],
        )
    if recipe.data.unlabelled:
        return ("data.unlabelled is not used: where texts have any number of labels, only labelled texts are evidence",)
    return ()


def check_training(recipe: Recipe) -> None:
    """Check that what this recipe's training needs is installed, before it begins.

    Raises:
        MissingExtraError: a package is not installed.
    """
    trackers.check_installed(recipe)
    if recipe.train.peft == "lora" and not recipe.model.tuned:
        check_installed("peft", extra="peft")


def check_packages(recipe: Recipe) -> None:
    """Check that what this recipe's export needs is installed: now, and not when training or the benchmark is done.

    Raises:
        MissingExtraError: a package is not installed.
        ExportError: Optimum is asked for, and does not support the installed transformers.
    """
    check_installed("onnx", extra="export")
    if recipe.export.string_input:
        check_installed("onnxruntime_extensions", extra="string")
    exporters.choose(recipe.export.exporter)


def variants(recipe: Recipe, run_dir: RunDir, *, made_by: str = "") -> list[VariantSpec]:
    """The variants of a run that this machine can make and run; with `made_by`, those that one stage makes.

    Raises:
        RecipeError: the recipe asks for others.
    """
    able = capable(recipe, run_dir.checkpoint, _lines(run_dir.split("validation")))
    if store.is_multi_label(run_dir):
        able -= {"student"}
    specs = among(able, recipe, source=str(run_dir.recipe))
    return [spec for spec in specs if made_by in ("", spec.made_by)]


def capable(recipe: Recipe, checkpoint: Path, validation_texts: int) -> set[Need]:
    """What this machine, the checkpoint and the validation split allow.

    Raises:
        RecipeError: see `no_student`.
    """
    without: set[Need] = set()
    if no_student(recipe, checkpoint, validation_texts) is not None:
        without.add("student")
    if not recipe.has_long_texts:
        without.add("long")
    return capabilities(checkpoint) - without


def files(run_dir: RunDir, specs: Sequence[VariantSpec]) -> list[Path]:
    """The files that make up these variants."""
    trimmed = [run_dir.variant(spec.name) / "tokenizer.json" for spec in specs if spec.trimmed]
    return [*(run_dir.model(spec.name) for spec in specs), *trimmed]


def findings(run_dir: RunDir, specs: Sequence[VariantSpec]) -> list[Path]:
    """The files in which verification leaves what it found of these variants."""
    shipping = [spec.name for spec in specs if spec.ships]
    return [*map(run_dir.flips, shipping), *map(run_dir.answers, shipping)]


def no_student(recipe: Recipe, checkpoint: Path, validation_texts: int) -> str | None:
    """Why this run has no student: a reason for the user, or an empty one where nobody would expect it; else None.

    Raises:
        RecipeError: the recipe asks for a student that is no smaller than the model.
    """
    wanted, layers = recipe.distill.layers, families.layers(checkpoint)
    if wanted == (0,) or families.unsupported_reason(checkpoint):
        return ""
    if recipe.data.pair_column:
        return "no student and no cascade: they are not made for pairs of texts"
    if not recipe.distill.depths(layers):
        if wanted == DistillSection().layers:
            return ""
        raise RecipeError(
            "distill.layers", [f"a student has fewer layers than its model, which has {layers}; found {list(wanted)}"]
        )
    if recipe.distill.max_length and families.reads_last(checkpoint):
        raise RecipeError("distill.max_length", ["the model reads the last token of a text, so its student must, too"])
    needed = fewest_texts(margin=recipe.verify.margin / 100.0, confidence=deferral.ENOUGH)
    texts = 0 if recipe.data.validation == TEST_AS_VALIDATION else validation_texts
    if texts < needed:
        return (
            f"no student and no cascade: {texts} validation texts choose no threshold, for which {needed} or more are "
            "needed"
        )
    return None


def without_student(recipe: Recipe, run_dir: RunDir) -> tuple[str, ...]:
    """What to say of a run that has no student."""
    if store.is_multi_label(run_dir):
        return () if recipe.distill.layers == (0,) else (_NO_STUDENT_OF_SETS,)
    reason = no_student(recipe, run_dir.checkpoint, _lines(run_dir.split("validation")))
    return (reason,) if reason and not recipe.export.variants else ()


def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def among(capable: Collection[Need], recipe: Recipe, *, source: str) -> list[VariantSpec]:
    """The variants of a recipe that need nothing but `capable`.

    Raises:
        RecipeError: the recipe asks for variants that do not exist, or for none that can be made.
    """
    try:
        return runnable(capable, recipe.export.variants)
    except ValueError as error:
        raise RecipeError(source, [f"export.variants: {error}"]) from error


def _idle(recipe: Recipe) -> tuple[str, ...]:
    """What to say of keys that are set and change nothing. A tuned model is not trained, so its recipe may say much."""
    sections = [("data", recipe.data.idle)]
    if not recipe.model.tuned:
        sections.append(("train", recipe.train.idle))
    return tuple(f"{name}.{key} is not used: it needs {it}" for name, keys in sections for key, it in keys.items())
