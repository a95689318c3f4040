"""A bundle is somebody else's folder: whatever it holds, it is refused in words, or answers as it was verified."""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_bundles
import small_cascades
from onnx import TensorProto, helper, numpy_helper

from sentopt import Classifier, cli
from sentopt.bundles import card, check
from sentopt.errors import BundleError, BundleIntegrityError, InputError
from sentopt.runtime.description import read_description
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch, TextEncoder

Facts = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_bundles.write(tmp_path / "bundle")


def test_the_bundle_that_the_tests_change_is_a_good_one(folder: Path) -> None:
    classifier = Classifier.load(folder, check=True)
    assert {text: classifier(text).label for text in small_bundles.TEXTS} == small_bundles.TEXTS
    assert check.check(folder).golden_texts == 3
    assert "as good as PyTorch" in card.write(read_description(folder))


RAW = {
    "nested too deep": b'{"schema_version": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects nested too deep": b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
    "not closed": b"[" * 100_000,
    "a key that occurs twice": b'{"schema_version": 1, "labels": ["a", "b"], "labels": ["b", "a"]}',
    "NaN": b'{"schema_version": 1, "golden_tolerance": NaN}',
    "Infinity": b'{"schema_version": 1, "golden_tolerance": Infinity}',
    "a number beyond floats": b'{"schema_version": 1, "golden_tolerance": 1e999}',
    "an integer of 5,000 digits": b'{"schema_version": ' + b"9" * 5000 + b"}",
    "no UTF-8": b'{"schema_version": 1, "name": "\xff"}',
    "a list": b"[1]",
    "a number": b"1",
    "nothing": b"",
    "null": b"null",
}


@pytest.mark.parametrize("kind", RAW)
def test_what_is_no_strict_json_is_refused(folder: Path, kind: str) -> None:
    (folder / "sentopt.json").write_bytes(RAW[kind])
    with pytest.raises(BundleError, match=r"sentopt\.json( is malformed)?: |is malformed: schema_version must be"):
        Classifier.load(folder)


HUGE, LONG = 10**30, "x" * 5000
VALUES: list[tuple[str, object, str]] = [
    *(("schema_version", value, "schema") for value in (True, 0, -5, HUGE, 1.0, None)),
    *(("max_length", value, "max_length must be an integer from 1 to 1,000,000") for value in (0, -5, HUGE, True, 1.5)),
    *(("max_length", value, "max_length must be an integer") for value in ("64", None, [64], {})),
    *(("pad_token_id", value, "pad_token_id must be an integer from 0") for value in (-5, HUGE, False, "0", None)),
    *(
        ("golden_tolerance", value, "golden_tolerance must be a number from 0 to 1")
        for value in (-5, HUGE, True, "0.1")
    ),
    *((key, LONG, "at most 200 are allowed") for key in ("name", "variant", "output")),
    *((key, value, f"{key} ") for key in ("name", "variant", "output") for value in ("", "  ", 3, None, ["a"])),
    *((key, "a\x1b[2Jb", r"control character U\+001B") for key in ("name", "variant", "output")),
    ("name", "a\nRequires-Dist: evil", r"control character U\+000A"),
    ("name", "a\u202eb", r"control character U\+202E"),
    ("name", "a\ud800b", r"control character U\+D800"),
    ("engine", ["onnxruntime"], "engine must be a text"),
    ("engine", LONG, "is not one of onnxruntime, openvino"),
    ("truncation_side", LONG, "must be 'right' or 'left'"),
    ("labels", "abc", "labels must be a list"),
    ("labels", [], "two or more, found 0"),
    ("labels", ["a"], "two or more, found 1"),
    ("labels", ["a", "b", 3], "a list of texts"),
    ("labels", ["a", "b", None], "a list of texts"),
    ("labels", ["a", "b", "a"], "hold 'a' twice"),
    ("labels", ["a", "b", ""], "it is empty"),
    ("labels", ["a", "b", "\u200b \ufeff"], "it is empty"),
    ("labels", ["a", "b", "c\r\nRequires-Dist: evil"], r"control character U\+000D"),
    ("labels", ["a", "b", "c\u2028d"], r"control character U\+2028"),
    ("labels", ["a", "b", "c" * 5000], "at most 1,000 are allowed"),
    ("labels", ["a", "b", '=HYPERLINK("http://x")'], "a spreadsheet would run it"),
    ("labels", ["a", "b", "@SUM(1)"], "a spreadsheet would run it"),
    ("labels", ["a", "b", "-1+cmd|' /C calc'!A0"], "a spreadsheet would run it"),
    ("model_file", 3, "model_file must be a text"),
    ("model_file", "/etc/passwd", "not among the hashed files"),
    ("files", [], "files must be an object"),
    ("golden", {}, "golden must be a list"),
    ("golden", ["text"], r"golden\[0\] must be an object"),
    *(
        ("golden", [{"text": "a", "probabilities": p}], r"golden\[0\]\.probabilities must be 3 numbers from 0 to 1")
        for p in ([0.5, 0.5], [0, 0, 0, 1], [True, False, False], [-5, 3, 3], ["1", "0", "0"], [HUGE, 0, 0])
    ),
    ("golden", [{"text": 5, "probabilities": [1, 0, 0]}], r"golden\[0\]\.text must be a text"),
    ("fallback", None, "fallback must be an object"),
    ("fallback", {"variant": "lean-fp32", "model_file": "x"}, "fallback.*not among the hashed files"),
]


