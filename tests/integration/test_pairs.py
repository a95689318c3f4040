"""Pairs of texts from a table to a bundle that answers pairs."""

import csv
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pair_data
import pytest
from tokenizers import Tokenizer, processors

import sentopt
from sentopt import Classifier, cli, manifest
from sentopt.backends.opening import Candidate
from sentopt.bundles import card
from sentopt.data import store
from sentopt.errors import BackboneError, DataError, InputError, OutputError
from sentopt.report import answers, sections
from sentopt.results import (
    ChangedAnswer,
    ChangedAnswers,
    Confidence,
    ExamineResult,
    ExportResult,
    PrepareResult,
    QuantizeResult,
    TeachResult,
    TrainResult,
    VerifyResult,
    WrongAnswer,
)
from sentopt.run_dir import RunDir
from sentopt.runtime.description import read_description
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints, hints, soft_labels
from sentopt.variants import VARIANTS

PAIRS = ["--set", "data.pair_column=aspect", "--set", "train.epochs=12"]


@pytest.fixture(scope="module")
def paired_options(tmp_path_factory: pytest.TempPathFactory, tiny_options: list[str]) -> list[str]:
    """Command-line options of a run on pairs that takes seconds."""
    return ["--data", str(pair_data.write(tmp_path_factory.mktemp("aspects"))), *tiny_options[2:], *PAIRS]


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory, paired_options: list[str]) -> RunDir:
    """A finished run on pairs. Do not change it."""
    root = tmp_path_factory.mktemp("exports") / "pairs"
    assert cli.main(["run", *paired_options, "--run-dir", str(root)]) == 0
    return RunDir(root)


def result(run_dir: RunDir, stage: str, kind: type[Any]) -> Any:
    return manifest.read(run_dir.manifest).result(stage, kind)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_ends_in_a_bundle_that_both_answerspairs(paired: RunDir) -> None:
    classifier = Classifier.load(paired.bundle, check=True)
    examples = store.read_split(paired, "test")
    answers = [classifier.labels.index(answer.label) for answer in classifier.predict(examples.texts)]
    assert np.mean(np.array(answers) == examples.labels) > 0.9
    with pytest.raises(InputError, match=r"expected a pair of texts, \(str, str\)"):
        classifier.predict(["alone"])
    with pytest.raises(InputError, match=r"expected one pair of texts.*found several; for many pairs use predict"):
        classifier([("a text", "an aspect")])  # type: ignore[arg-type]


def test_the_splits_are_stored_as_pairs(paired: RunDir) -> None:
    rows = pair_data.rows(120, "test")
    test = store.read_split(paired, "test")
    assert list(test.texts) == [(text, aspect) for text, aspect, _ in rows]
    assert test.texts.take([5, 2])[1] == rows[2][:2]
    assert store.read_pair(paired) == ("text", "aspect")
    assert result(paired, "prepare", PrepareResult).counts["train"] == dict.fromkeys(pair_data.TELLING, 80)


def test_the_bundle_names_both_texts_and_has_golden_pairs(paired: RunDir) -> None:
    description = Classifier.load(paired.bundle).description
    assert description is not None
    assert (description.pair, description.facts["schema_version"]) == (("text", "aspect"), 3)
    known = set(store.read_split(paired, "test").texts)
    assert description.golden
    assert all(golden.text in known for golden in description.golden)
    assert set(description.facts["golden"][0]) == {"text", "pair", "probabilities"}


@pytest.mark.parametrize("variant", ["lean-fp32", "lean-int8"])
def test_lean_graphs_take_the_types_of_tokens(paired: RunDir, variant: str) -> None:
    session = OnnxSession(paired.model(variant))
    assert list(session.inputs) == ["input_ids", "attention_mask", "token_type_ids"]


