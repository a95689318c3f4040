"""Several processes that train one model, as `torchrun` starts them: who this one is, and what it hears from the first.

The first process (rank 0) runs the pipeline. The others only take part in training: they wait to be told whether there
is any, and with which fingerprint.
"""

from __future__ import annotations

import atexit
import datetime
import os
from typing import Any

_PATIENCE = datetime.timedelta(hours=2)  # the others wait while the first prepares the data and fetches the backbone


def world_size() -> int:
    """How many processes train together; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes the run directory."""
    return int(os.environ.get("RANK", "0")) == 0


def local_world_size() -> int:
    """How many of the processes share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def backend() -> str:
    """What the processes talk through."""
    import torch

    return "nccl" if torch.cuda.is_available() else "gloo"


def share(message: str | None) -> str | None:
    """What the first process gives as `message`, in all of them; every process must call it."""
    if world_size() == 1:
        return message
    box = [message]
    _connected().broadcast_object_list(box, src=0)
    return box[0]


def any_of(flag: bool) -> bool:
    """Whether `flag` is set in at least one process; every process must call it."""
    if world_size() == 1:
        return flag
    import torch

    count = torch.tensor([float(flag)], device="cuda" if torch.cuda.is_available() else "cpu")
    _connected().all_reduce(count)
    return bool(count.item() > 0)


def _connected() -> Any:
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group(backend(), timeout=_PATIENCE)
        atexit.register(distributed.destroy_process_group)  # threads of gloo that outlive it abort the interpreter
    return distributed
