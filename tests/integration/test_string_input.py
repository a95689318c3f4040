"""The graph that takes texts: its tokens are the tokenizer's, its answers the classifier's, or it is not there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sentopt import Classifier, backbones, cli
from sentopt.errors import BackboneError, ExportError
from sentopt.graph import tokenizer as graph
from sentopt.run_dir import RunDir
from sentopt.runtime.description import Side, read_description
from sentopt.runtime.tokenization import TextEncoder
from sentopt.stages import string_input

pytest.importorskip("onnxruntime_extensions", reason="onnxruntime-extensions is not installed (extra: string)")

EMBED = Path(__file__).parents[2] / "demo" / "embed"
TEXTS = [*json.loads((EMBED / "texts.json").read_text(encoding="utf-8")), *string_input.HARD_TEXTS]


def tokenizer_session(folder: Path, *, max_length: int, pad_token_id: int, side: Side = "right") -> Any:
    """The graph of the tokenizer in `folder`, alone."""
    facts = graph.read(folder / "tokenizer.json", max_length=max_length, pad_token_id=pad_token_id, side=side)
    names = ["input_ids", "attention_mask", "token_type_ids", "position_ids"]
    return string_input.open_session(graph.tokenizer_graph(facts, names, opset=17, ir_version=8).SerializeToString())


@pytest.fixture(scope="module")
def string_run(fp32_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with an FP32 bundle, to which nothing but a graph that takes texts was added."""
    root = shutil.copytree(fp32_bundle.parent, tmp_path_factory.mktemp("string") / "tiny")
    before = stages(root)
    assert cli.main(["export", "--string-input", "--run-dir", str(root)]) == 0
    assert changed(before, stages(root)) == {"bundle", "report"}
    return root


def stages(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "run.json").read_text(encoding="utf-8"))["stages"]
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in after if after[name] != before.get(name)}


@pytest.fixture
def ask(string_run: Path) -> Any:
    session = string_input.open_session((string_run / "bundle" / string_input.FILE).read_bytes())
    return lambda texts: session.run(["label_ids", "probabilities"], {"texts": np.array(texts, dtype=object)})


def test_it_answers_as_the_classifier(string_run: Path, ask: Any) -> None:
    classifier = Classifier.load(string_run / "bundle", engine="onnxruntime", check=True)
    for text in TEXTS:
        labels, rows = ask([text])
        assert labels.dtype == np.int64
        assert rows.dtype == np.float32
        assert np.abs(rows - classifier.predict_proba([text])).max() < 1e-5
    labels, rows = ask(TEXTS)  # padded to the longest
    assert np.abs(rows - classifier.predict_proba(TEXTS)).max() < 1e-5
    assert np.array_equal(labels, rows.argmax(axis=1))


def test_no_text_at_all(ask: Any) -> None:
    labels, rows = ask([])
    assert labels.shape == (0,)
    assert rows.shape == (0, 3)


def test_the_bundle_describes_it(string_run: Path) -> None:
    description = read_description(string_run / "bundle")
    model = string_run / "bundle" / string_input.FILE
    assert description.files[string_input.FILE][0] == model.stat().st_size
    facts = description.facts["string_input"]
    assert facts["file"] == string_input.FILE
    assert facts["operators"] == "ai.onnx.contrib"
    assert facts["needs"].startswith("onnxruntime-extensions==")
    assert facts["texts_checked"] > string_input.RANDOM_TEXTS
    assert facts["max_probability_difference"] <= 1e-5