@pytest.mark.parametrize(("key", "value", "message"), VALUES, ids=[f"{k}={v!r:.30}" for k, v, _ in VALUES])
def test_a_value_that_cannot_be_is_refused_in_words(folder: Path, key: str, value: object, message: str) -> None:
    small_bundles.edit(folder, lambda facts: facts.update({key: value}))
    with pytest.raises(BundleError, match=message) as caught:
        Classifier.load(folder)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["name", "labels", "max_length", "pad_token_id", "output", "files", "golden_tolerance"])
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    small_bundles.edit(folder, lambda facts: facts.pop(key))
    with pytest.raises(BundleError, match=f"malformed: {key} (is missing|must be)"):
        Classifier.load(folder)


PATHS = {
    "/etc/passwd": "outside the folder",
    "../up": "outside the folder",
    "a/../../up": "outside the folder",
    "C:/windows": "a backslash or a colon",
    "a\\..\\..\\up": "a backslash or a colon",
    "./a": "not a plain relative path",
    "a//b": "not a plain relative path",
    "a/": "not a plain relative path",
    ".": "not a plain relative path",
    "": "it is empty",
    "a\nb": r"U\+000A",
    "a" * 5000: "at most 500",
    "TOKENIZER.json": "one file where case does not count",
    "Sentopt.json": "one file where case does not count",
    "sentopt.json": "one file where case does not count",
}


@pytest.mark.parametrize("name", PATHS, ids=[f"{name!r:.20}" for name in PATHS])
def test_a_file_name_that_cannot_be_is_refused(folder: Path, name: str) -> None:
    entry = {"bytes": 1, "sha256": "0" * 64}
    small_bundles.edit(folder, lambda facts: facts["files"].update({name: entry}))
    with pytest.raises(BundleError, match=PATHS[name]):
        Classifier.load(folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"bytes": -1, "sha256": "0" * 64}, "bytes must be an integer from 0"),
        ({"bytes": True, "sha256": "0" * 64}, "bytes must be an integer from 0"),
        ({"bytes": HUGE, "sha256": "0" * 64}, "bytes must be an integer from 0"),
        ({"bytes": 1, "sha256": "0" * 63}, "64 hexadecimal digits"),
        ({"bytes": 1, "sha256": ["0"]}, "sha256 must be a text"),
        ({"bytes": 1}, "sha256 must be a text|sha256 is missing"),
        (None, "must be an object"),
    ],
)
def test_an_entry_of_a_file_that_cannot_be_is_refused(folder: Path, entry: object, message: str) -> None:
    small_bundles.edit(folder, lambda facts: facts["files"].update(extra=entry))
    with pytest.raises(BundleError, match=message):
        Classifier.load(folder)


def test_a_tokenizer_that_no_hash_covers_is_refused(folder: Path) -> None:
    small_bundles.edit(folder, lambda facts: facts["files"].pop("tokenizer.json"))
    with pytest.raises(BundleError, match=r"tokenizer\.json is not among the hashed files"):
        Classifier.load(folder)


def test_keys_that_are_not_known_are_left_alone(folder: Path) -> None:
    more = {"web": {"tolerance": 0.1, "table": "\x00\x1f", "deep": [[{}]]}, "note": "x" * 5000}
    small_bundles.edit(folder, lambda facts: facts.update(more))
    classifier = Classifier.load(folder, check=True)
    assert classifier.description is not None
    assert classifier.description.facts["web"] == more["web"]


