"""What rank 0 of a distributed training tells the other ranks: what to train, and when there is nothing more to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentopt import backbones
from sentopt.errors import RankError
from sentopt.recipe import ModelSection
from sentopt.run_dir import RunDir
from sentopt.training import distributed

_TRAIN, _FAILED, _DONE = "train:", "failed:", "done"


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Around all that rank 0 does: however it ends, the other ranks hear of it and do not wait.

    Where training itself fails, they fail with it.
    """
    try:
        yield
    except BaseException as error:
        if not distributed.failed_together():
            _tell(f"{_FAILED}{type(error).__name__}: {error}")
        raise
    _tell(_DONE)


@dataclass(frozen=True)
class Announcement:
    """A training to come: its fingerprint, and its run directory, whose recipe.toml says how it is trained."""

    key: str
    run_dir: RunDir


def announce(key: str, model: ModelSection, run_dir: RunDir) -> None:
    """Tell the other ranks of a training to come.

    The pretrained model is fetched before, once for all of them.
    """
    if distributed.world_size() > 1:
        backbones.resolve(model.backbone, model.revision)
        _tell(f"{_TRAIN}{key}:{run_dir.root}")


def announced() -> Announcement | None:
    """In the other ranks: the training that rank 0 announces; None when it is done.

    Raises:
        RankError: rank 0 has failed.
    """
    message = distributed.broadcast(None) or _DONE
    if message.startswith(_FAILED):
        raise RankError(f"rank 0 could not go on: {message.removeprefix(_FAILED)}")
    if not message.startswith(_TRAIN):
        return None
    key, _, folder = message.removeprefix(_TRAIN).partition(":")
    return Announcement(key, RunDir(Path(folder)))


def _tell(message: str) -> None:
    if distributed.world_size() > 1:
        distributed.broadcast(message)