def test_it_stays_until_the_recipe_says_otherwise(string_run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(string_run, tmp_path / "tiny")
    before = stages(root)
    assert cli.main(["export", "--run-dir", str(root)]) == 0
    assert changed(before, stages(root)) <= {"report"}
    assert cli.main(["export", "--run-dir", str(root), "--set", "export.string_input=false"]) == 0
    assert not (root / "bundle" / string_input.FILE).exists()
    assert "string_input" not in read_description(root / "bundle").facts
    assert changed(before, stages(root)) == {"bundle", "report"}


def test_the_quantized_graph_gets_one_too(int8_bundle: Path, finished_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(int8_bundle, tmp_path / "bundle")
    made = string_input.add(RunDir(finished_run), folder, seed=0)
    assert made.max_probability_difference <= 1e-5
    assert Classifier.load(folder, check=True).description is not None


def test_a_tokenizer_that_differs_is_refused_by_name(
    bundle: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = graph.read

    def wrong(path: Path, **settings: int) -> graph.WordPieces:
        facts = right(path, **settings)
        swapped = {"great": facts.vocabulary["terrible"], "terrible": facts.vocabulary["great"]}
        facts.vocabulary.update(swapped)
        return facts

    monkeypatch.setattr(graph, "read", wrong)
    before = (bundle / "sentopt.json").read_bytes()
    with pytest.raises(ExportError, match=r"differs from the bundle's on \d+ of \d+ texts") as caught:
        string_input.add(RunDir(finished_run), bundle, seed=0)
    assert "'great great" in str(caught.value) or "'terrible terrible" in str(caught.value)
    assert "instead of" in str(caught.value)
    assert (bundle / "sentopt.json").read_bytes() == before
    assert not (bundle / string_input.FILE).exists()


def test_a_refused_graph_leaves_the_bundle_of_before(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run_copy / "bundle" / "sentopt.json").read_bytes()

    def refuse(*arguments: object) -> None:
        raise ExportError("the tokenizer inside the graph differs")

    monkeypatch.setattr(string_input, "check_tokens", refuse)
    assert cli.main(["export", "--string-input", "--run-dir", str(run_copy)]) == 1
    assert "the tokenizer inside the graph differs" in capsys.readouterr().err
    assert (run_copy / "bundle" / "sentopt.json").read_bytes() == before


def test_the_end_of_a_long_text_is_read_where_the_bundle_reads_it(bundle: Path) -> None:
    encoder = TextEncoder.load(bundle, max_length=12, side="left")
    session = tokenizer_session(bundle, max_length=12, pad_token_id=encoder.pad_token_id, side="left")
    words = [" ".join(f"{i}" for i in range(count)) for count in range(30)]
    string_input.check_tokens(session, encoder, [*string_input.HARD_TEXTS, *words, *reversed(words)])
    with pytest.raises(ExportError, match="differs from the bundle's on 19 of 30 texts"):
        string_input.check_tokens(session, TextEncoder.load(bundle, max_length=12), words)


def test_padding_is_compared_too(bundle: Path) -> None:
    encoder = TextEncoder.load(bundle, max_length=48)
    session = tokenizer_session(bundle, max_length=48, pad_token_id=encoder.pad_token_id + 1)
    with pytest.raises(ExportError, match="padded wrongly in a batch"):
        string_input.check_tokens(session, encoder, ["one", "one two three"])


def test_answers_that_differ_are_refused(bundle: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = graph.join

    def wrong(*arguments: Any, **settings: Any) -> onnx.ModelProto:
        joined = right(*arguments, **settings)
        (softmax,) = [node for node in joined.graph.node if "body.probabilities" in node.output]
        softmax.op_type = "Sigmoid"
        del softmax.attribute[:]
        return joined

    monkeypatch.setattr(graph, "join", wrong)
    monkeypatch.setattr(string_input, "parity_texts", lambda folder, seed: ["one"])
    with pytest.raises(ExportError, match="probabilities that differ by"):
        string_input.add(RunDir(finished_run), bundle, seed=0)


def test_other_tokenizers_are_refused_in_words(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ExportError, match="its tokenizer is BPE, expected WordPiece"):
        graph.read(tmp_path / "tokenizer.json", max_length=16, pad_token_id=0)


def test_without_the_package_the_extra_is_named(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_extensions", None)
    assert cli.main(["export", "--string-input", "--run-dir", str(run_copy)]) == 1
    assert 'pip install "sentopt[string]"' in capsys.readouterr().err


def test_the_example(string_run: Path) -> None:
    texts = [*json.loads((EMBED / "texts.json").read_text(encoding="utf-8")), "half a \ud83d pair", "a\0b"]
    script = EMBED / "python-string" / "predict.py"
    spy = f"import runpy, sys; sys.argv = ['', {str(string_run / 'bundle')!r}]; runpy.run_path({str(script)!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"{spy}; assert not {{'sentopt'}} & sys.modules.keys()"],
        input=json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass"),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
        check=True,
    )
    expected = Classifier.load(string_run / "bundle", engine="onnxruntime").predict(texts)
    for found, prediction in zip(json.loads(done.stdout.decode()), expected, strict=True):
        assert found["label"] == prediction.label
        assert found["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-5)


@pytest.mark.backbone
def test_the_pinned_tokenizer_token_by_token(bundle: Path) -> None:
    """Every character that Unicode names, 10,000 random texts, and the hard ones."""
    try:
        folder = backbones.resolve("minilm")
    except BackboneError as error:
        pytest.skip(f"the pinned backbone cannot be had here: {error}")
    encoder = TextEncoder.load(folder, max_length=128)
    texts = list(string_input.parity_texts(bundle, seed=1)) + TEXTS
    session = tokenizer_session(folder, max_length=128, pad_token_id=encoder.pad_token_id)
    string_input.check_tokens(session, encoder, texts)
    assert len(texts) > 2 * string_input.RANDOM_TEXTS


@pytest.mark.parametrize(
    "check",
    ["checker.check_model(m, full_check=True)", "shape_inference.infer_shapes(m, check_type=True, strict_mode=True)"],
)
def test_tools_of_onnx_read_it(string_run: Path, check: str) -> None:
    """In a process of its own: they crash where the type of LabelEncoder's input is not known."""
    program = f"import onnx, sys; m = onnx.load(sys.argv[1]); onnx.{check}; print('read')"
    model = string_run / "bundle" / string_input.FILE
    done = subprocess.run([sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr
