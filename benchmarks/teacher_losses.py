"""What the parts of the loss of a training with a teacher give: its weight, its temperature, hidden states.

    python benchmarks/teacher_losses.py RUN_DIR [--weights W ...] [--temperatures T ...] [--hidden H ...] [--alone]

RUN_DIR is a run of single texts that was trained with a teacher. Its recipe is trained again as it is, then with each
of the values in place of its own, with the same texts, answers and seed; with `--alone` without the teacher, and
without the texts that only a teacher answers. Printed is a row of Markdown for each training as soon as it is there:
steps, accuracy on the validation and the test split, the latter with its 95 % interval, and what changed against the
first row on the same test texts, with one-sided limits of 95 %. They are about these texts: another seed gives another
model. Choose by the validation split. Nothing in RUN_DIR is changed.

`--hidden` adds a loss on hidden states with this weight: one minus the cosine between the teacher's last hidden state
of the first token and a learned linear map of the model's (Jiao et al., "TinyBERT: Distilling BERT for Natural Language
Understanding", 2020, has a learned map and a squared difference). The only teacher must be a run, and the heads of both
must read the first token. Gradients are clipped together with those of the map.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sentopt import backbones, recipe
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.graph import families
from sentopt.measure.stats import paired_non_inferiority, wilson_interval
from sentopt.progress import SILENT
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir
from sentopt.runtime import batching
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints, fit, soft_labels
from sentopt.training.soft_labels import SoftLabels
from sentopt.training.teacher_loss import TeacherLoss

_TEXTS, _TOKENS = 64, 4096  # of a batch
_Right = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Trained:
    """Whether each text of the validation and of the test split was answered correctly, after how many steps."""

    validation: _Right
    test: _Right
    steps: int


def train(settings: Recipe, run_dir: RunDir, answers: SoftLabels | None, hidden: float, states: FloatArray) -> Trained:
    """One training. `states` are the teacher's hidden states of the texts that are learned, if `hidden` is not 0."""
    fit.make_deterministic(settings.run.seed)
    source = backbones.resolve(settings.model.backbone, settings.model.revision)
    tokenizer = checkpoints.load_tokenizer(source, settings.model.max_length)
    labels = store.read_labels(run_dir)
    splits = [store.read_split(run_dir, split) for split in ("train", "validation", "test")]
    model = checkpoints.load_untuned(source, labels, tokenizer, settings.train)
    if hidden and answers:
        answers = replace(answers, logits=np.concatenate([answers.logits, states], axis=1))
    with tempfile.TemporaryDirectory() as folder, learning_states(model, hidden, states.shape[1], len(labels)):
        fitted = fit.fit(
            settings,
            Path(folder) / "run" / "trainer",
            model,
            tokenizer,
            *splits[:2],
            soft_labels=answers,
            resume_key="",
            progress=SILENT,
        )
    encoder = checkpoints.encoder_of(tokenizer, settings.model.max_length)
    classifier = Classifier(TorchEngine(fitted.model), encoder, labels)
    right = [classifier.logits(list(split.texts)).argmax(axis=1) == split.labels for split in splits[1:]]
    return Trained(*right, steps=fitted.steps.steps)


@contextmanager
def learning_states(model: Any, weight: float, width: int, labels: int) -> Iterator[None]:
    """In this context the loss with a teacher has a part on hidden states, which stand behind the teacher's logits."""
    if not weight:
        yield
        return
    with torch.random.fork_rng():  # dropout draws what it draws without the map
        model.state_map = torch.nn.Linear(model.config.hidden_size, width)
    seen: list[torch.Tensor] = []
    hook = model.base_model.register_forward_hook(
        lambda module, given, output: seen.append(output[0][:, 0]) if module.training else None
    )
    of_logits = TeacherLoss.of

    def with_states(
        self: TeacherLoss, logits: torch.Tensor, truth: torch.Tensor, answers: torch.Tensor, **more: Any
    ) -> torch.Tensor:
        mapped = model.state_map(seen[-1].float())
        apart = 1.0 - torch.nn.functional.cosine_similarity(mapped, answers[:, labels:].float())
        seen.clear()
        return of_logits(self, logits, truth, answers[:, :labels], **more) + weight * apart.mean()

    TeacherLoss.of = with_states  # type: ignore[method-assign]
    try:
        yield
    finally:
        TeacherLoss.of = of_logits  # type: ignore[method-assign]
        hook.remove()


