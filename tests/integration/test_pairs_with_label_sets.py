"""Pairs of texts that have any number of labels: both kinds of model at once."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from csv_files import write_csv

from sentopt import Classifier, cli
from sentopt.data import store
from sentopt.run_dir import RunDir
from sentopt.runtime.description import read_description

NAMES = ("bad", "good")
TELLING = {"bad": "terrible", "good": "great"}


def rows(split: str, count: int) -> list[tuple[str, ...]]:
    draw = random.Random(split)
    made = []
    for i in range(count):
        held = [name for name in NAMES if draw.random() < 0.5]
        aspect = " ".join(TELLING[name] for name in held for _ in range(3))
        made.append((f"the {split} {i}", aspect, *(str(int(name in held)) for name in NAMES)))
    return made


def test_from_a_table_to_the_bundle(backbone: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split, count in (("train", 240), ("validation", 80), ("test", 160)):
        write_csv(data / f"{split}.csv", rows(split, count), ("text", "aspect", *NAMES))
    settings = [
        "data.pair_column=aspect",
        f"data.label_columns={json.dumps(NAMES)}",
        *("train.epochs=6", "train.learning_rate=0.005", "train.precision=fp32", "train.batch_size=8"),
        *("model.max_length=32", "verify.margin=5", "verify.recall_margin=15", "verify.max_changed=15"),
        *("bench.rounds=1", "bench.texts=3", "bench.throughput_texts=10", "bench.grid=[[1, 8]]"),
        *("export.variants=['torch', 'lean-fp32', 'lean-int8']", "verify.cpu_texts=0"),
    ]
    given = [argument for setting in settings for argument in ("--set", setting)]
    root = tmp_path / "run"
    assert cli.main(["run", "--data", str(data), "--model", str(backbone), *given, "--run-dir", str(root)]) == 0

    run, described = RunDir(root), read_description(root / "bundle")
    assert described.pair == ("text", "aspect")
    assert len(described.thresholds) == 2
    assert {type(golden.text) for golden in described.golden} == {tuple}
    line = json.loads((root / "data" / "test.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert line.keys() == {"text", "pair", "labels"}
    classifier = Classifier.load(run.bundle, check=True)
    texts = store.read_split(run, "test").texts
    found = [sum(1 << NAMES.index(label) for label in p.labels) for p in classifier.predict(texts)]
    reference = store.read_decision(run).answers(np.load(run.reference))
    assert np.mean(np.array(found) == reference) > 0.95
    assert "aspect" in (root / "report.md").read_text(encoding="utf-8")