LABELS_THAT_ARE_FINE = [
    "=)",
    "-1",
    "+1",
    "@",
    "c'est ça",
    "a|b",
    '"quoted"',
    "`code`",
    "👩\u200d🚀",
    "می\u200cخواهم",
    "🫩",
]


@pytest.mark.parametrize("label", LABELS_THAT_ARE_FINE)
def test_labels_of_any_script_are_kept(folder: Path, label: str) -> None:
    small_bundles.edit(folder, lambda facts: facts.update(labels=["a", "b", label]))
    assert Classifier.load(folder, check=True)("great great").label == label


@pytest.mark.parametrize("count", [2, 4, 5])
def test_labels_that_are_not_as_many_as_the_logits_are_refused_when_loading(folder: Path, count: int) -> None:
    names = [f"label {i}" for i in range(count)]
    small_bundles.edit(folder, lambda facts: facts.update(labels=names, golden=[]))
    with pytest.raises(BundleError, match=f"the model gives 3 logits for a text, and there are {count} labels"):
        Classifier.load(folder)


def save(folder: Path, model: onnx.ModelProto) -> Path:
    (folder / small_bundles.MODEL).write_bytes(model.SerializeToString())
    return small_bundles.rehash(folder)


@dataclass
class Fixed:
    """An engine that gives each text the same logits, and says nothing of their number before."""

    width: None
    logits: int

    def run(self, batch: Batch) -> FloatArray:
        return np.zeros((len(batch.input_ids), self.logits), np.float32)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_logits_that_the_graph_does_not_declare_are_refused_with_the_first_answer(folder: Path, width: int) -> None:
    """One column would be repeated for all labels by numpy."""
    encoder = TextEncoder.load(folder, max_length=16)
    classifier = Classifier(Fixed(None, width), encoder, small_bundles.LABELS)
    with pytest.raises(BundleError, match=rf"an answer of shape \(1, {width}\) for 1 text\(s\) and 3 labels"):
        classifier("great")


def test_answers_of_another_number_of_dimensions_are_refused(folder: Path) -> None:
    model = small_bundles.model()
    model.graph.node.add(op_type="Identity", input=["weighted"], output=["all"])
    model.graph.output.append(helper.make_tensor_value_info("all", TensorProto.FLOAT, ["b", "t", 3]))
    small_bundles.edit(save(folder, model), lambda facts: facts.update(output="all"))
    with pytest.raises(BundleError, match="have 3 dimensions, expected 2"):
        Classifier.load(folder)


