"""Distributed training with `torchrun`: ranks, and messages from rank 0 to the others.

Rank 0 runs the pipeline. The other ranks only join the training: they wait for a broadcast of rank 0 that says whether
there is a training, and with which fingerprint.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import Any

# Ranks wait while rank 0 prepares the data, fetches the backbone, and lets a teacher answer. torchrun ends them all
# where one has ended.
_TIMEOUT = datetime.timedelta(hours=24)

_FAILED: list[bool] = []


def world_size() -> int:
    """Number of processes in the training; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_rank_zero() -> bool:
    """Whether this process has rank 0, which writes the run directory."""
    return int(os.environ.get("RANK", "0")) == 0


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def backend() -> str:
    """The communication backend of torch.distributed."""
    import torch

    return "nccl" if torch.cuda.is_available() else "gloo"


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Around what all ranks do in step: where one fails, the others cannot be spoken to any more."""
    try:
        yield
    except BaseException:
        _FAILED.append(True)
        raise


def failed_together() -> bool:
    """Whether something that the ranks did in step has failed in this process."""
    return bool(_FAILED)


def broadcast(message: str | None) -> str | None:
    """Broadcast the `message` of rank 0 to all ranks. Every rank must call this; returns the message."""
    if world_size() == 1:
        return message
    messages = [message]
    _initialized().broadcast_object_list(messages, src=0)
    return messages[0]


def any_of(flag: bool) -> bool:
    """Whether `flag` is set on at least one rank. Every rank must call this."""
    if world_size() == 1:
        return flag
    import torch

    count = torch.tensor([float(flag)], device="cuda" if torch.cuda.is_available() else "cpu")
    _initialized().all_reduce(count)
    return bool(count.item() > 0)


def _initialized() -> Any:
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group(backend(), timeout=_TIMEOUT)
        # Gloo threads that are still running at exit would abort the interpreter.
        atexit.register(distributed.destroy_process_group)
    return distributed
