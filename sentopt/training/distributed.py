"""Distributed training with `torchrun`, on one machine or several: ranks, their messages, and their process group.

Rank 0 runs the pipeline. The other ranks only join the training: they wait for a message of rank 0 that says whether
there is a training, and with which fingerprint.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import os
import re
from collections.abc import Iterator
from typing import Any

from sentopt.errors import NodeError, RankError
from sentopt.training.connection import Connection

TIMEOUT_VARIABLE = "SENTOPT_RANK_TIMEOUT"
_TIMEOUT_SECONDS = 600.0  # that one rank lets the others wait inside of a training: rank 0 writes checkpoints
_TO_COME = 3  # times as long, until all ranks have to be there: a program may do something else before
_OF_A_LOST_PEER = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out|TCPStore", re.IGNORECASE
)


def world_size() -> int:
    """Number of processes in the training; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_rank_zero() -> bool:
    """Whether this process has rank 0, which writes the run directory."""
    return int(os.environ.get("RANK", "0")) == 0


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def speaks_for_node(error: NodeError | RankError) -> bool:
    """Whether this process says on its machine what went wrong: one does, and rank 0 says its own failures itself."""
    is_first, is_with_rank_zero = os.environ.get("LOCAL_RANK", "0") == "0", os.environ.get("GROUP_RANK", "0") == "0"
    return is_first and not (isinstance(error, RankError) and is_with_rank_zero)


def backend() -> str:
    """The communication backend of torch.distributed."""
    import torch

    return "nccl" if torch.cuda.is_available() else "gloo"


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Around what all ranks do in step.

    Raises:
        RankError: rank 0 has failed before.
        NodeError: another rank has failed, has ended, or cannot be reached.
    """
    if world_size() == 1:
        yield
        return
    try:
        _take_gpu()
        gather("")  # a rank that fails before a collective would leave the others in it until they give up
        _process_group()
        yield
    except BaseException as error:
        if isinstance(error, RuntimeError) and _OF_A_LOST_PEER.search(str(error)):
            raise NodeError(_lost(error)) from error
        report_failure(error)
        raise


def report_failure(error: BaseException) -> None:
    """Let the other ranks know why this one cannot go on."""
    if world_size() > 1 and connect.cache_info().currsize:
        connect().report_failure(error)


def broadcast(message: str | None) -> str | None:
    """The `message` of rank 0, in all ranks. Every rank must call this.

    Raises:
        RankError: rank 0 has failed.
        NodeError: rank 0 was lost.
    """
    return connect().broadcast(message) if world_size() > 1 else message


def gather(answer: str) -> list[str]:
    """The `answer` of every rank, in all ranks. Every rank must call this; raises what `broadcast` raises."""
    return connect().gather(answer) if world_size() > 1 else [answer]


def any_of(flag: bool) -> bool:
    """Whether `flag` is set on at least one rank. Every rank must call this."""
    if world_size() == 1:
        return flag
    import torch

    count = torch.tensor([float(flag)], device="cuda" if torch.cuda.is_available() else "cpu")
    _process_group().all_reduce(count)
    return bool(count.item() > 0)


@functools.cache
def connect() -> Connection:
    """The connection of this rank to the others, made once.

    Raises:
        NodeError: the ranks cannot train together.
    """
    return Connection(backend=backend(), timeout=_TO_COME * _timeout())


def _process_group() -> Any:
    """torch.distributed with its process group, for collectives."""
    from torch import distributed

    if not distributed.is_initialized():
        timeout, link = datetime.timedelta(seconds=_timeout()), connect()
        store = distributed.PrefixStore("group", link.store)
        distributed.init_process_group(backend(), store=store, rank=link.rank, world_size=link.size, timeout=timeout)
        # Gloo threads that are still running at exit would abort the interpreter.
        atexit.register(distributed.destroy_process_group)
    return distributed


def _take_gpu() -> None:
    """The GPU of this process, if there are any, is the one with its number on this machine, as for the Trainer.

    Raises:
        NodeError: there are fewer GPUs than processes.
    """
    import torch

    if not torch.cuda.is_available():
        return
    gpus, local_rank = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank >= gpus:
        raise NodeError(
            f"{connect().name(connect().rank)} has no GPU of its own: torchrun starts {local_world_size()} processes "
            f"on a machine with {gpus}. Start as many: --nproc-per-node {gpus}"
        )
    torch.cuda.set_device(local_rank)


def _lost(error: BaseException) -> str:
    """Which rank ended, where that is known, and that the training can go on."""
    known = connect().failures(wait=3.0)
    reason = "; ".join(known) or " ".join(str(error).split())[:300]
    return (
        f"the training lost another of its {world_size()} processes ({reason}). The same command continues from the "
        "last checkpoint"
    )


def _timeout() -> float:
    """Seconds that a rank waits for another one in a step: SENTOPT_RANK_TIMEOUT, or 600.

    Raises:
        NodeError: the variable holds something else.
    """
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text or _TIMEOUT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < 1e6:
        raise NodeError(f"{TIMEOUT_VARIABLE}: expected 1 or more seconds, found {text!r}")
    return seconds
