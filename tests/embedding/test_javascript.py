"""The JavaScript examples of demo/embed and the page of demo/web, run by Node and Chromium, against the Classifier."""

import json
import random
import runpy
import shutil
import subprocess
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import BertWordPieceTokenizer, normalizers, pre_tokenizers
from web_pages import CHROMIUM, INSTALLED, NODE, PACKAGE, make_page, node, screenshots, use_page

from sentopt import Classifier
from sentopt.runtime.tokenization import TextEncoder

DEMO = Path(__file__).parents[2] / "demo"
HERE = Path(__file__).parent
TEXTS: list[str] = [
    *json.loads((DEMO / "embed" / "texts.json").read_text(encoding="utf-8")),
    "half a \ud83d pair",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ, a𠀀b, İstanbul ẞ ﷺ ½ Ⅷ",
    "great " * 40 + "terrible " * 40,  # its ends differ
    *("great " * count for count in (45, 46, 47)),  # one under, at, and one over the 48 tokens of the small bundles
]
ANYTHING = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
CONTROLS = "\0\a\x1f\x7f\x85\xad\u200b\u200d\u2060\ufeff\ufffd\ud83d\ue000"
SPACES = " \t\n\r\v\f\xa0\u1680\u2003\u2028\u3000"
MIXTURES = (
    "great terrible the film was Not GOOD don't ΣΊΣΥΦΟΣ ΣΑΣ STRASSE Straße İIıi naïve ﬁne",
    "[CLS] [SEP] [PAD] [UNK] [MASK] [cls] [ SEP ] <s> </s> <pad> ##ing",
    "😍 ❤️ 👩\u200d👩\u200d👧\u200d👦 👍🏽 🇩🇪 💩 ☺ 1️⃣ 🫠",
)

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not on PATH"),
    pytest.mark.skipif(not INSTALLED, reason="run `npm ci` in demo/embed/javascript"),
]
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")
each_bundle = pytest.mark.parametrize("bundle_fixture", ["int8_bundle", "fp32_bundle", "left_bundle"])


@each_bundle
@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_an_example_answers_as_the_classifier(
    example: str, bundle_fixture: str, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(bundle_fixture)
    expected = list(map(Classifier.load(bundle), TEXTS))
    answers = node(PACKAGE / example, bundle, stdin=TEXTS)
    assert [a["label"] for a in answers] == [p.label for p in expected]
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
    assert {p.truncated for p in expected} == {True, False}


def test_a_damaged_bundle_is_refused(bundle: Path) -> None:
    damage(bundle / "tokenizer.json")
    done = subprocess.run(
        [str(NODE), str(PACKAGE / "onnxruntime-node.mjs"), str(bundle)],
        input="[]",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "tokenizer.json: content differs from what was verified (SHA-256)" in done.stderr


EXAMPLES = pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])


@EXAMPLES
@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (b'["caf\xe9"]', "stdin must be a JSON array of texts in UTF-8"),
        (b"The soup was cold.", "stdin must be a JSON array of texts in UTF-8"),
        (b"[null]", "stdin must be a JSON array of texts, found [null]"),
        (b'{"text": "one"}', "stdin must be a JSON array of texts, found {"),
    ],
)
def test_what_is_no_array_of_texts_in_utf_8_is_refused_in_words(
    example: str, given: bytes, complaint: str, fp32_bundle: Path
) -> None:
    done = run_example(example, fp32_bundle, given=given)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "    at " not in done.stderr, "a stack"


@EXAMPLES
def test_an_example_without_a_bundle_says_how_it_is_used(example: str, tmp_path: Path) -> None:
    done = run_example(example)
    assert done.returncode == 2
    assert f"usage: node {example} BUNDLE" in done.stderr
    done = run_example(example, tmp_path)
    assert done.returncode == 1
    assert "sentopt.json" in done.stderr
    assert "    at " not in done.stderr, "a stack"


