"""Training as sentopt does it against the way of the examples, at equal data, epochs and hyperparameters, in one run.

    SENTOPT_DATA_DIR=... python benchmarks/training.py [--texts N] [--rounds N] [DATASET ...]

The example's way is the plain Trainer: FP32, PyTorch's default attention, dropout everywhere, batches in random order,
short texts padded to 128 tokens and reviews to the longest of their batch. sentopt's way is the recipe
`<dataset>-minilm` without its adversarial pass, which is another objective and not another way. Both train the same
MiniLM on the same texts, in turns, each in a process of its own. Prints a Markdown table: medians of texts per second
and seconds (steps alone, optimizer included), peak memory of the process, accuracy on 1,000 test texts with its 95 %
interval (Wilson 1927).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sentopt import recipe as recipes
from sentopt.data import sources
from sentopt.data.splits import CleanData, clean
from sentopt.measure.stats import wilson_interval
from sentopt.recipe import Recipe

RECIPES = {"sst2": "sst2-minilm", "tweets": "tweets-minilm", "imdb": "imdb-8k-minilm"}
SHARE = {"imdb": 0.2}  # reviews are twenty times as long
PADDED = {"sst2": 128, "tweets": 128}
WAYS = ("example", "sentopt")
TEST_TEXTS = 1_000


def main() -> None:
    """Train everything in turns and print the table; with --way, train once and print what was measured as JSON."""
    arguments = _arguments()
    if arguments.way:
        print(json.dumps(_train(arguments.way, arguments.datasets[0], arguments.texts)))
        return
    print("| dataset | texts | way | texts/s | times | seconds | peak MiB | test accuracy | 95 % interval |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---|")
    for dataset in arguments.datasets:
        texts = int(arguments.texts * SHARE.get(dataset, 1.0))
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(arguments.rounds):
            for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                found[way].append(_in_own_process(way, dataset, texts))
        for way in WAYS:
            print(_row(dataset, texts, way, found), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=list(RECIPES), metavar="DATASET")
    parser.add_argument("--texts", type=int, default=1_600, help="training texts; a fifth of it for imdb")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_own_process(way: str, dataset: str, texts: int) -> dict[str, float]:
    command = [sys.executable, __file__, dataset, "--way", way, "--texts", str(texts)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{dataset} {way}: {measured['texts_per_second']:.1f} texts/s", file=sys.stderr)
    return measured


def _row(dataset: str, texts: int, way: str, found: dict[str, list[dict[str, float]]]) -> str:
    def median(of: str, key: str) -> float:
        return statistics.median(measured[key] for measured in found[of])

    right = round(statistics.median(m["right"] for m in found[way]))
    low, high = wilson_interval(right, TEST_TEXTS, 0.95)
    speed = median(way, "texts_per_second")
    return (
        f"| {dataset} | {texts} | {way} | {speed:.1f} | {speed / median(WAYS[0], 'texts_per_second'):.2f} "
        f"| {median(way, 'seconds'):.1f} | {median(way, 'peak_mib'):.0f} | {right / TEST_TEXTS:.3f} "
        f"| {low:.3f} to {high:.3f} |"
    )


def _train(way: str, dataset: str, texts: int) -> dict[str, float]:
    from sentopt.backends.torch import TorchEngine
    from sentopt.measure.memory import peak_bytes
    from sentopt.runtime.classifier import Classifier
    from sentopt.training import checkpoints
    from sentopt.training.fit import make_deterministic

    recipe = _recipe(dataset, texts)
    make_deterministic(recipe.run.seed)
    data = clean(sources.load(recipe.data), recipe.data, seed=recipe.run.seed)
    with tempfile.TemporaryDirectory() as folder:
        if way == "example":
            model, tokenizer, seconds, seen = _as_example(recipe, data, Path(folder), PADDED.get(dataset))
        else:
            model, tokenizer, seconds, seen = _as_sentopt(recipe, data, Path(folder))
        checkpoints.save(model, tokenizer, Path(folder) / "checkpoint")
        engine = TorchEngine.load(Path(folder) / "checkpoint")
        peak = peak_bytes()
    test = data.splits["test"]
    encoder = checkpoints.encoder_of(tokenizer, recipe.model.max_length)
    answers = Classifier(engine, encoder, data.labels).logits([e.text for e in test])
    right = sum(int(a) == e.label for a, e in zip(answers.argmax(axis=1), test, strict=True))
    return {"seconds": seconds, "texts_per_second": seen / seconds, "peak_mib": peak / 2**20, "right": right}


def _recipe(dataset: str, texts: int) -> Recipe:
    recipe = recipes.load(RECIPES[dataset])
    data = dataclasses.replace(recipe.data, train_limit=texts, validation_limit=100, test_limit=TEST_TEXTS)
    train = dataclasses.replace(recipe.train, epochs=1.0, eval_strategy="epoch", adversarial=0.0)
    return dataclasses.replace(recipe, data=data, train=train)


def _as_sentopt(recipe: Recipe, data: CleanData, folder: Path) -> tuple[Any, Any, float, float]:
    from sentopt import backbones
    from sentopt.training import checkpoints
    from sentopt.training.fit import fit

    backbone = backbones.resolve(recipe.model.backbone)
    tokenizer = checkpoints.load_tokenizer(backbone, recipe.model.max_length)
    model = checkpoints.load_untuned(backbone, data.labels, tokenizer, recipe.train)
    splits = data.splits
    fitted = fit(recipe, folder / "trainer", model, tokenizer, splits["train"], splits["validation"], resume_key="-")
    steps = fitted.steps
    return fitted.model, tokenizer, steps.seconds, steps.seconds * steps.samples_per_second


def _as_example(recipe: Recipe, data: CleanData, folder: Path, padded: int | None) -> tuple[Any, Any, float, float]:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from sentopt import backbones
    from sentopt.training.callbacks import StepClock
    from sentopt.training.fit import encode

    backbone = backbones.resolve(recipe.model.backbone)
    tokenizer = AutoTokenizer.from_pretrained(backbone, model_max_length=padded or recipe.model.max_length)
    model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=len(data.labels))
    clock = StepClock()
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=1,
        per_device_train_batch_size=recipe.train.batch_size,
        learning_rate=recipe.train.learning_rate,
        weight_decay=recipe.train.weight_decay,
        warmup_ratio=recipe.train.warmup_ratio,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=recipe.run.seed,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encode(tokenizer, data.splits["train"], padding="max_length" if padded else False),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    return model, tokenizer, clock.seconds, float(len(data.splits["train"]))


if __name__ == "__main__":
    main()
