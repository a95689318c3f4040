"""What belongs to the program that called sentopt, and is as it was when sentopt returns."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from sentopt.wording import is_for_command_line

Restore = Callable[[], None]
_ONE_AT_A_TIME = threading.RLock()  # what is put back belongs to the whole process


def kept_for_programs() -> contextlib.AbstractContextManager[None]:
    """`left_alone`, but for the command line: its process ends, and PyTorch need not be imported for nothing."""
    return contextlib.nullcontext() if is_for_command_line() else left_alone()


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """Random states, threads, log levels, warning filters, environment and accelerate's state come back.

    Training sets all of them for the whole process. PyTorch and transformers are imported here where they are
    installed: what they start with is what comes back.
    """
    with _ONE_AT_A_TIME, contextlib.ExitStack() as restore:
        for put_back in (_environment(), _logging(), _random(), *_torch(), *_transformers(), *_accelerate()):
            restore.callback(put_back)
        with warnings.catch_warnings():
            yield


def _environment() -> Restore:
    before = dict(os.environ)

    def put_back() -> None:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)

    return put_back


def _logging() -> Restore:
    manager = logging.root.manager
    loggers = [logging.root, *(logger for logger in manager.loggerDict.values() if isinstance(logger, logging.Logger))]
    before, disabled = [(logger, logger.level) for logger in loggers], manager.disable

    def put_back() -> None:
        for logger, level in before:
            logger.setLevel(level)
        logging.disable(disabled)

    return put_back


def _random() -> Restore:
    import numpy as np

    of_python, of_numpy = random.getstate(), np.random.get_state()

    def put_back() -> None:
        random.setstate(of_python)
        np.random.set_state(of_numpy)

    return put_back


def _torch() -> Iterator[Restore]:
    try:
        import torch
    except ImportError:
        return
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    yield lambda: torch.set_rng_state(state)
    yield lambda: torch.cuda.set_rng_state_all(on_gpus) if on_gpus else None
    yield lambda: torch.set_num_threads(threads)


def _transformers() -> Iterator[Restore]:
    try:
        from transformers.utils import logging as said
    except ImportError:
        return
    verbosity, has_bars = said.get_verbosity(), said.is_progress_bar_enabled()
    yield lambda: said.set_verbosity(verbosity)
    yield from _bars_of_the_hub()

    def put_back() -> None:
        if said.is_progress_bar_enabled() != has_bars:
            (said.enable_progress_bar if has_bars else said.disable_progress_bar)()

    yield put_back


def _bars_of_the_hub() -> Iterator[Restore]:
    """The switches of transformers turn those of the hub's client, too."""
    from huggingface_hub.utils import tqdm as bars

    states = getattr(bars, "progress_bar_states", None)
    if isinstance(states, dict):
        before = dict(states)

        def put_back() -> None:
            states.clear()
            states.update(before)

        yield put_back


def _accelerate() -> Iterator[Restore]:
    """Its state is shared by every Trainer of the process: the caller's goes on with its own."""
    try:
        from accelerate import state
    except ImportError:
        return
    for kind in (state.PartialState, state.AcceleratorState, state.GradientState):
        shared: dict[str, Any] = kind._shared_state
        before = dict(shared)

        def put_back(shared: dict[str, Any] = shared, before: dict[str, Any] = before) -> None:
            shared.clear()
            shared.update(before)

        yield put_back