def test_an_output_that_the_model_lacks_is_refused(folder: Path) -> None:
    small_bundles.edit(folder, lambda facts: facts.update(output="other"))
    with pytest.raises(BundleError, match="no output named 'other'"):
        Classifier.load(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_no_answer(folder: Path, value: float) -> None:
    rows = np.full((8, 3), value, np.float32)
    save(folder, small_bundles.model(numpy_helper.from_array(rows, "table")))
    classifier = Classifier.load(folder)
    for ask in (classifier, lambda text: classifier.predict_proba([text]), lambda text: classifier.check_golden()):
        with pytest.raises(BundleError, match="the bundle small gave logits that are NaN or infinite"):
            ask("great")


def test_a_tolerance_that_is_no_number_does_not_pass_every_check(folder: Path) -> None:
    classifier = Classifier.load(folder)
    description = classifier.description
    assert description is not None
    object.__setattr__(description, "golden_tolerance", math.nan)
    with pytest.raises(BundleIntegrityError, match="allowed nan"):
        classifier.check_golden()


def test_a_token_without_a_row_in_the_embedding_is_told(folder: Path) -> None:
    rows = numpy_helper.from_array(np.zeros((6, 3), np.float32), "table")
    classifier = Classifier.load(save(folder, small_bundles.model(rows)))
    assert classifier("terrible").label == "negative"
    with pytest.raises(BundleError, match=r"failed on 1 text of 3 tokens: .*element out of data bounds"):
        classifier("great")


def tokenizer(folder: Path, change: Callable[[Facts], object]) -> Path:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return small_bundles.rehash(folder)


TOKENIZERS: dict[str, tuple[Callable[[Facts], object], str]] = {
    "no padding token": (lambda t: t["model"].update(vocab={"[UNK]": 1, "[CLS]": 2, "[SEP]": 3}), "has no token 0"),
    "a negative id": (lambda t: t["model"]["vocab"].update(the=-5), "cannot read the tokenizer"),
    "an id of 10**30": (lambda t: t["model"]["vocab"].update(the=HUGE), "cannot read the tokenizer"),
    "another model": (lambda t: t["model"].update(type="Magic"), "cannot read the tokenizer"),
    "a wrong expression": (
        lambda t: t.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
        ),
        "cannot read the tokenizer",
    ),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_that_cannot_be_is_refused(folder: Path, kind: str) -> None:
    change, message = TOKENIZERS[kind]
    tokenizer(folder, change).joinpath("tokenizer.json")
    if kind == "no padding token":
        tokenizer(folder, lambda t: t.update(added_tokens=[a for a in t["added_tokens"] if a["id"] != 0]))
    with pytest.raises(BundleError, match=message):
        Classifier.load(folder)


def test_a_tokenizer_that_fails_at_a_text_is_told(folder: Path) -> None:
    tokenizer(folder, lambda t: t["model"].update(unk_token="nowhere"))
    classifier = Classifier.load(folder)
    with pytest.raises(BundleError, match=r"the tokenizer failed: .*Missing"):
        classifier("unknown")


@pytest.mark.parametrize("kind", ["[" * 100_000, '{"model": ' * 100_000, "", "null", "[]"])
def test_a_tokenizer_that_is_no_such_document_is_refused(folder: Path, kind: str) -> None:
    (folder / "tokenizer.json").write_text(kind)
    with pytest.raises(BundleError, match="cannot read the tokenizer"):
        Classifier.load(small_bundles.rehash(folder))


@pytest.mark.parametrize("length", [1, 2])
def test_a_text_needs_room_beside_the_special_tokens(folder: Path, length: int) -> None:
    """With less, tokenizers cuts nothing."""
    small_bundles.edit(folder, lambda facts: facts.update(max_length=length))
    with pytest.raises(BundleError, match=f"adds 2 special tokens to a text, and max_length is {length}"):
        Classifier.load(folder)


@pytest.mark.parametrize(
    "settings", ["{", "[" * 100_000, "[]", '{"pad_token": 5}', '{"pad_token": {"content": 5}}', '{"pad_token": {}}']
)
def test_settings_of_a_tokenizer_that_cannot_be_are_refused(folder: Path, settings: str) -> None:
    (folder / "tokenizer_config.json").write_text(settings)
    with pytest.raises(BundleError, match=r"tokenizer_config\.json"):
        TextEncoder.load(folder, max_length=16)


@pytest.mark.parametrize("name", ["sentopt.json", "tokenizer.json", small_bundles.MODEL])
def test_a_pipe_is_refused_and_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    said: list[str] = []

    def load() -> None:
        with pytest.raises(BundleError, match=r"no regular file|missing") as caught:
            Classifier.load(folder)
        said.append(str(caught.value))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(30)
    assert said


@pytest.mark.parametrize("name", ["sentopt.json", "tokenizer.json"])
def test_a_device_is_refused_and_not_read(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"no regular file|missing"):
        Classifier.load(folder)


def test_a_description_of_ten_gigabytes_is_refused_at_once(folder: Path) -> None:
    with (folder / "sentopt.json").open("r+b") as stream:
        stream.truncate(10 * 2**30)
    start = time.perf_counter()
    with pytest.raises(BundleError, match="more than 16,777,216 bytes"):
        Classifier.load(folder)
    assert time.perf_counter() - start < 5


def test_a_file_that_is_longer_than_recorded_is_not_read(folder: Path) -> None:
    with (folder / "tokenizer.json").open("r+b") as stream:
        stream.truncate(10 * 2**30)
    start = time.perf_counter()
    with pytest.raises(BundleIntegrityError, match=r"10737418240 bytes, expected"):
        Classifier.load(folder)
    assert time.perf_counter() - start < 5


EVIDENCE: list[tuple[str, Callable[[Facts], object]]] = [
    ("verified is missing", lambda facts: facts.pop("verified")),
    ("verified must be an object", lambda facts: facts.update(verified=[])),
    ("verified.accuracy must be a number from 0 to 1", lambda facts: facts["verified"].update(accuracy="0.9")),
    ("verified.accuracy must be a number from 0 to 1", lambda facts: facts["verified"].update(accuracy=HUGE)),
    ("verified.test_texts must be an integer from 1", lambda facts: facts["verified"].update(test_texts=0)),
    ("verified.test_texts must be an integer from 1", lambda facts: facts["verified"].update(test_texts=True)),
    ("verified.reason must be a text", lambda facts: facts["verified"].update(reason=None)),
    (r"verified.per_label\[0\] must be an object", lambda facts: facts["verified"].update(per_label=[3])),
    ("measured is missing", lambda facts: facts.pop("measured")),
    ("measured.hardware must be an object", lambda facts: facts["measured"].update(hardware="fast")),
    ("measured.hardware.isa must be a list", lambda facts: facts["measured"]["hardware"].update(isa="avx2")),
    ("measured.row.latency must be an object", lambda facts: facts["measured"]["row"].update(latency=1)),
    ("made_from.texts must be an object", lambda facts: facts["made_from"].update(texts=3)),
    ("made_from.texts.train must be an integer", lambda facts: facts["made_from"]["texts"].update(train=-5)),
    ("confidence must be an object", lambda facts: facts.update(confidence=3)),
]


@pytest.mark.parametrize(("message", "change"), EVIDENCE, ids=[message for message, _ in EVIDENCE])
def test_findings_that_cannot_be_are_refused_by_the_card_and_do_not_stop_answers(
    folder: Path, message: str, change: Callable[[Facts], object]
) -> None:
    small_bundles.edit(folder, change)
    with pytest.raises(BundleError, match=message):
        card.write(read_description(folder))
    assert Classifier.load(folder, check=True)("great").label == "positive"


def test_the_command_line_says_so_in_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_bundles.edit(folder, lambda facts: facts.pop("measured"))
    assert cli.main(["check", str(folder)]) == 1
    assert "measured is missing, expected an object" in capsys.readouterr().err


def test_files_in_memory_must_be_bytes(folder: Path) -> None:
    with pytest.raises(InputError, match=r"sentopt\.json is str, expected bytes"):
        Classifier.load({"sentopt.json": (folder / "sentopt.json").read_text()})  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def good_cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cascades.write(tmp_path_factory.mktemp("cascades") / "bundle")


@pytest.fixture
def cascade(good_cascade: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good_cascade, tmp_path / "bundle")


OF_CASCADES: list[tuple[str, str, object, str]] = [
    *(("cascade", "layers", value, "cascade.layers must be an integer from 1") for value in (0, -1, HUGE, True, 1.5)),
    *(
        ("cascade", "threshold", value, r"cascade\.threshold must be a number from 0 to 1")
        for value in (1.5, -0.1, True, "0.5", [0.5], None)
    ),
    *(
        ("cascade", "threshold_tokens", value, r"cascade\.threshold_tokens must be an integer from 1")
        for value in (0, -1, HUGE, 1.5, "8")
    ),
    *(("cascade", "max_length", value, "cascade.max_length must be an integer from 0") for value in (-1, HUGE, "8")),
    *(("cascade", "reads", value, "cascade.reads must be") for value in ("all", "", 3, ["head"], LONG)),
    *(
        ("cascade", "deferred", value, "cascade.deferred must be a number from 0 to 1")
        for value in (-1, 1.1, True, "1")
    ),
    *(("cascade", "texts", value, "cascade.texts must be an integer from 1") for value in (0, HUGE, 1.0, None)),
    *(("cascade", "deferred_output", value, "cascade.deferred_output must be") for value in ("logits", "", 1, LONG)),
    *(
        ("full", "file", value, r"full\.file .*(not among the hashed files|must be a text)")
        for value in ("x", "../up", 3)
    ),
    *(("full", "variant", value, r"full\.variant ") for value in ("", 3, "a\nb", LONG)),
    *(("full", "output", value, r"full\.output ") for value in ("", None, "a\x1b[2Jb")),
]


@pytest.mark.parametrize(
    ("holder", "key", "value", "message"), OF_CASCADES, ids=[f"{k}={v!r:.20}" for _, k, v, _ in OF_CASCADES]
)
def test_what_a_bundle_says_of_a_cascade_is_checked(
    cascade: Path, holder: str, key: str, value: object, message: str
) -> None:
    small_bundles.edit(cascade, lambda facts: facts[holder].update({key: value}))
    with pytest.raises(BundleError, match=message) as caught:
        Classifier.load(cascade)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "key",
    ["layers", "threshold", "threshold_tokens", "max_length", "reads", "deferred", "texts", "deferred_output"],
)
def test_a_missing_key_of_a_cascade_is_named(cascade: Path, key: str) -> None:
    small_bundles.edit(cascade, lambda facts: facts["cascade"].pop(key))
    with pytest.raises(BundleError, match=f"malformed: cascade.{key} (is missing|must be)"):
        Classifier.load(cascade)


