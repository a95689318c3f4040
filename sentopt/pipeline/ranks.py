"""What rank 0 of a distributed training tells the other ranks: what to train, and when there is nothing more to do."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentopt import backbones
from sentopt import recipe as recipes
from sentopt.errors import NodeError, RankError, SentoptError
from sentopt.files import atomic, journal
from sentopt.recipe import ModelSection, Recipe
from sentopt.run_dir import RunDir
from sentopt.training import distributed

_DONE = "done"
_SIGN = ".ranks"  # a file that rank 0 writes for the others to see
_SEEN_WITHIN = 30.0  # seconds until a file that rank 0 wrote is seen through a network file system


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Around all that rank 0 does: however it ends, the other ranks hear of it and do not wait.

    Raises:
        NodeError: the ranks cannot train together.
    """
    if distributed.world_size() == 1:
        yield
        return
    distributed.connect()  # at once: nothing is prepared for a training that cannot begin
    try:
        yield
    except BaseException as error:
        distributed.report_failure(error)
        raise
    distributed.broadcast(_DONE)


@contextlib.contextmanager
def following() -> Iterator[None]:
    """Around all that another rank does: where it fails, the others hear why."""
    try:
        yield
    except BaseException as error:
        distributed.report_failure(error)
        raise


@dataclass(frozen=True)
class Announcement:
    """A training to come: its fingerprint, its run directory, and the recipe that rank 0 trains by."""

    key: str
    run_dir: RunDir
    recipe: Recipe


def announce(key: str, model: ModelSection, run_dir: RunDir) -> None:
    """Tell the other ranks of a training to come, and begin it when all of them can take part.

    The pretrained model is fetched before, once for all ranks of this machine.

    Raises:
        NodeError: a machine does not see the run directory, or has another pretrained model or none.
    """
    if distributed.world_size() == 1:
        return
    backbones.resolve(model.backbone, model.revision)
    sign, token = run_dir.root / _SIGN, uuid.uuid4().hex
    atomic.write_text(sign, token)
    try:
        distributed.broadcast(json.dumps({"key": key, "run_dir": str(run_dir.root.resolve()), "token": token}))
        _agree(problem="", model=backbones.identify(model.backbone, model.revision))
    finally:
        journal.remove(sign)


def announced() -> Announcement | None:
    """In the other ranks: the training that rank 0 announces; None when it is done.

    Raises:
        RankError: rank 0 has failed, or a machine cannot take part.
        NodeError: rank 0 was lost.
    """
    message = distributed.broadcast(None)
    if message in (_DONE, None):
        return None
    told = json.loads(message)
    run_dir = RunDir(Path(told["run_dir"]))
    problem, recipe, model = "", None, ""
    try:
        _check_seen(run_dir, told["token"])
        recipe = recipes.load(str(run_dir.recipe))
        backbones.resolve(recipe.model.backbone, recipe.model.revision)
        model = backbones.identify(recipe.model.backbone, recipe.model.revision)
    except (SentoptError, OSError) as error:
        problem = str(error)
    _agree(problem=problem, model=model)
    assert recipe is not None  # else there is a problem
    return Announcement(told["key"], run_dir, recipe)


def _check_seen(run_dir: RunDir, token: str) -> None:
    """That this machine sees what rank 0 has just written, and not a copy of the run directory."""
    deadline = time.monotonic() + _SEEN_WITHIN
    while _content(run_dir.root / _SIGN) != token:
        if time.monotonic() > deadline:
            raise NodeError(
                f"it does not see what rank 0 writes into {run_dir.root}, where data and checkpoints lie: "
                "name a folder that all machines share with --run-dir SHARED_FOLDER"
            )
        time.sleep(0.2)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _agree(*, problem: str, model: str) -> None:
    """All ranks hear what each has to say against the training.

    Raises:
        NodeError: in rank 0: somebody has.
        RankError: in the other ranks: somebody has, and rank 0 says it.
    """
    answers = [json.loads(text) for text in distributed.gather(json.dumps({"problem": problem, "model": model}))]
    name = distributed.connect().name
    problems = [f"{name(rank)}: {each['problem']}" for rank, each in enumerate(answers) if each["problem"]]
    for rank, each in enumerate(answers):
        if not each["problem"] and each["model"] != answers[0]["model"]:
            problems.append(f"{name(rank)}: its pretrained model has other files than that of {name(0)}")
    if problems:
        words = "not every process can take part in the training\n" + "\n".join(f"  - {line}" for line in problems)
        raise NodeError(words) if distributed.is_rank_zero() else RankError(words)
