"""Distillation: a student of few layers learns the logits of the fine-tuned model.

The student starts from layers of its teacher and learns the teacher's logits (Ba and Caruana 2014) by mean squared
error, in BF16 where that is faster. A teacher needs no labels, so changed copies of training texts and texts
without labels are as good as labelled ones (Mukherjee and Awadallah 2019).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sentopt.backends import opening
from sentopt.backends.torch import limit_threads
from sentopt.errors import ExportError, TrainingInterrupted
from sentopt.files import atomic
from sentopt.graph.architecture import Architecture, FloatArray
from sentopt.progress import SILENT, Progress
from sentopt.recipe import DistillSection
from sentopt.runtime.cores import available_cores
from sentopt.runtime.tokenization import Tokens, padded
from sentopt.training import malloc
from sentopt.training.callbacks import StopOnSignal
from sentopt.training.sampling import EpochSampler
from sentopt.training.student import Student

_WARMUP, _WEIGHT_DECAY, _LARGEST_GRADIENT = 0.06, 0.01, 1.0
_SAVE_SECONDS = 30.0
_SMOOTHING = 0.02


@dataclass(frozen=True)
class Lessons:
    """What a student learns: texts as it reads them, and the teacher's logits, float32 of shape (texts, labels)."""

    tokens: Sequence[Tokens]
    logits: FloatArray


@dataclass(frozen=True)
class Distilled:
    """The student; `loss` is a moving average of the mean squared error at the end, `seconds` that of all steps."""

    architecture: Architecture
    steps: int
    seconds: float
    loss: float
    resumed_from_step: int


def layers_of(teacher: Architecture, count: int, shared: int) -> list[int]:
    """The teacher's layers that a student starts from: the first `shared`, and one of each equal part of the others.

    That is the middle one, and the last one of the last part: the head was tuned on what it gives out.
    """
    last, own = len(teacher.blocks) - 1, count - shared
    part = (last + 1 - shared) / own
    middles = [round(shared + (i + 0.5) * part - 0.5) for i in range(own - 1)]
    return [*range(shared), *middles, last]


@malloc.reusing_freed_memory()
def distil(
    teacher: Architecture,
    layers: Sequence[int],
    lessons: Lessons,
    settings: DistillSection,
    *,
    seed: int,
    state: Path,
    key: str,
    pad_token_id: int,
    progress: Progress = SILENT,
) -> Distilled:
    """Train a student. What was interrupted goes on from `state`, if that was written under the same `key`.

    The result is deterministic on a machine, however often it was interrupted.

    Raises:
        TrainingInterrupted: a signal stopped the training; its state is saved.
        ExportError: the loss is not finite.
    """
    limit_threads(available_cores())
    with torch.device("cpu"), torch.enable_grad():  # whatever a program made the default
        student = Student(teacher, layers)
        for block in student.blocks[: settings.shared_by(len(layers))]:
            block.requires_grad_(False)
        bf16 = opening.is_bf16_faster()
        training = _Training(student, lessons, settings, seed=seed, pad_token_id=pad_token_id, bf16=bf16)
        resumed = _run(training, state, f"{key} {'bf16' if bf16 else 'fp32'}", len(layers), progress)
    if not math.isfinite(training.loss):
        raise ExportError(
            f"distillation failed: its loss is {training.loss}. Try a lower rate: --set distill.learning_rate="
            f"{settings.learning_rate / 4:g}"
        )
    return Distilled(training.student.architecture(), training.steps, training.seconds, training.loss, resumed)


def _run(training: _Training, state: Path, key: str, layers: int, progress: Progress) -> int:
    """All steps that are still to come. Returns the step that they went on from."""
    resumed, saved = training.resume(state, key), time.perf_counter()
    what = f"distill: {layers} layer{'s' if layers > 1 else ''}"
    with StopOnSignal() as stop, progress.count(what, training.steps, "steps", done=resumed) as advance:
        for batch in training.batches():
            training.learn(batch)
            advance(1, f"loss {training.loss:.3f}")
            done = training.step == training.steps
            if stop.requested or done or time.perf_counter() - saved > _SAVE_SECONDS:
                training.save(state, key)
                saved = time.perf_counter()
            if stop.requested:
                raise TrainingInterrupted(
                    f"distillation was stopped after step {training.step} of {training.steps}; its state is saved in "
                    f"{state.parent}. The same command continues from there."
                )
    return resumed