def teacher_states(settings: Recipe, run_dir: RunDir, answers: SoftLabels) -> FloatArray:
    """The teacher's last hidden states of the first token, float32 of shape (learned texts, hidden size)."""
    from transformers import AutoModel

    checkpoint = _teacher_checkpoint(settings)
    teacher = AutoModel.from_pretrained(checkpoint).eval()
    encoder = TextEncoder.load(checkpoint, max_length=settings.model.max_length)
    tokens = encoder.encode([*store.read_split(run_dir, "train").texts, *answers.texts])
    states = np.zeros((len(tokens), teacher.config.hidden_size), dtype=np.float32)
    for chosen in batching.by_length([len(t.ids) for t in tokens], max_batch=_TEXTS, max_tokens=_TOKENS):
        batch = encoder.pad([tokens[i] for i in chosen])
        ids, mask = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = teacher(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        states[chosen] = found.float().numpy()
    return states


def _teacher_checkpoint(settings: Recipe) -> Path:
    (name, *others) = settings.train.teacher
    checkpoint = RunDir(Path(name)).checkpoint
    if others or not checkpoint.is_dir():
        sys.exit(f"--hidden: expected one teacher that is a run, found {', '.join(settings.train.teacher)}")
    for folder in (checkpoint, backbones.resolve(settings.model.backbone, settings.model.revision)):
        if families.reads_last(folder):
            sys.exit(f"--hidden: the head of {folder} reads the last token")
    return checkpoint


def row(name: str, trained: Trained, first: Trained) -> str:
    """A line of the table: accuracies, and what changed on the test split against the first training."""
    compared = paired_non_inferiority(first.test, trained.test, margin=0.01, confidence=0.95)
    low, high = wilson_interval(int(trained.test.sum()), compared.n, 0.95)
    cells = [
        name,
        f"{trained.steps:,}",
        f"{trained.validation.mean():.4f}",
        f"{trained.test.mean():.4f} ({low:.3f}-{high:.3f})",
    ]
    if trained is first:
        return "| " + " | ".join([*cells, "", ""]) + " |"
    changed = f"{100 * compared.difference:+.2f} ({compared.gained} gained, {compared.lost} lost)"
    limits = f"{100 * compared.lower:+.2f} to {100 * compared.upper:+.2f}"
    return "| " + " | ".join([*cells, changed, limits]) + " |"


def variations(settings: Recipe, options: argparse.Namespace) -> Mapping[str, tuple[Recipe, float]]:
    """By name, the recipe of each training and the weight of its hidden states; the recipe as it is comes first."""
    own = settings.train
    found = {f"weight {own.teacher_weight:g}, temperature {own.teacher_temperature:g}": (settings, 0.0)}
    for weight in options.weights:
        found[f"weight {weight:g}"] = (replace(settings, train=replace(own, teacher_weight=weight)), 0.0)
    for temperature in options.temperatures:
        changed = replace(own, teacher_temperature=temperature)
        found[f"temperature {temperature:g}"] = (replace(settings, train=changed), 0.0)
    return {**found, **{f"hidden states, weight {weight:g}": (settings, weight) for weight in options.hidden}}


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description="Parts of the loss of a training with a teacher.")
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("--weights", type=float, nargs="*", default=(), metavar="W")
    parser.add_argument("--temperatures", type=float, nargs="*", default=(), metavar="T")
    parser.add_argument("--hidden", type=float, nargs="*", default=(), metavar="H")
    parser.add_argument("--alone", action="store_true", help="also without the teacher")
    options = parser.parse_args()
    run_dir = RunDir(options.run)
    if not run_dir.soft_labels.is_dir() or store.are_pairs(run_dir):
        sys.exit(f"{options.run}: expected a run of single texts that was trained with a teacher (train.teacher)")
    settings, answers = recipe.load(str(run_dir.recipe)), soft_labels.read(run_dir.soft_labels)
    texts = len(store.read_split(run_dir, "train"))
    print(f"{options.run.name}: {texts:,} training texts, {len(answers.texts):,} without a label\n")
    print("| loss | steps | validation | test (95 % interval) | points against the first row | one-sided limits |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    states = teacher_states(settings, run_dir, answers) if options.hidden else np.zeros((0, 0), dtype=np.float32)
    first = None
    for name, (changed, hidden) in variations(settings, options).items():
        trained = train(changed, run_dir, answers, hidden, states)
        first = first or trained
        print(row(name, trained, first), flush=True)
    if options.alone and first is not None:
        alone = replace(settings, train=replace(settings.train, teacher=()))
        print(row("labels alone", train(alone, run_dir, None, 0.0, states), first), flush=True)


if __name__ == "__main__":
    main()
