"""The classifier on a real bundle: answers, odd inputs, threads, damage."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from sentopt import Classifier
from sentopt.errors import BundleError, BundleIntegrityError, BundleVersionError, InputError, MissingExtraError

pytestmark = pytest.mark.versions

TEXTS = [
    "great great day",
    "terrible terrible food",
    "the the shop opens at nine",
    "",
    "   \n",
    "😀" * 40,
    "great " * 300,
    "a\ud800b",
    "a\0b",
]


@pytest.fixture
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle, threads=1)


def test_one_text_and_many_give_the_same_labels_in_order(classifier: Classifier) -> None:
    together = classifier.predict(TEXTS)
    assert [p.label for p in together] == [classifier(text).label for text in TEXTS]
    assert [p.label for p in together[:3]] == ["positive", "negative", "neutral"]
    assert [p.truncated for p in together] == [False] * 6 + [True] + [False] * 2


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_alone_is_answered_to_the_bit_as_a_batch_of_one(classifier: Classifier, text: str) -> None:
    """`logits` takes a short way for one text, `logits_of` does not."""
    assert np.array_equal(classifier.logits([text]), classifier.logits_of(classifier.encoder.encode([text])))
    before = classifier.stats().texts
    classifier(text)
    classifier.predict_proba((text,))
    assert classifier.stats().texts == before + 2


def test_probabilities(classifier: Classifier) -> None:
    rows = classifier.predict_proba(TEXTS)
    assert rows.shape == (len(TEXTS), 3)
    assert rows.dtype == np.float32
    assert np.allclose(rows.sum(axis=1), 1.0, atol=1e-5)
    prediction = classifier(TEXTS[0])
    assert list(prediction.probabilities) == ["negative", "neutral", "positive"]
    assert prediction.score == max(prediction.probabilities.values())


def test_zero_texts(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 3)
    assert list(classifier.stream([])) == []


def test_blank_texts_have_a_defined_answer(classifier: Classifier) -> None:
    assert classifier("") == classifier(" \t\n") == classifier("")


def test_stream_is_lazy_and_endless(classifier: Classifier) -> None:
    endless = (f"great text {i}" for i in count())
    assert len(list(islice(classifier.stream(endless, window=16), 40))) == 40


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["list"], float("nan")])
def test_other_things_than_text_are_refused(classifier: Classifier, wrong: object) -> None:
    with pytest.raises(InputError, match="expected one text"):
        classifier(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="text 1 is"):
        classifier.predict(["fine", wrong])  # type: ignore[list-item]


def test_one_text_where_many_are_expected(classifier: Classifier) -> None:
    with pytest.raises(InputError, match="found one text"):
        classifier.predict("text")
    with pytest.raises(InputError, match="iterable"):
        next(classifier.stream("text"))


def test_many_threads_share_one_classifier(classifier: Classifier) -> None:
    texts = [f"{word} {word} number {i}" for i in range(60) for word in ("great", "terrible", "the")]
    alone = [classifier(text) for text in texts]
    wrong: list[str] = []

    def work(offset: int) -> None:
        for i in range(len(texts)):
            j = (i + offset) % len(texts)
            if classifier(texts[j]) != alone[j]:
                wrong.append(texts[j])

    threads = [threading.Thread(target=work, args=(k * 17,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_golden_texts_pass_here(bundle: Path) -> None:
    loaded = Classifier.load(bundle, check=True)
    assert loaded.description is not None
    assert len(loaded.description.golden) >= 8
    assert loaded.check_golden() <= loaded.description.golden_tolerance


def test_a_machine_that_answers_otherwise_is_noticed(bundle: Path, edit_description: Callable[..., None]) -> None:
    golden = json.loads((bundle / "sentopt.json").read_text())["golden"]
    golden[0]["probabilities"] = golden[0]["probabilities"][1:] + golden[0]["probabilities"][:1]
    edit_description(golden=golden)
    with pytest.raises(BundleIntegrityError, match="answers the golden texts differently"):
        Classifier.load(bundle, check=True)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "onnx"])
def test_a_flipped_byte_is_noticed(bundle: Path, name: str) -> None:
    path = next((bundle / name).iterdir()) if name == "onnx" else bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=r"content differs from what was verified"):
        Classifier.load(bundle)


def test_missing_and_cut_files_are_all_named(bundle: Path) -> None:
    (bundle / "config.json").unlink()
    (bundle / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleIntegrityError, match=r"config\.json: missing\n.*tokenizer\.json: 2 bytes, expected"):
        Classifier.load(bundle)


def test_a_newer_schema_is_refused(bundle: Path, edit_description: Callable[..., None]) -> None:
    edit_description(schema_version=99)
    with pytest.raises(BundleVersionError, match="schema 99, this sentopt reads up to 3"):
        Classifier.load(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["only one"]}, "malformed"),
        ({"files": {"../outside": {"bytes": 1, "sha256": "0"}}}, "outside the folder"),
        ({"model_file": "other.onnx"}, "not among the hashed files"),
        ({"schema_version": "1"}, "schema_version must be a whole number of at least 1, found '1'"),
        ({"golden": [{"text": "x"}]}, "malformed"),
        ({"engine": "tensorrt"}, "malformed.*'tensorrt' is not one of onnxruntime, openvino"),
    ],
)
def test_a_malformed_description_is_refused(
    bundle: Path, edit_description: Callable[..., None], changes: dict[str, object], message: str
) -> None:
    edit_description(**changes)
    with pytest.raises(BundleError, match=message):
        Classifier.load(bundle)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a bundle: it has no sentopt\.json"):
        Classifier.load(tmp_path)


def test_a_bundle_that_names_no_engine_is_run_with_onnxruntime(bundle: Path) -> None:
    path = bundle / "sentopt.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "engine"}))
    assert Classifier.load(bundle, check=True).description.engine == "onnxruntime"  # type: ignore[union-attr]


def test_an_unknown_engine_is_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match="unknown engine 'tensorrt'; known: onnxruntime, openvino"):
        Classifier.load(bundle, engine="tensorrt")


def test_openvino_answers_as_onnxruntime_does(int8_bundle: Path) -> None:
    pytest.importorskip("openvino")
    texts = TEXTS + [f"{word} {word} number {i}" for i in range(9) for word in ("great", "terrible", "the")]
    expected = Classifier.load(int8_bundle, engine="onnxruntime").predict_proba(texts)
    for _ in range(10):  # streams that share a model got its weights wrong in one load of three
        there = Classifier.load(int8_bundle, engine="openvino")
        assert np.abs(there.predict_proba(texts) - expected).max() < 1e-2
    one_by_one = np.concatenate([there.predict_proba([text]) for text in texts])
    assert np.abs(one_by_one - expected).max() < 1e-2


def test_a_bundle_for_openvino_is_run_with_openvino(bundle: Path, edit_description: Callable[..., None]) -> None:
    pytest.importorskip("openvino")
    edit_description(engine="openvino")
    loaded = Classifier.load(bundle, check=True)
    assert type(loaded.engine).__name__ == "OpenVinoSession"
    assert loaded(TEXTS[0]).label == "positive"


def test_a_missing_engine_is_named_with_its_extra(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"sentopt\[openvino\]"):
        Classifier.load(bundle, engine="openvino")


LIGHT = """
import sys
from sentopt import Classifier
print(Classifier.load(sys.argv[1])("great great").label)
heavy = set("openvino torch transformers datasets gradio evaluate optimum sklearn matplotlib onnx pandas".split())
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_prediction_imports_nothing_heavy(bundle: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, str(bundle)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["positive", "[]"]