def test_transformers_js_takes_the_graph_that_is_there_and_says_which_is_not(int8_bundle: Path) -> None:
    done = run_example("transformers.mjs", int8_bundle, "fp32")
    assert done.returncode == 1
    assert "this bundle has no onnx/model.onnx, which dtype fp32 stands for; it has onnx/model_quantized" in done.stderr
    assert run_example("transformers.mjs", int8_bundle, "q8").returncode == 0
    text = "great great day"
    assert node(HERE / "default_dtype.mjs", int8_bundle, stdin=[text]) == [Classifier.load(int8_bundle)(text).label]


@pytest.mark.parametrize("runtime", ["onnxruntime-node", "onnxruntime-web"])
def test_moved_probabilities_warn_and_changed_labels_refuse(runtime: str, int8_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(int8_bundle, bundle)
    facts = json.loads((bundle / "sentopt.json").read_text(encoding="utf-8"))

    def check(**changes: object) -> Any:
        (bundle / "sentopt.json").write_text(json.dumps({**facts, **changes}), encoding="utf-8")
        return node(HERE / "golden.mjs", bundle, stdin=runtime)

    right = check()
    assert (right["warnings"], right["error"], right["golden"]["changed"]) == ([], None, [])
    assert right["golden"]["texts"] == len(facts["golden"])

    moved = check(golden_tolerance=0.0, webassembly=None)
    assert moved["error"] is None
    assert moved["golden"]["moved"]
    assert "the labels of all 16 golden texts are as verified, but a probability differs by" in moved["warnings"][0]

    changed = check(golden=[{**g, "probabilities": g["probabilities"][::-1]} for g in facts["golden"]])
    assert "golden texts have another label here than where the bundle was verified" in changed["error"]

    measured = check(golden_tolerance=0.02, webassembly={"golden_tolerance": 0.3})
    assert measured["golden"]["allowed"] == (0.3 if runtime == "onnxruntime-web" else 0.02)
    unmeasured = check(golden_tolerance=0.02, webassembly=None)
    assert unmeasured["golden"]["allowed"] == (0.04 if runtime == "onnxruntime-web" else 0.02)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema_version": 99}, "sentopt.json has schema 99, expected 1 to 3"),
        (
            {"labels": ["one"], "max_length": "48"},
            "sentopt.json is malformed: labels (expected two or more names, all different), max_length (expected",
        ),
        (
            {"files": {}},
            "sentopt.json is malformed: files: tokenizer.json (expected its bytes and its sha256), files: ",
        ),
    ],
)
def test_a_malformed_description_is_refused_in_words(
    changes: dict[str, object], complaint: str, bundle: Path, edit_description: Any
) -> None:
    edit_description(**changes)
    done = run_example("onnxruntime-node.mjs", bundle)
    assert done.returncode == 1
    assert complaint in done.stderr
    (bundle / "sentopt.json").write_text("{", encoding="utf-8")
    assert "sentopt.json cannot be read as JSON" in run_example("onnxruntime-node.mjs", bundle).stderr


def test_random_texts_have_the_same_tokens(int8_bundle: Path, every_character: Path) -> None:
    texts = random_texts(2000)
    for bundle in (int8_bundle, every_character):
        assert node(HERE / "token_ids.mjs", bundle, stdin=texts) == token_ids(bundle, texts)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lowercase": False},
        {"lowercase": False, "strip_accents": True},
        {"strip_accents": False, "clean_text": False, "handle_chinese_chars": False},
    ],
    ids=["uncased", "cased", "cased without accents", "lower case alone"],
)
def test_every_code_point_and_any_mixture_of_them_is_split_as_in_python(options: dict[str, bool]) -> None:
    """All 1,112,064 of them, whichever Unicode the JavaScript engine knows; then marks in any order on any letter."""
    normalizer, pre_tokenizer = normalizers.BertNormalizer(**options), pre_tokenizers.BertPreTokenizer()
    asked = {"strip_accents": None, "clean_text": True, "handle_chinese_chars": True, "lowercase": True, **options}
    everything = [f"A{character}b" for character in ANYTHING]
    for texts in (everything, mixtures(20_000)):
        request = json.dumps({"normalizer": asked, "texts": None if texts is everything else texts})
        command = [str(NODE), str(HERE / "words.mjs")]
        lines = subprocess.run(command, input=request.encode(), capture_output=True, check=True).stdout.split(b"\n")
        differing = [
            text
            for text, line in zip(texts, lines, strict=True)
            if json.loads(line) != [w for w, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))]
        ]
        assert differing == []


