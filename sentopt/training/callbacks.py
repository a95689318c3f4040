"""Trainer callbacks: progress bar, step timing, checkpoint rotation, and a resumable stop on signals."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from tqdm import tqdm
from transformers import TrainerCallback

from sentopt.files import journal
from sentopt.training import distributed
from sentopt.training.ema import LAST_WEIGHTS


class ProgressBar(TrainerCallback):
    """A tqdm bar on stderr with loss and validation metric."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar at the first step of this training."""
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step", file=sys.stderr)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance to the current step."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the latest loss and metric."""
        shown = {"loss": (logs or {}).get("loss"), self.metric: (logs or {}).get(f"eval_{self.metric}")}
        known = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
        if known and self.bar is not None:
            self.bar.set_postfix(known)

    def close(self) -> None:
        """Close the bar after any end of training, so that an error message starts on a new line."""
        if self.bar is not None:
            self.bar.close()


class StepClock(TrainerCallback):
    """Measures `seconds` in training steps, with the optimizer, without evaluation, saving and logging."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock before the forward pass of the step's first batch."""
        self._start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock after the optimizer step."""
        self.seconds += time.perf_counter() - self._start


class DropOldCheckpoints(TrainerCallback):
    """Keeps the best and the newest checkpoints, `limit` in total, and all folders that sentopt did not write.

    Training resumes from the newest checkpoint only, so the optimizer state of older ones is removed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remove old checkpoints; the newest one is complete when this is called."""
        best = Path(state.best_model_checkpoint or "").name
        *older, _ = checkpoints_in(Path(args.output_dir))
        for checkpoint in older:
            for name in ("optimizer.pt", LAST_WEIGHTS):
                (checkpoint / name).unlink(missing_ok=True)
        others = [checkpoint for checkpoint in older if checkpoint.name != best]
        kept = self.limit - 1 - (len(older) - len(others))
        for checkpoint in others[: len(others) - max(0, kept)]:
            journal.remove(checkpoint)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints that the Trainer wrote in `folder`, in order of steps."""
    return sorted((path for path in folder.glob("checkpoint-*") if journal.is_known(path)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimizer step of a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


class StopOnSignal(TrainerCallback):
    """Context in which the first Ctrl-C or SIGTERM ends training after the current step, with a checkpoint.

    The second one stops at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping after this step and saving the state (press Ctrl-C again to stop at once)", file=sys.stderr)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Request a save and a stop, but not at a step with an evaluation: the resumed training would skip it."""
        self.requested = distributed.any_of(self.requested)
        if not self.requested:
            return
        if state.global_step >= state.max_steps:
            self.requested = False  # training is complete
        elif not (control.should_evaluate or _ends_epoch(args, state, kwargs["train_dataloader"])):
            control.should_save = True
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Prevent evaluation and saving after an interrupted epoch, which is not complete."""
        if control.should_training_stop and self.requested:
            control.should_evaluate = False
            control.should_save = False


def _ends_epoch(args: Any, state: Any, dataloader: Any) -> bool:
    steps = max(1, math.ceil(len(dataloader) / args.gradient_accumulation_steps))
    return bool(state.global_step % steps == 0)
