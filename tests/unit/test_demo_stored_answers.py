"""The stored answers of a run, as the page lists them."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import kinds_of_bundles
import mistaken_runs
import numpy as np
import pytest

from sentopt.demo import selection
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.selection import Filters
from sentopt.demo.stored_answers import StoredAnswers
from sentopt.errors import InputError, RunDirError
from sentopt.manifest import artefacts
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier


def opened(run: Path) -> tuple[RunFacts, Classifier]:
    classifier = Classifier.load(run / "bundle")
    assert classifier.description
    facts = RunFacts.of(run / "bundle", classifier.description.variant)
    assert facts
    return facts, classifier


def stored(run: Path) -> StoredAnswers:
    return StoredAnswers(*opened(run))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def mistaken_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("mistaken") / "tiny")
    mistaken_runs.make(run)
    return run


def recorded(facts: RunFacts, stage: str, *paths: Path, **result: object) -> RunFacts:
    """The run after a stage wrote these files, with changes of its result."""
    entry = facts.manifest.stages[stage]
    names = {path.relative_to(facts.run_dir.root).as_posix() for path in paths}
    outputs = tuple(a for a in entry.outputs if a.path not in names) + artefacts(facts.run_dir.root, paths)
    changed = dataclasses.replace(entry, outputs=outputs, result={**entry.result, **result})
    return dataclasses.replace(facts, manifest=facts.manifest.with_stage(stage, changed))


def test_the_variant_that_ships_comes_first_and_pytorch_last(finished_run: Path) -> None:
    names = stored(finished_run).variants()
    assert names[0] == json.loads((finished_run / "bundle" / "sentopt.json").read_text())["variant"]
    assert names[-1] == "torch"
    assert sorted(names) == sorted(["torch", "onnx-fp32", "onnx-int8", "lean-fp32", "lean-int8"])


def test_wrong_answers_are_those_of_mistakes_csv(mistaken_run: Path) -> None:
    answers = stored(mistaken_run)
    shipped = answers.variants()[0]
    expected = read(RunDir(mistaken_run).mistakes(shipped))
    assert len(expected) > 10
    given = answers.of(shipped)
    listed = selection.select(given, Filters("wrong"))
    assert given.rows[listed].tolist() == [int(row["row"]) for row in expected]
    assert given.tokens[listed].tolist() == [int(row["tokens"]) for row in expected]
    assert answers.texts(given.rows[listed].tolist()) == [row["text"] for row in expected]
    assert [f"{s:.4f}" for s in given.answered.own.scores[listed]] == [row["score"] for row in expected]
    doubtful = selection.select(given, Filters("doubtful"))
    assert 4 <= len(doubtful) < len(expected)
    assert given.rows[doubtful].tolist() == [int(row["row"]) for row in expected if row["doubtful"]]


def test_lost_and_gained_are_those_of_flips_csv(mistaken_run: Path) -> None:
    answers = stored(mistaken_run)
    shipped = answers.of(answers.variants()[0]).answered
    assert (shipped.lost.sum(), shipped.gained.sum()) == (len(mistaken_runs.LOST), len(mistaken_runs.GAINED))
    for name in answers.variants()[:-1]:
        flips = read(RunDir(mistaken_run).flips(name))
        given = answers.of(name)
        for kind, column in (("lost", "pytorch"), ("gained", "variant")):
            rows = {int(flip["row"]) for flip in flips if flip[column] == flip["label"]}
            assert set(given.rows[selection.select(given, Filters(kind))].tolist()) == rows  # type: ignore[arg-type]


def test_the_confusions_are_those_that_were_verified(mistaken_run: Path) -> None:
    answers = stored(mistaken_run)
    verdicts = json.loads((mistaken_run / "run.json").read_text())["stages"]["verify"]["result"]["verdicts"]
    for verdict in verdicts:
        if verdict["variant"] in answers.variants():
            counts, of = selection.confusion(answers.of(verdict["variant"]), Filters("all"))
            assert counts.tolist() == verdict["scores"]["confusion"]
            assert of.tolist() == [c["support"] for c in verdict["scores"]["per_class"]]


def test_repeats_are_listed_once(run_copy: Path) -> None:
    run_dir = RunDir(run_copy)
    lines = run_dir.split("test").read_text().splitlines()
    first = json.loads(lines[4])
    lines[5] = json.dumps({**first, "text": first["text"].upper()})
    run_dir.split("test").write_text("\n".join(lines) + "\n")
    facts, classifier = opened(run_copy)
    facts = recorded(facts, "prepare", run_dir.split("test"))
    answers = StoredAnswers(recorded(facts, "verify", verdicts=[]), classifier)
    given = answers.of("torch")
    assert len(given.rows) == 119
    assert 6 not in given.rows.tolist()
    assert answers.texts([7, 5]) == [json.loads(lines[6])["text"], first["text"]]


def test_answers_that_were_not_verified_are_not_shown(run_copy: Path) -> None:
    facts, classifier = opened(run_copy)
    shipped, *_ = StoredAnswers(facts, classifier).variants()
    path = RunDir(run_copy).answers(shipped)
    logits = np.load(path)
    for changed in (np.concatenate([-logits[:1], logits[1:]]), logits[:50]):
        np.save(path, changed)
        with pytest.raises(RunDirError, match="are not those that were verified"):
            StoredAnswers(recorded(facts, "verify", path), classifier).of(shipped)


@pytest.mark.parametrize("name", ["data/test.jsonl", "data/labels.json", "reference.npy", "variants/{}/answers.npy"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_what_is_missing_or_changed_is_named(run_copy: Path, name: str, damage: str) -> None:
    answers = stored(run_copy)
    shipped = answers.variants()[0]
    path = run_copy / name.format(shipped)
    path.write_bytes(path.read_bytes() + b"\n") if damage == "changed" else path.unlink()
    with pytest.raises(RunDirError) as raised:
        answers.of(shipped)
    assert f"`{name.format(shipped)}`" in str(raised.value)
    assert "start the demo again" in str(raised.value)
    assert str(run_copy) not in str(raised.value)


def test_other_variants_are_listed_where_one_file_is_missing(run_copy: Path) -> None:
    answers = stored(run_copy)
    first, *_ = answers.variants()
    RunDir(run_copy).answers(first).unlink()
    assert len(answers.of("torch").rows) == 120


def test_a_test_split_that_changes_while_the_demo_runs_is_noticed(run_copy: Path) -> None:
    answers = stored(run_copy)
    answers.of("torch")
    with (run_copy / "data" / "test.jsonl").open("a") as stream:
        stream.write(json.dumps({"text": "not of this run", "label": 0}) + "\n")
    with pytest.raises(RunDirError, match=r"data/test\.jsonl"):
        answers.texts([1])
    with pytest.raises(RunDirError, match=r"data/test\.jsonl"):
        answers.of("torch")


def test_answers_that_are_no_numbers_are_not_listed(run_copy: Path) -> None:
    facts, classifier = opened(run_copy)
    shipped, *_ = StoredAnswers(facts, classifier).variants()
    path = RunDir(run_copy).answers(shipped)
    logits = np.load(path)
    logits[3] = np.nan
    np.save(path, logits)
    with pytest.raises(RunDirError, match="gives no numbers"):
        StoredAnswers(recorded(facts, "verify", path), classifier).of(shipped)


def test_nothing_is_read_before_it_is_asked_for(run_copy: Path) -> None:
    (run_copy / "data" / "test.jsonl").unlink()
    (run_copy / "reference.npy").unlink()
    assert stored(run_copy).variants()[-1] == "torch"


def test_too_much_text_is_refused(finished_run: Path) -> None:
    answers = stored(finished_run)
    rows = answers.of("torch").rows.tolist()
    with pytest.raises(InputError, match="more than 100 characters"):
        answers.texts(rows, most=100)
    assert len(answers.texts(rows, most=10**6)) == 120


def test_answers_of_a_multi_label_run_are_sets(run_copy: Path) -> None:
    """As the stages write one: `labels` are positions, and a verdict counts texts whose labels are all right."""
    run_dir, bundle = RunDir(run_copy), kinds_of_bundles.multi_label(run_copy / "bundle", run_copy / "sets")
    rows = [json.loads(line) for line in run_dir.split("test").read_text().splitlines()]
    truth = [{row["label"], *([0] if i % 7 == 0 else [])} if i % 5 else set() for i, row in enumerate(rows)]
    lines = [json.dumps({"text": row["text"], "labels": sorted(own)}) for row, own in zip(rows, truth, strict=True)]
    run_dir.split("test").write_text("\n".join(lines) + "\n")
    classifier = Classifier.load(bundle)
    variant = json.loads((bundle / "sentopt.json").read_text())["variant"]
    facts = RunFacts.of(bundle, variant)
    assert facts

    def given(path: Path) -> list[set[int]]:
        probabilities = 1 / (1 + np.exp(-np.load(path)))
        return [{i for i, p in enumerate(row) if p >= kinds_of_bundles.THRESHOLDS[i]} for row in probabilities]

    own, reference = given(run_dir.answers(variant)), given(run_dir.reference)
    right = [a == b for a, b in zip(own, truth, strict=True)]
    verdicts = facts.manifest.stages["verify"].result["verdicts"]
    changed = [
        {
            **verdict,
            "agreement": float(np.mean([a == b for a, b in zip(own, reference, strict=True)])),
            "scores": {**verdict["scores"], "accuracy": float(np.mean(right)), "confusion": []},
        }
        for verdict in verdicts
    ]
    facts = recorded(facts, "prepare", run_dir.split("test"))
    answers = StoredAnswers(recorded(facts, "verify", verdicts=changed), classifier).of(variant)
    listed = selection.select(answers, Filters("wrong"))
    assert 0 < len(listed) < len(rows)
    assert sorted(listed.tolist()) == [i for i, is_right in enumerate(right) if not is_right]
    code = int(answers.answered.truth[7])
    assert answers.name(code) == ", ".join(classifier.labels[i] for i in sorted(truth[7]))
    with pytest.raises(RunDirError, match="are not those that were verified"):
        StoredAnswers(facts, classifier).of(variant)