def test_the_tables_are_those_of_the_tokenizers_library() -> None:
    """After an upgrade of tokenizers: run demo/embed/javascript/generate_bert_characters.py."""
    made = runpy.run_path(str(PACKAGE / "generate_bert_characters.py"))
    without_version = [text.split("\n", 1)[1] for text in (made["generate"](), made["FILE"].read_text("utf-8"))]
    assert without_version[0] == without_version[1]


@in_chromium
@each_bundle
def test_the_page_answers_as_the_classifier(
    bundle_fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle: Path = request.getfixturevalue(bundle_fixture)
    texts = ["great great day", *(text for text in TEXTS if text.strip() and text.isprintable())]
    classifier = Classifier.load(bundle)
    found = use_page(make_page(bundle, tmp_path / "page"), texts=texts, screenshots=screenshots(bundle_fixture))
    assert found["headline"] == "Ready"
    assert found["console"] == []
    assert "SHA-256 was compared" in found["facts"]
    assert "the same labels as PyTorch for 16 golden texts" in found["facts"]
    for text, answer in zip([*texts, found["hurried"]["text"]], [*found["answers"], found["hurried"]], strict=True):
        prediction = classifier(text)
        assert answer["headline"] == prediction.label
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
        end = "last" if classifier.encoder.side == "left" else "first"
        assert (f"Only the {end} 48 tokens" in answer["note"]) == prediction.truncated
        assert "Answered in" in answer["note"]
    assert any("Only the " in answer["note"] for answer in found["answers"])


@in_chromium
def test_the_page_says_where_there_is_nothing_to_compare(bundle: Path, edit_description: Any, tmp_path: Path) -> None:
    edit_description(golden=[])
    found = use_page(make_page(bundle, tmp_path / "page"), texts=["great"])
    assert (found["headline"], found["console"]) == ("Ready", [])
    assert "not compared: the bundle carries no golden texts" in found["facts"]
    assert found["answers"][0]["headline"] == Classifier.load(bundle)("great").label


@in_chromium
def test_the_page_refuses_a_damaged_model_in_words(fp32_bundle: Path, tmp_path: Path) -> None:
    page = make_page(fp32_bundle, tmp_path / "page")
    damage(page / "bundle" / "onnx" / "model.onnx")
    found = use_page(page)
    assert found["headline"] == (
        "This page cannot answer: onnx/model.onnx: content differs from what was verified (SHA-256)."
    )
    assert found["disabled"]


@in_chromium
def test_the_page_says_what_is_missing(fp32_bundle: Path, tmp_path: Path) -> None:
    page = make_page(fp32_bundle, tmp_path / "page")
    assert "WebAssembly switched off" in use_page(page, "--js-flags=--jitless")["headline"]
    insecure = use_page(page, "--host-resolver-rules=MAP page.test 127.0.0.1", host="page.test")
    assert "https and localhost addresses only" in insecure["headline"]
    (page / "bundle" / "tokenizer.json").unlink()
    assert "tokenizer.json cannot be fetched: the server answered 404" in use_page(page)["headline"]
    (page / "lib" / "ort-wasm-simd-threaded.wasm").unlink()
    assert "lib/ort-wasm-simd-threaded.wasm cannot be fetched" in use_page(page)["headline"]
    (page / "lib" / "tokenizers.js").unlink()
    assert "lib/tokenizers.js cannot be loaded" in use_page(page)["headline"]
    (page / "worker.js").unlink()
    assert "worker.js cannot be loaded" in use_page(page)["headline"]


def test_a_page_is_not_made_over_other_files(fp32_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        make_page(fp32_bundle, tmp_path)
    assert "is not empty" in caught.value.stderr
    with pytest.raises(subprocess.CalledProcessError) as caught:
        make_page(tmp_path, tmp_path / "page")
    assert "is not a bundle" in caught.value.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_package_names_exact_versions_and_no_registry() -> None:
    package = json.loads((PACKAGE / "package.json").read_text())
    assert package["private"]
    for version in (*package["dependencies"].values(), *package["devDependencies"].values()):
        assert version[0].isdigit()
    published = json.loads((PACKAGE / "sentopt-classifier" / "package.json").read_text())
    assert (
        published["dependencies"]["@huggingface/tokenizers"] == f"~{package['dependencies']['@huggingface/tokenizers']}"
    )
    lock = json.loads((PACKAGE / "package-lock.json").read_text())
    assert all("integrity" in entry and "resolved" not in entry for name, entry in lock["packages"].items() if name)


def run_example(example: str, *arguments: object, given: bytes = b"[]") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(NODE), str(PACKAGE / example), *map(str, arguments)], input=given, capture_output=True, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def damage(path: Path) -> None:
    """Change one byte and not the size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def token_ids(bundle: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    facts = json.loads((bundle / "sentopt.json").read_text())
    encoder = TextEncoder.load(bundle, max_length=facts["max_length"], pad_token_id=facts["pad_token_id"])
    return [{"ids": list(t.ids), "truncated": t.truncated} for t in encoder.encode(texts)]


def assigned() -> list[int]:
    """The code points of Unicode 3.2, which every tokenizer knows, without surrogates and private ones."""
    known = unicodedata.ucd_3_2_0
    return [code for code in range(0x30000) if known.category(chr(code)) not in ("Cn", "Cs", "Co")]


@pytest.fixture(scope="module")
def every_character(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of a bundle with a token for each character, so that no difference can hide behind [UNK]."""
    folder = tmp_path_factory.mktemp("every_character")
    characters = [chr(code) for code in assigned()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    BertWordPieceTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    (folder / "sentopt.json").write_text(json.dumps({"max_length": 40, "pad_token_id": 0}))
    return folder


def random_texts(count: int) -> list[str]:
    """Words, punctuation, scripts, emoji, controls, special tokens and any character, in any order."""
    draw = random.Random(7)
    anything = [chr(code) for code in assigned()]
    blocks = [
        *(range(33, 127), range(0xA0, 0x250), range(0x300, 0x370), range(0x370, 0x530), range(0x590, 0x700)),
        *(range(0x900, 0xE80), range(0x1E00, 0x2000), range(0x3040, 0x3100), range(0x4E00, 0x9FA6)),
        *(range(0xAC00, 0xD7A4), range(0x20000, 0x2A6D7), range(0xFF00, 0xFFF0)),
    ]
    known = set(anything)
    pools = [[chr(code) for code in block if chr(code) in known] for block in blocks]  # one script after the other
    pools += [anything, list(CONTROLS), list(SPACES), *(mixture.split() for mixture in MIXTURES)]
    return [
        draw.choice(["", " "]).join(
            "".join(draw.choices(draw.choice(pools), k=draw.randint(1, 6))) for _ in range(draw.randint(0, 12))
        )
        for _ in range(count)
    ]


def mixtures(count: int) -> list[str]:
    """Letters with marks of every canonical combining class, assigned in any version of Unicode, in any order."""
    draw = random.Random(11)
    marks = [character for character in ANYTHING if unicodedata.combining(character)]
    pools = [marks, [c for c in ANYTHING if unicodedata.decomposition(c)], list("aΣΑİẞ각힣の!－ ")]
    return [
        "".join(draw.choice(draw.choices([*pools, ANYTHING], [6, 3, 3, 1])[0]) for _ in range(draw.randint(2, 9)))
        for _ in range(count)
    ]
