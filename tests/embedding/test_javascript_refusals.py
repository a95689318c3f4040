"""What the npm package and the JavaScript examples refuse, and the words for it: descriptions, options, arguments."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import small_bundles

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "demo" / "embed" / "javascript"
NODE = shutil.which("node")
GOLDEN = small_bundles.description()["golden"]
GOLDEN_OF_FOUR = [{"text": "great", "probabilities": [0, 0, 1, 0]}]
GOLDEN_OF_TWO = [{"text": "great", "probabilities": [0, 1]}]
A_SHARE = "(expected a number from 0 to 1)"
A_GOLDEN = "(expected a text and 3 probabilities from 0 to 1, one for each label)"
SETS = {"schema_version": 3, "problem_type": "multi_label_classification", "thresholds": [0.5, 0.5, 0.5]}
THRESHOLDS = "thresholds (expected 3 numbers from 0 to 1, one for each label)"
NAMES = "labels (expected two or more names, all different)"

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not on PATH"),
    pytest.mark.skipif(
        not (PACKAGE / "node_modules" / "onnxruntime-node").is_dir(), reason="run `npm ci` in demo/embed/javascript"
    ),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle: Path = small_bundles.write(tmp_path_factory.mktemp("small") / "bundle")
    return bundle


def said(bundle: Path, *cases: dict[str, Any]) -> list[str | None]:
    command = [str(NODE), str(HERE / "refusals.mjs"), str(bundle)]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str | None] = json.loads(done.stdout)
    return found


def edited(bundle: Path, **changes: object) -> str:
    """The bundle's description with other values; a value of `...` is left out."""
    facts = {**json.loads((bundle / "sentopt.json").read_text()), **changes}
    return json.dumps({key: value for key, value in facts.items() if value is not ...})


@pytest.mark.parametrize("check", [False, True])
def test_a_description_that_says_nonsense_is_refused_in_words(small: Path, *, check: bool) -> None:
    words: list[tuple[dict[str, Any], str]] = [
        *(
            ({"golden_tolerance": value}, f"golden_tolerance {A_SHARE}")
            for value in (99, -1, None, "x", True, [0.1], ...)
        ),
        *(
            ({"webassembly": {"golden_tolerance": value}}, f"webassembly.golden_tolerance {A_SHARE}")
            for value in (99, -1, "x", False)
        ),
        ({"webassembly": "x"}, "webassembly (expected an object)"),
        ({"golden": None}, "golden (expected a list)"),
        ({"golden": [*GOLDEN, None]}, f"golden[3] {A_GOLDEN}"),
        ({"golden": [{"probabilities": [0, 0, 1]}]}, f"golden[0] {A_GOLDEN}"),
        ({"golden": [{"text": "great"}]}, f"golden[0] {A_GOLDEN}"),
        ({"golden": [{"text": "great", "probabilities": [0, 1]}]}, f"golden[0] {A_GOLDEN}"),
        ({"golden": [{"text": "great", "probabilities": [0, "1", 0]}]}, f"golden[0] {A_GOLDEN}"),
        ({"golden": [{"text": "great", "probabilities": [0, 1.5, 0]}]}, f"golden[0] {A_GOLDEN}"),
        *(
            ({"labels": value}, NAMES)
            for value in (["a", "b", ""], ["a", "b", " "], ["a", "b", "a"], ["a", 1, "b"], "abc")
        ),
        *(
            ({"model_file": value}, "model_file (expected the name of a file)")
            for value in ([small_bundles.MODEL], 3, None)
        ),
        ({"engine": "tensorrt"}, "engine (expected onnxruntime or openvino)"),
        ({"truncation_side": "middle"}, "truncation_side (expected left or right)"),
        ({"problem_type": "regression"}, "problem_type (expected multi_label_classification)"),
        ({"problem_type": None}, "problem_type (expected multi_label_classification)"),
        *(({**SETS, "thresholds": value}, THRESHOLDS) for value in (..., None, [0.5, 0.5], [0, 1, 2], [0, 1, "0"])),
        *(({"pair": value}, "pair (expected two different names)") for value in ("ab", ["a"], ["a", "a"], ["a", " "])),
        ({"pair": ["text", "aspect"]}, f"golden[0] {A_GOLDEN.replace('a text', 'a text, a pair')}"),
    ]
    cases = [{"description": edited(small, **changes), "options": {"check": check}} for changes, _ in words]
    found = said(small, *cases)
    assert found == [f"Error: sentopt.json is malformed: {expected}" for _, expected in words]
    infinite = edited(small, golden_tolerance=12345).replace("12345", "1e999")
    assert said(small, {"description": infinite, "options": {"check": check}}) == [
        f"Error: sentopt.json is malformed: golden_tolerance {A_SHARE}"
    ]


def test_what_python_accepts_is_accepted(small: Path) -> None:
    right: list[dict[str, Any]] = [
        {},
        {"engine": ...},
        {"golden_tolerance": 1},
        {"webassembly": None},
        {"webassembly": {}},
        {"truncation_side": "left", "schema_version": 2},
        {"fallback": {"variant": "x", "model_file": small_bundles.MODEL, "output": "logits", "golden_tolerance": 0.1}},
    ]
    cases = [{"description": edited(small, **changes), "options": {"check": True}} for changes in right]
    assert said(small, *cases) == [None] * len(right)
    assert said(small, {"description": edited(small, golden=[]), "options": {}}) == [None]
    assert said(small, {"description": edited(small, golden=[], **SETS), "options": {}}) == [None]


def test_a_newer_schema_is_refused(small: Path) -> None:
    found = said(small, *({"description": edited(small, schema_version=value)} for value in (4, 0, "3", 1.5, True)))
    assert found == [
        f"Error: sentopt.json has schema {shown}, expected 1 to 3" for shown in ("4", "0", '"3"', "1.5", "true")
    ]


def test_a_tokenizer_that_leaves_no_room_for_a_pair_is_refused(small: Path) -> None:
    pairs = {"schema_version": 3, "pair": ["text", "aspect"], "golden": []}
    found = said(small, {"description": edited(small, max_length=3, **pairs)})
    assert found == ["Error: the tokenizer adds 3 special tokens to a pair, and max_length is 3"]
    (complaint,) = said(small, {"description": edited(small, **pairs)})
    assert complaint == "TypeError: classify expects a pair of strings, [text, aspect], found one string"


def test_a_check_without_golden_texts_is_an_error(small: Path) -> None:
    found = said(small, {"description": edited(small, golden=[]), "options": {"check": True}})
    assert found == ["Error: this bundle carries no golden texts to check"]


def test_a_model_that_does_not_fit_its_description_is_refused(small: Path) -> None:
    four = edited(small, labels=["a", "b", "c", "d"], golden=GOLDEN_OF_FOUR)
    two = edited(small, labels=["a", "b"], golden=GOLDEN_OF_TWO)
    cases = [{"description": text, "options": {"check": check}} for text in (four, two) for check in (False, True)]
    expected = (
        "Error: the model answers 1 texts with logits of shape 1 × 3, expected 1 × {0}: the bundle has {0} labels"
    )
    assert said(small, *cases) == [expected.format(count) for count in (4, 4, 2, 2)]
    other = said(small, {"description": edited(small, output="scores"), "options": {}})
    assert other == [f'Error: {small_bundles.MODEL} has no output "scores"; it has logits']


def test_another_engine_is_refused_unless_its_fp32_graph_is_taken(small: Path) -> None:
    graph = {"variant": "fp32", "model_file": small_bundles.MODEL, "output": "logits", "golden_tolerance": 0.01}
    refusal = 'Error: this bundle was verified with the engine "openvino", here is onnxruntime; '
    found = said(
        small,
        {"description": edited(small, engine="openvino"), "options": {}},
        {"description": edited(small, engine="openvino", fallback=graph), "options": {}},
        {"description": edited(small, engine="openvino", fallback=graph), "options": {"fallback": True, "check": True}},
        {"description": edited(small, fallback={**graph, "golden_tolerance": 99}), "options": {"fallback": True}},
    )
    assert found == [
        f"{refusal}export a bundle for onnxruntime",
        f"{refusal}load its FP32 graph with fallback: true",
        None,
        f"Error: sentopt.json is malformed: golden_tolerance {A_SHARE}",
    ]


def test_options_that_are_not_known_or_have_another_type_are_type_errors(small: Path) -> None:
    wait = "a number of milliseconds from {} to 2147483647"
    words: list[tuple[Any, str]] = [
        (None, "the options of Classifier.load must be an object, found null"),
        ("check", "the options of Classifier.load must be an object, found one string"),
        ([], "the options of Classifier.load must be an object, found an array"),
        ({"check": "yes"}, "check must be true or false, found one string"),
        ({"check": None}, "check must be true or false, found null"),
        ({"fallback": 1}, "fallback must be true or false, found 1"),
        *(
            ({"timeout": value}, f"timeout must be {wait.format(1)}, found {shown}")
            for value, shown in (("a", "one string"), (-1, "-1"), (0, "0"), (2**31, "2147483648"))
        ),
        ({"pause": 2**31}, f"pause must be {wait.format(0)}, found 2147483648"),
        ({"retries": "x"}, "retries must be a whole number from 0, found one string"),
        ({"retries": 1.5}, "retries must be a whole number from 0, found 1.5"),
        ({"signal": {}}, "signal must be an AbortSignal, found a value of type object"),
        ({"sessionOptions": 1}, "sessionOptions must be an object, found 1"),
        ({"onProgress": "f"}, "onProgress must be a function, found one string"),
    ]
    found = said(small, *({"options": options} for options, _ in words), {"options": {"chek": True}})
    assert found[:-1] == [f"TypeError: {expected}" for _, expected in words]
    assert str(found[-1]).startswith(
        'TypeError: Classifier.load has no option "chek"; its options are timeout, retries'
    )
    right = {"timeout": 2**31 - 1, "retries": 0, "pause": 0, "cache": "reload", "check": False, "sessionOptions": {}}
    assert said(small, {"options": right}) == [None]


