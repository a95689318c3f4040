"""Trainer callbacks: progress bar, step timing, checkpoint rotation, and a resumable stop on signals."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from transformers import TrainerCallback

from sentopt.files import journal
from sentopt.measure import memory
from sentopt.progress import Advance, Progress
from sentopt.training import distributed
from sentopt.training.ema import LAST_WEIGHTS


class TellProgress(TrainerCallback):
    """Counts steps, with the loss and the validation metric beside them, and the batches of each evaluation."""

    def __init__(self, metric: str, progress: Progress) -> None:
        self._metric = metric
        self._progress = progress
        self._figures: dict[str, str] = {}
        self._steps, self._evaluation = contextlib.ExitStack(), contextlib.ExitStack()
        self._advance: Advance | None = None
        self._advance_evaluation: Advance | None = None
        self._done = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin at the step that training starts or resumes from."""
        self._done = state.global_step
        count = self._progress.count("train", state.max_steps, "steps", done=self._done)
        self._advance = self._steps.enter_context(count)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance by what was done since the last call."""
        if self._advance is not None:
            self._advance(state.global_step - self._done, ", ".join(self._figures.values()))
        self._done = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Keep the newest loss and metric."""
        shown = {"loss": (logs or {}).get("loss"), self._metric: (logs or {}).get(f"eval_{self._metric}")}
        self._figures |= {name: f"{name} {value:.3f}" for name, value in shown.items() if value is not None}

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the batches of an evaluation."""
        if self._advance_evaluation is None:
            count = self._progress.count("train: evaluation", len(kwargs["eval_dataloader"]), "batches")
            self._advance_evaluation = self._evaluation.enter_context(count)
        self._advance_evaluation(1)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The evaluation is done."""
        self._evaluation.close()
        self._advance_evaluation = None

    def close(self) -> None:
        """End what is counted, however training ended."""
        self._evaluation.close()
        self._steps.close()


class StepClock(TrainerCallback):
    """`seconds` spent in training steps, optimizer included; evaluation, saving and logging are not.

    With a `budget` in seconds, training ends after the step in which it is used up, but not after the first step.
    """

    def __init__(self, budget: float = math.inf) -> None:
        self.budget = budget
        self.samples: list[float] = []
        self._start = 0.0

    @property
    def seconds(self) -> float:
        """Of all steps so far."""
        return sum(self.samples)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock before the forward pass of the step's first batch."""
        self._start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the optimizer's step."""
        self.samples.append(time.perf_counter() - self._start)
        if len(self.samples) > 1 and self.seconds > self.budget:
            control.should_training_stop = True


class MemoryAfterSteps(TrainerCallback):
    """The `most` memory that this process had after a training step, in bytes.

    Under `malloc.reusing_freed_memory` that is what the step itself took at most.
    """

    def __init__(self) -> None:
        self.most = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the optimizer's step."""
        self.most = max(self.most, memory.resident_bytes())


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