class _Training:
    """Student, optimizer, and where it is."""

    def __init__(
        self,
        student: Student,
        lessons: Lessons,
        settings: DistillSection,
        *,
        seed: int,
        pad_token_id: int,
        bf16: bool,
    ) -> None:
        self.student, self.lessons = student, lessons
        self.targets = torch.from_numpy(lessons.logits)
        self.pad_token_id = pad_token_id
        self.sampler = EpochSampler(
            [len(t.ids) for t in lessons.tokens], batch_size=settings.batch_size, seed=seed, group=True
        )
        self.per_epoch = math.ceil(len(lessons.tokens) / settings.batch_size)
        self.steps = max(1, min(settings.max_steps, round(self.per_epoch * settings.epochs)))
        self.parameters = {name: p for name, p in student.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=settings.learning_rate, weight_decay=_WEIGHT_DECAY, fused=True
        )
        self.highest_rate = settings.learning_rate
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
        self.step, self.seconds, self.loss = 0, 0.0, math.nan

    def batches(self) -> Iterator[list[int]]:
        """Positions of the texts of each step that is still to come."""
        size = self.sampler.batch_size
        while self.step < self.steps:
            epoch, done = divmod(self.step, self.per_epoch)
            self.sampler.set_epoch(epoch)
            order = list(self.sampler)
            for start in range(done * size, len(order), size):
                if self.step >= self.steps:
                    return
                yield order[start : start + size]

    def learn(self, positions: Sequence[int]) -> None:
        """One optimizer step."""
        begin = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.highest_rate * self._share_of_rate()
        batch = padded([self.lessons.tokens[i] for i in positions], self.pad_token_id)
        with self.autocast:
            logits = self.student(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask).float())
        loss = torch.nn.functional.mse_loss(logits.float(), self.targets[list(positions)])
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), _LARGEST_GRADIENT)
        self.optimizer.step()
        malloc.bound()
        value = float(loss.detach())
        self.loss = value if math.isnan(self.loss) else (1.0 - _SMOOTHING) * self.loss + _SMOOTHING * value
        self.step += 1
        self.seconds += time.perf_counter() - begin

    def _share_of_rate(self) -> float:
        """It rises linearly, then falls linearly to 0."""
        warmup = max(1, round(_WARMUP * self.steps))
        return min((self.step + 1) / warmup, (self.steps - self.step) / max(1, self.steps - warmup), 1.0)

    def save(self, path: Path, key: str) -> None:
        """Weights, moments of the optimizer, and the position; no pickle."""
        tensors = {f"weight.{name}": p.detach() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}.{name}"] = self.optimizer.state[p][moment]
        where = {"key": key, "position": json.dumps([self.step, self.seconds, self.loss])}
        atomic.write_bytes(path, save(tensors, metadata=where))

    def resume(self, path: Path, key: str) -> int:
        """Go on from a saved state of the same training. Returns the step that it had reached, else 0."""
        if not path.is_file():
            return 0
        try:
            return self._resume(path, key)
        except (SafetensorError, KeyError, ValueError):  # a damaged file is no state
            return 0

    def _resume(self, path: Path, key: str) -> int:
        with safe_open(path, framework="pt") as stored:
            where = stored.metadata() or {}
            if where.get("key") != key:
                return 0
            self.step, self.seconds, self.loss = json.loads(where["position"])
            for name, p in self.parameters.items():
                p.data.copy_(stored.get_tensor(f"weight.{name}"))
                moments = {m: stored.get_tensor(f"{m}.{name}").clone() for m in ("exp_avg", "exp_avg_sq")}
                self.optimizer.state[p] = {"step": torch.tensor(float(self.step)), **moments}
        return self.step