def test_the_options_of_other_calls_are_looked_at_too(small: Path) -> None:
    found = said(
        small,
        {"options": {}, "many": None},
        {"options": {}, "many": {"batchsize": 4}},
        {"options": {}, "many": {"batchSize": "4"}},
        {"options": {}, "fetching": {"timeout": -1}},
        {"options": {}, "fetching": {"check": True}},
    )
    assert found == [
        "TypeError: the options of classifyAll must be an object, found null",
        'TypeError: classifyAll has no option "batchsize"; its options are batchSize',
        "TypeError: batchSize must be a whole number from 1, found one string",
        "TypeError: timeout must be a number of milliseconds from 1 to 2147483647, found -1",
        'TypeError: fetchedFrom has no option "check"; its options are timeout, retries, pause, cache, signal',
    ]


def run(example: str, *arguments: object) -> tuple[int, str]:
    command = [str(NODE), str(PACKAGE / example), *map(str, arguments)]
    done = subprocess.run(command, input="[]", capture_output=True, text=True, check=False)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs", "make-web.mjs"])
def test_an_example_names_a_broken_description_in_one_line(example: str, tmp_path: Path) -> None:
    bundle = small_bundles.write(tmp_path / "bundle")
    more = [tmp_path / "page"] if example == "make-web.mjs" else []
    words = {
        "{": "cannot be read as JSON",
        "\n\nx\n": "cannot be read as JSON",
        "null": "sentopt.json is malformed: it must hold an object, found null",
        "[]": "sentopt.json is malformed: it must hold an object, found an array",
        "{}": "sentopt.json has schema undefined, expected 1 to 3",
    }
    for text, expected in words.items():
        (bundle / "sentopt.json").write_text(text)
        code, complaint = run(example, bundle, *more)
        assert (code, expected in complaint) == (1, True), complaint
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs", "make-web.mjs"])
def test_an_example_without_arguments_exits_with_2(example: str) -> None:
    code, complaint = run(example)
    assert code == 2
    assert complaint.startswith("usage: ")


@pytest.mark.parametrize("dtype", ["toString", "__proto__", "int4"])
def test_a_dtype_that_is_not_known_is_refused(dtype: str, small: Path) -> None:
    assert run("transformers.mjs", small, dtype) == (2, f"dtype must be one of fp32, q8, found {dtype}\n")


def test_a_page_goes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    bundle = small_bundles.write(tmp_path / "bundle")
    before = sorted(bundle.rglob("*"))
    file = tmp_path / "file"
    file.write_text("kept")
    (tmp_path / "link").symlink_to(bundle, target_is_directory=True)
    for out in (file, file / "page"):
        assert run("make-web.mjs", bundle, out) == (1, f"{out} is a file, expected a folder\n")
    for out in (bundle, bundle / "inside", bundle / "onnx" / ".." / "a" / "b", tmp_path / "link" / "inside"):
        code, complaint = run("make-web.mjs", bundle, out)
        assert (code, "lies in the bundle" in complaint) == (1, True), complaint
    assert sorted(bundle.rglob("*")) == before
    assert file.read_text() == "kept"
    beside = tmp_path / "bundle-page"
    subprocess.run(
        [str(NODE), str(PACKAGE / "make-web.mjs"), str(bundle), str(beside)], check=True, capture_output=True
    )
    assert (beside / "classifier" / "options.js").is_file()


def test_a_page_is_not_begun_that_could_not_answer(tmp_path: Path) -> None:
    bundle, page = small_bundles.write(tmp_path / "bundle"), tmp_path / "page"
    description = (bundle / "sentopt.json").read_text()
    (bundle / "sentopt.json").write_text(edited(bundle, engine="openvino"))
    code, complaint = run("make-web.mjs", bundle, page)
    assert (code, "export a bundle for onnxruntime" in complaint) == (1, True), complaint
    (bundle / "sentopt.json").write_text(description)
    (bundle / small_bundles.MODEL).unlink()
    assert run("make-web.mjs", bundle, page) == (1, f"{bundle / small_bundles.MODEL} cannot be read (ENOENT)\n")
    assert not page.exists()