def test_every_graph_has_the_logits_of_pytorch_on_pairs(paired: RunDir) -> None:
    checks = result(paired, "export", ExportResult).checks
    assert {check.variant for check in checks} == {"onnx-fp32", "lean-fp32"}
    assert all(check.max_logit_difference < 1e-4 for check in checks)


def test_every_variant_is_verified_on_the_pairs(paired: RunDir) -> None:
    verified = result(paired, "verify", VerifyResult)
    assert verified.texts == 120
    assert {v.variant: v.passed for v in verified.verdicts} == dict.fromkeys(
        ("torch", "onnx-fp32", "onnx-int8", "lean-fp32", "lean-int8"), True
    )
    trained = result(paired, "train", TrainResult)
    assert all(sample.pair for sample in trained.samples)


def test_mistakes_and_flips_have_a_column_for_the_second_text(paired: RunDir) -> None:
    for variant in ("lean-int8", "onnx-int8"):
        header = paired.flips(variant).read_text(encoding="utf-8").splitlines()[0]
        assert header.endswith(",text,pair")
    examined = result(paired, "examine", ExamineResult)
    mistakes = paired.mistakes(examined.variant).read_text(encoding="utf-8").splitlines()
    assert mistakes[0].endswith(",text,pair")
    assert len(mistakes) == examined.wrong_texts + 1


@pytest.mark.parametrize("variant", ["lean-fp32", "lean-int8"])
def test_the_answer_depends_on_both_texts_and_not_on_what_shares_the_batch(paired: RunDir, variant: str) -> None:
    # Not what ships: that may be dynamic INT8, which has one scale for a whole batch.
    classifier = Candidate.of(VARIANTS[variant], paired, store.read_labels(paired), 48).open()
    pairs = [("the room", "great great"), ("the room", "terrible terrible"), ("a much longer sentence " * 3, "the the")]
    alone = np.concatenate([classifier.predict_proba([pair]) for pair in pairs])
    assert np.abs(classifier.logits(pairs, batch_size=3) - classifier.logits(pairs, batch_size=1)).max() < 1e-4
    assert [classifier.labels[i] for i in alone.argmax(axis=1)] == ["positive", "negative", "neutral"]


