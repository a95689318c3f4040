"""Names of files in a bundle mean the same file everywhere, or are refused everywhere."""

import json
from pathlib import Path

import pytest

from sentopt.errors import BundleError
from sentopt.runtime.description import read_description
from sentopt.runtime.file_names import refusal, same_file

OUTSIDE = ["/etc/passwd", "../secret", "onnx/../../secret", ".."]
OF_WINDOWS = [
    "C:/Windows/win.ini",
    "C:secret.txt",
    r"C:\secret.txt",
    r"..\secret.txt",
    r"onnx\model.onnx",
    r"\\server\share\model.onnx",
    "//server/share/model.onnx",
    r"\\?\C:\secret.txt",
    r"\\.\PhysicalDrive0",
    "model.onnx:stream",
    "NUL",
    "nul.txt",
    "onnx/CON",
    "aux.tar.gz",
    "aux .txt",
    "COM1",
    "lpt9.onnx",
    "COM².txt",
    "CONIN$",
    "model.onnx.",
    "model.onnx ",
    "onnx /model.onnx",
    "onnx./model.onnx",
    "what?.onnx",
    "a|b",
    "a\nb",
    "a\x00b",
]
UNPLAIN = ["", "onnx//model.onnx", "./model.onnx", "onnx/./model.onnx", "onnx/", "a" * 256, "onnx/" + "型" * 86]
FINE = [
    "onnx/model_quantized.onnx",
    "sentopt.json",
    ".hidden",
    "console.txt",
    "nullable.json",
    "com10",
    "a" * 255,
    "型" * 85,
    "auxiliary/aux-file.txt",
    "tokenizer (1).json",
    "müller.json",
    "a b.txt",
]


@pytest.mark.parametrize("name", [*OUTSIDE, *OF_WINDOWS, *UNPLAIN])
def test_a_name_that_means_something_else_somewhere_is_refused_everywhere(name: str) -> None:
    assert refusal(name)


@pytest.mark.parametrize("name", FINE)
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert refusal(name) == ""


def test_names_that_differ_in_case_or_composition_only_are_one_file() -> None:
    assert same_file(["onnx/model.onnx", "config.json", "ONNX/Model.onnx"]) == ("onnx/model.onnx", "ONNX/Model.onnx")
    assert same_file(["u\u0308.json", "ü.json"])
    assert same_file(["a.json", "b.json"]) is None


def description(*names: str) -> dict[str, bytes]:
    facts = {
        "schema_version": 1,
        "name": "x",
        "variant": "onnx-fp32",
        "labels": ["a", "b"],
        "max_length": 8,
        "pad_token_id": 0,
        "model_file": "onnx/model.onnx",
        "output": "logits",
        "files": {name: {"bytes": 1, "sha256": "0" * 64} for name in ("onnx/model.onnx", "tokenizer.json", *names)},
        "golden": [],
        "golden_tolerance": 0.1,
    }
    return {"sentopt.json": json.dumps(facts).encode()}


@pytest.mark.parametrize("name", [*OUTSIDE, *OF_WINDOWS, *UNPLAIN, "ONNX/model.onnx", "Sentopt.json"])
def test_a_bundle_with_such_a_file_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "sentopt.json").write_bytes(description(name)["sentopt.json"])
    for source in (tmp_path, description(name)):
        with pytest.raises(BundleError, match="malformed"):
            read_description(source)


def test_a_bundle_with_ordinary_files_is_read() -> None:
    names = [name for name in FINE if name != "sentopt.json"]
    assert set(read_description(description(*names)).files) == {"onnx/model.onnx", "tokenizer.json", *names}