@pytest.mark.parametrize("value", [None, [], "cascade", 3])
@pytest.mark.parametrize("key", ["cascade", "full"])
def test_a_cascade_that_is_no_object_is_refused(cascade: Path, key: str, value: object) -> None:
    small_bundles.edit(cascade, lambda facts: facts.update({key: value}))
    with pytest.raises(BundleError, match=f"{key} must be an object"):
        Classifier.load(cascade)


@pytest.mark.parametrize("value", [1, "true", None])
def test_a_golden_text_went_one_of_two_ways(cascade: Path, value: object) -> None:
    small_bundles.edit(cascade, lambda facts: facts["golden"][2].update(deferred=value))
    with pytest.raises(BundleError, match=r"golden\[2\]\.deferred must be true or false"):
        Classifier.load(cascade)


def test_a_fallback_may_be_a_cascade_or_not(cascade: Path) -> None:
    facts = json.loads((cascade / "sentopt.json").read_text())
    fallback = {"variant": "lean-fp32", "model_file": small_cascades.FULL, "output": "logits", "golden_tolerance": 1}
    small_bundles.edit(cascade, lambda facts: facts.update(fallback=fallback))
    described = read_description(cascade).fallback
    assert described is not None
    assert described.cascade is None
    assert {golden.deferred for golden in described.golden} == {None}
    assert not Classifier.load(cascade, fallback=True).is_cascade
    small_bundles.edit(cascade, lambda found: found["fallback"].update(cascade=facts["cascade"]))
    with pytest.raises(BundleError, match="described as a cascade"):
        Classifier.load(cascade, fallback=True)
    small_bundles.edit(cascade, lambda found: found["fallback"]["cascade"].update(layers=0))
    with pytest.raises(BundleError, match=r"fallback\.cascade\.layers must be"):
        Classifier.load(cascade)


