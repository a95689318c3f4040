"""Experiment trackers: what the Trainer logs, sent where `train.report_to` says. Without that key nothing is."""

from __future__ import annotations

import os
from typing import Any

from sentopt import recipe as recipes
from sentopt._optional import is_installed
from sentopt.errors import MissingExtraError
from sentopt.files import journal
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir
from sentopt.training import distributed

PROJECT = "sentopt"
_PACKAGES = {"tensorboard": "sentopt[trackers]", "mlflow": "sentopt[trackers]", "wandb": "wandb", "trackio": "trackio"}
# Unasked, mlflow counts its users, and wandb sends the run to its maker's servers.
_LOCAL: dict[str, dict[str, str]] = {
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true"},
    "wandb": {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_PROJECT": PROJECT},
}


def check_installed(recipe: Recipe) -> None:
    """That the trackers of `recipe` are there, before anything is trained.

    Raises:
        MissingExtraError: one is not.
    """
    missing = [name for name in recipe.train.report_to if not is_installed(name)]
    if missing:
        packages = " ".join(f'"{package}"' for package in dict.fromkeys(_PACKAGES[name] for name in missing))
        raise MissingExtraError(
            f"train.report_to names {', '.join(missing)}, and {'that is' if len(missing) == 1 else 'these are'} not "
            f"installed.\nInstall with: pip install {packages}"
        )


def callbacks(recipe: Recipe, run_dir: RunDir, key: str) -> list[Any]:
    """The Trainer's callbacks for the trackers of `recipe`: rank 0 alone reports, and needs the packages.

    TensorBoard's files go into a folder of their own for each training, named after its fingerprint `key`. A training
    that is resumed goes on in its folder.
    """
    found: list[Any] = []
    for name in recipe.train.report_to if distributed.is_rank_zero() else ():
        for variable, value in _LOCAL.get(name, {}).items():
            os.environ.setdefault(variable, value)
        found.append(_callback(name, run_dir, key))
        if name == "wandb":
            found.append(_end_of_wandb())
    return found


def _callback(name: str, run_dir: RunDir, key: str) -> Any:
    from transformers import integrations

    if name == "tensorboard":
        return integrations.TensorBoardCallback(_writer(run_dir, key))
    kinds = {
        "mlflow": integrations.MLflowCallback,
        "wandb": integrations.WandbCallback,
        "trackio": integrations.TrackioCallback,
    }
    return kinds[name]()


def _end_of_wandb() -> Any:
    """Ends the run of Weights & Biases that a training began: a second one in the process would go on in it."""
    import wandb
    from transformers import TrainerCallback

    class End(TrainerCallback):
        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            wandb.finish()

    return TrainerCallback() if wandb.run is not None else End()


def _writer(run_dir: RunDir, key: str) -> Any:
    """A writer whose file is known to be sentopt's: it has no name before it is there."""
    from torch.utils.tensorboard import SummaryWriter

    folder = run_dir.tensorboard / key[:12]
    known, before = journal.known_files(folder), set(journal.files_below(folder))
    journal.remember(run_dir.tensorboard)
    journal.record_unfinished(folder)
    writer = SummaryWriter(log_dir=str(folder))
    journal.record_folder(folder, [*known, *(set(journal.files_below(folder)) - before)])
    return writer


def parameters(recipe: Recipe) -> dict[str, Any]:
    """What trackers record of a training besides its metrics: the recipe's keys that decide it, by full name."""
    sections = ("run", "data", "model", "train")
    values = {
        key.path: getattr(getattr(recipe, key.section), key.name) for key in recipes.KEYS if key.section in sections
    }
    return {path: list(value) if isinstance(value, tuple) else value for path, value in values.items()}