def test_predict_takes_both_texts_in_turn(paired: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["predict", "--run-dir", str(paired.root)]
    assert cli.main([*run, "the room", "great great", "the room", "terrible terrible"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(label, *texts) for label, _, *texts in lines] == [
        ("positive", "the room", "great great"),
        ("negative", "the room", "terrible terrible"),
    ]
    assert cli.main([*run, "--json", "the room", "great great"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["text"], answer["pair"], answer["label"]) == ("the room", "great great", "positive")
    assert cli.main([*run, "the room"]) == 1
    assert "give both texts of each pair" in capsys.readouterr().err


def test_predict_reads_pairs_with_a_tab_between_them(
    paired: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("the room\tgreat great\nthe room\tterrible terrible\n"))
    assert cli.main(["predict", "--run-dir", str(paired.root)]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["positive", "negative"]
    monkeypatch.setattr("sys.stdin", io.StringIO("the room\tgreat great\nalone\n"))
    assert cli.main(["predict", "--run-dir", str(paired.root)]) == 1
    assert "line 2 holds one text ('alone')" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("the room\tgreat\tgreat\n"))
    assert cli.main(["predict", "--run-dir", str(paired.root)]) == 1
    assert "line 1 holds 3 texts" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_of_pairs_is_scored(paired: RunDir, tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    rows = [("the room", "great great"), ("the room", "terrible terrible"), ("", "the the"), ("", " ")]
    pair_data.write_table(source, [{"text": text, "aspect": aspect} for text, aspect in rows])
    summary = sentopt.score(paired.bundle, source, target, progress=False)
    assert (summary.rows, summary.empty) == (4, 1)
    assert [row["label"] or None for row in read_table(target)] == ["positive", "negative", "neutral", None]


def test_columns_of_other_names_are_named(paired: RunDir, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    pair_data.write_table(source, [{"review": {"body": "the room"}, "about": "great great"}])
    with pytest.raises(DataError, match=r"has no column 'text'.*Name it with text_column="):
        sentopt.score(paired.bundle, source, tmp_path / "out.csv", progress=False)
    with pytest.raises(DataError, match=r"has no column 'aspect'.*Name it with pair_column="):
        sentopt.score(paired.bundle, source, tmp_path / "out.csv", text_column="review.body", progress=False)
    code = cli.main(
        [
            *("predict", "--run-dir", str(paired.root), "--input", str(source), "--output", str(tmp_path / "out.csv")),
            *("--text-column", "review.body", "--pair-column", "about", "--no-progress"),
        ]
    )
    assert code == 0
    assert [row["label"] for row in read_table(tmp_path / "out.csv")] == ["positive"]


def test_a_second_column_is_refused_by_a_bundle_of_single_texts(fp32_bundle: Path, tmp_path: Path) -> None:
    pair_data.write_table(tmp_path / "in.csv", [{"text": "a", "aspect": "b"}])
    with pytest.raises(DataError, match="pair_column= names 'aspect', and the model answers texts that stand alone"):
        sentopt.score(fp32_bundle, tmp_path / "in.csv", tmp_path / "out.csv", pair_column="aspect", progress=False)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_many_files_of_pairs_are_scored(paired: RunDir, tmp_path: Path, kind: str) -> None:
    inputs, output = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    rows = [{"text": "the room", "about": word} for word in ("great great", "terrible terrible", "", "the the")]
    pair_data.write_table(inputs / f"a.{kind}", [*rows, {"text": "", "about": ""}])
    summary = sentopt.score_files(paired.bundle, inputs, str(output), pair_column="about", progress=False)
    assert (summary.total.rows, summary.total.empty) == (5, 1)
    (scored,) = output.glob(f"*.{kind}")
    labels = [row["label"] or None for row in read_table(scored)]
    assert (labels[:2], labels[3:]) == (["positive", "negative"], ["neutral", None])
    with pytest.raises(OutputError, match="the pair column 'about', and not 'text2'"):
        sentopt.score_files(paired.bundle, inputs, str(output), pair_column="text2", progress=False)


def test_the_report_shows_both_texts(paired: RunDir) -> None:
    report = paired.report.read_text(encoding="utf-8")
    assert '`sentopt predict --run-dir . "What a lovely day" "the weather"` answers a pair of texts' in report
    trained = result(paired, "train", TrainResult)
    table = sections.samples(trained)
    assert table.headings == ("sample text", "pair", "before training", "after training")
    assert table.rows[0][:2] == store.read_split(paired, "test").texts[0]


def test_the_mistakes_of_the_report_show_both_texts() -> None:
    both = ("The food was fine.", "the service")
    wrong = WrongAnswer(
        1, both[0], "negative", "positive", 0.9, "positive", 0.8, tokens=9, doubtful=False, pair=both[1]
    )
    changed = ChangedAnswer(1, both[0], "negative", "positive", 0.9, "negative", 0.8, pair=both[1])
    examined = small_examined(wrong=(wrong,), changes=(ChangedAnswers("lean-int8", 1, 0, (changed,)),))
    for section in (*answers.wrong_section(examined), *answers.changes_section(examined)):
        (table,) = section.tables
        assert table.headings[:2] == ("text", "pair")
        assert table.rows[0][:2] == both


def small_examined(**parts: Any) -> ExamineResult:
    confidence = Confidence(1.0, 0.1, 0.1, ())
    return ExamineResult(
        "lean-int8", 10, confidence, 0.1, (), (), wrong_texts=1, doubtful=0, sure=0.95, familiarity=None, **parts
    )


def test_the_model_card_says_that_the_model_reads_pairs(paired: RunDir) -> None:
    text = card.write(read_description(paired.bundle))
    assert "A classifier of pairs of texts (`text`, `aspect`)" in text
    assert 'clf(("a text", "another text"))' in text
    assert "The longer text is cut first" in " ".join(text.split())


def test_a_tuned_model_of_pairs_is_optimized(paired: RunDir, tmp_path: Path, paired_options: list[str]) -> None:
    rows = [{"text": text, "aspect": aspect, "label": label} for text, aspect, label in pair_data.rows(150, "test")]
    settings = dict(option.split("=", 1) for option in paired_options if option.startswith(("verify.", "bench.")))
    run = sentopt.optimize(
        paired.checkpoint,
        rows,
        pair_column="aspect",
        run_dir=tmp_path / "optimized",
        overrides={
            **{key: json.loads(value) for key, value in settings.items()},
            "export.variants": ["torch", "lean-fp32", "lean-int8"],
        },
        progress=False,
    )
    assert run.classifier(check=True)(("the room", "great great")).label == "positive"


def read_table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return list(pyarrow.parquet.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(read_csv(path))


def test_a_packed_bundle_says_how_it_is_asked(
    paired: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pack", "--run-dir", str(paired.root), "--output", str(tmp_path), "--wheel", "--name", "aspects"]
    assert cli.main(command) == 0
    assert "classifier(('a text', 'another text'))" in capsys.readouterr().out
    (wheel,) = tmp_path.glob("*.whl")
    module = zipfile.ZipFile(wheel).read("aspects/__init__.py").decode()
    assert 'then `classifier(("a text", "another text"))`' in module


def test_a_bundle_of_pairs_is_checked_and_tuned(
    paired: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sentopt.check(paired.bundle).golden_texts > 0
    assert sentopt.tune(paired.bundle).path.is_file()


def test_data_of_pairs_is_checked_without_looking_for_nearly_equal_texts(tmp_path: Path) -> None:
    rows = [*pair_data.rows(60, "train"), ("", "", "neutral")]
    table = [dict(zip(pair_data.COLUMNS, row, strict=True)) for row in rows]
    found = sentopt.check_data(table, pair_column="aspect")
    assert [doubt.kind for doubt in found.doubts] == ["empty text"]
    assert any("likely wrong labels and nearly equal texts are not looked for" in notice for notice in found.notices)
    assert found.left_out == ("wrong label", "conflict", "leak")


def test_a_teacher_of_pairs_answers_copies_and_further_pairs(
    paired: RunDir, tmp_path: Path, paired_options: list[str]
) -> None:
    more = tmp_path / "more.csv"
    pair_data.write_table(more, [{"text": f"the room {i}", "aspect": "great great"} for i in range(9)])
    taught = RunDir(tmp_path / "taught")
    options = [*paired_options, "--set", f"data.unlabelled={more}", "--set", "train.teacher_copies=1"]
    options += ["--set", "train.epochs=1", "--run-dir", str(taught.root)]
    assert cli.main(["train", *options, "--set", f"train.teacher=['{paired.root}']"]) == 0
    answered = result(taught, "teach", TeachResult)
    assert (answered.texts, answered.copies, answered.unlabelled) == (240, 240, 9)
    texts = soft_labels.read(taught.soft_labels).texts
    assert len(texts) == 249
    assert all(len(pair) == 2 for pair in texts)


@pytest.mark.parametrize("is_verified", [True, False])
def test_a_teacher_of_single_texts_is_refused(
    is_verified: bool,
    finished_run: Path,
    tmp_path: Path,
    paired_options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher = shutil.copytree(finished_run, tmp_path / "teacher")
    if not is_verified:
        manifest_file = RunDir(teacher).manifest
        document = json.loads(manifest_file.read_text())
        document["stages"] = {name: document["stages"][name] for name in ("prepare", "train")}
        manifest_file.write_text(json.dumps(document))
    options = [*paired_options, "--run-dir", str(tmp_path / "taught"), "--set", f"train.teacher=['{teacher}']"]
    assert cli.main(["train", *options]) == 1
    assert "the data has pairs of texts, and" in capsys.readouterr().err


def test_hyperparameters_are_searched_on_pairs(tmp_path: Path, backbone: Path) -> None:
    pytest.importorskip("optuna")
    table = [dict(zip(pair_data.COLUMNS, row, strict=True)) for row in pair_data.rows(90, "train")]
    found = sentopt.search(
        table,
        model=backbone,
        pair_column="aspect",
        trials=1,
        folder=tmp_path / "search",
        overrides={"train.max_steps": 4, "model.max_length": 32, "train.precision": "fp32"},
        progress=False,
    )
    assert len(found.trials) == 1


def test_a_tokenizer_without_a_separator_is_noted(backbone: Path) -> None:
    tokenizer = checkpoints.load_tokenizer(backbone, 32)
    assert hints.not_separated(tokenizer, "some") == ""
    tokenizer.backend_tokenizer.post_processor = None  # as GPT-2's, which adds nothing
    assert "puts nothing between the two texts" in hints.not_separated(tokenizer, "some")


def test_types_of_tokens_that_the_model_does_not_know_are_refused(backbone: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(backbone, tmp_path / "backbone")
    config = json.loads((folder / "config.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    names = {"model_input_names": ["input_ids", "attention_mask"]}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **names}))
    assert "token_type_ids" not in checkpoints.load_tokenizer(folder, 32)(["great"], ["great"])
    tokenizer = checkpoints.load_tokenizer(folder, 32, pairs=True)
    assert tokenizer(["great"], ["great"])["token_type_ids"] == [[0, 0, 0, 1, 1]]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A [SEP] $B:2", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    assert config["type_vocab_size"] == 2
    with pytest.raises(BackboneError, match=r"gives tokens of a pair the type 2 .* knows types up to 1"):
        checkpoints.give_types(tokenizer, folder)


def test_a_trimmed_vocabulary_has_the_tokens_of_both_texts(paired: RunDir, tmp_path: Path) -> None:
    run_dir = RunDir(shutil.copytree(paired.root, tmp_path / "pairs"))
    changes = ["export.variants=['lean-fp32', 'lean-int8-trimmed']", "export.trim_keep=0"]
    settings = [argument for value in changes for argument in ("--set", value)]
    assert cli.main(["export", "--run-dir", str(run_dir.root), *settings]) in (0, 3)
    made = result(run_dir, "quantize", QuantizeResult).vocabulary
    assert made.kept < made.tokens
    texts = store.read_split(run_dir, "train").texts
    pieces = []
    for folder in (run_dir.checkpoint, run_dir.variant("lean-int8-trimmed")):
        encoder = TextEncoder.load(folder, max_length=48, pairs=True)
        names = Tokenizer.from_file(str(folder / "tokenizer.json")).id_to_token
        pieces.append([list(map(names, tokens.ids)) for tokens in encoder.encode(texts)])
    assert pieces[0] == pieces[1]
    verdicts = {v.variant: v for v in result(run_dir, "verify", VerifyResult).verdicts}
    assert verdicts["lean-int8-trimmed"].agreement > 0.9


def test_pairs_are_answered_in_another_process(paired: RunDir) -> None:
    """The one that runs under an emulator."""
    candidate = Candidate.of(VARIANTS["lean-fp32"], paired, store.read_labels(paired), 48)
    some = list(store.read_split(paired, "test").texts[:5])
    request = {
        "model": str(candidate.model),
        "tokenizer": str(candidate.tokenizer),
        "labels": list(candidate.labels),
        "max_length": 48,
        "pairs": candidate.pairs,
        "engine": "onnxruntime",
        "texts": some,
    }
    done = subprocess.run(
        [sys.executable, "-m", "sentopt.backends.emulated"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line)["logits"] for line in done.stdout.splitlines()[1:]]
    assert np.abs(np.array(answers) - candidate.open().logits(some, batch_size=1)).max() < 1e-5