def test_weights_beside_the_file_are_refused_in_a_branch_as_well(cascade: Path) -> None:
    made = onnx.load(cascade / small_bundles.MODEL)
    (choice,) = (node for node in made.graph.node if node.op_type == "If")
    (branch,) = (attribute.g for attribute in choice.attribute if attribute.name == "then_branch")
    tensor = max(branch.initializer, key=lambda initializer: len(initializer.raw_data))
    (cascade.parent / "outside.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../outside.bin")
    with pytest.raises(BundleError, match=r"keeps weights in another file, '\.\./\.\./outside\.bin'"):
        Classifier.load(save(cascade, made))


def test_flags_of_another_shape_are_refused(cascade: Path) -> None:
    made = onnx.load(cascade / small_bundles.MODEL)
    made.graph.node.append(helper.make_node("Concat", ["deferred", "deferred"], ["twice"], axis=0))
    for node in made.graph.node:
        node.input[:] = ["flags" if name == "deferred" else name for name in node.input]
        node.output[:] = [
            "flags" if name == "deferred" else "deferred" if name == "twice" else name for name in node.output
        ]
    with pytest.raises(BundleError, match=r"gave 'deferred' of shape \(2,\) for 1 text"):
        Classifier.load(save(cascade, made))("the")


def test_flags_of_another_type_are_none(cascade: Path) -> None:
    made = onnx.load(cascade / small_bundles.MODEL)
    small_bundles.edit(cascade, lambda facts: facts.pop("cascade"))
    (output,) = (output for output in made.graph.output if output.name == "deferred")
    for node in made.graph.node:
        node.input[:] = ["flags" if name == "deferred" else name for name in node.input]
        node.output[:] = ["flags" if name == "deferred" else name for name in node.output]
    made.graph.node.append(helper.make_node("Cast", ["flags"], ["deferred"], to=TensorProto.FLOAT))
    output.type.tensor_type.elem_type = TensorProto.FLOAT
    classifier = Classifier.load(save(cascade, made))
    assert not classifier.is_cascade
    assert classifier.predict(["the"])
    assert classifier.stats().deferred is None
