"""The C example of demo/embed, compiled here against the library of the onnxruntime wheel, against the Classifier.

The wheel has no header. Wherever a distribution puts it, it is found; ONNXRUNTIME_INCLUDE names any other folder.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import onnxruntime
import pytest

from sentopt import Classifier, Prediction, cli

EXAMPLES = Path(__file__).parents[2] / "demo" / "embed"
TEXTS: list[str] = json.loads((EXAMPLES / "texts.json").read_text(encoding="utf-8"))
HEADER = "onnxruntime_c_api.h"
PLACES = (os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    include = next((place for place in PLACES if place and (Path(place) / HEADER).is_file()), None)
    if include is None:
        pytest.skip(f"there is no {HEADER}: install libonnxruntime-dev, or name its folder in ONNXRUNTIME_INCLUDE")
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    if library is None:
        pytest.skip("this onnxruntime has no shared library of its own")
    folder = tmp_path_factory.mktemp("c")
    (folder / "libonnxruntime.so.1").symlink_to(library)  # the name that programs are linked to
    command = [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-isystem", include]
    command += [str(EXAMPLES / "c" / "predict.c"), f"-L{folder}", "-l:libonnxruntime.so.1", f"-Wl,-rpath,{folder}"]
    subprocess.run([*command, "-lm", "-o", str(folder / "predict")], check=True)
    return folder / "predict"


def answer(*command: str, lines: list[str], preload: str = "") -> subprocess.CompletedProcess[str]:
    text, environment = "".join(f"{line}\n" for line in lines), {**os.environ, "LD_PRELOAD": preload}
    return subprocess.run(
        command, input=text, capture_output=True, encoding="utf-8", env=environment, check=False, timeout=120
    )


def assert_same(done: subprocess.CompletedProcess[str], expected: list[Prediction]) -> None:
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition("\t")[0] for line in lines] == [p.label for p in expected]
    for line, prediction in zip(lines, expected, strict=True):
        found = [float(p) for p in line.partition("\t")[2].split()]
        assert found == pytest.approx(list(prediction.probabilities.values()), abs=1e-3)


@pytest.mark.parametrize("bundle_fixture", ["int8_bundle", "fp32_bundle"])
def test_token_ids_are_answered_as_by_the_classifier(
    program: Path, bundle_fixture: str, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(bundle_fixture)
    classifier = Classifier.load(bundle)
    assert classifier.description is not None
    lines = [" ".join(map(str, tokens.ids)) for tokens in classifier.encoder.encode(TEXTS)]
    done = answer(str(program), str(bundle / classifier.description.model_file), *classifier.labels, lines=lines)
    assert_same(done, classifier.predict(TEXTS))


def test_texts_are_answered_as_by_the_classifier(program: Path, run_copy: Path) -> None:
    spec = importlib.util.find_spec("onnxruntime_extensions")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("onnxruntime-extensions is not installed")
    (operators,) = Path(spec.submodule_search_locations[0]).glob("_extensions_pydll*.so")
    python = Path(sysconfig.get_config_var("LIBDIR") or "") / str(sysconfig.get_config_var("INSTSONAME"))
    if python.suffix == ".a" or not python.is_file():
        pytest.skip("this Python has no shared library, which the operators of the wheel are linked against")
    assert cli.main(["export", "--run-dir", str(run_copy), "--string-input"]) == 0
    model = run_copy / "bundle" / "onnx" / "model_string.onnx"
    classifier = Classifier.load(run_copy / "bundle", engine="onnxruntime")
    lines = [text for text in TEXTS if "\n" not in text and "\0" not in text]
    done = answer(str(program), "-x", str(operators), str(model), *classifier.labels, lines=lines, preload=str(python))
    assert_same(done, classifier.predict(lines))


@pytest.mark.parametrize(
    ("lines", "labels", "complaint"),
    [
        (["2 5 3", "not ids"], 3, "a line that is not token ids: not ids"),
        ([""], 3, "a line that is not token ids"),
        (["2 -5 3"], 3, "no token id"),
        (["99999999999999999999"], 3, "no token id"),
        (["2 5 3"], 2, "as many labels"),
        (["2 999999 3"], 3, "out of data bounds"),
    ],
)
def test_what_cannot_be_answered_is_an_error(
    program: Path, fp32_bundle: Path, lines: list[str], labels: int, complaint: str
) -> None:
    model = fp32_bundle / "onnx" / "model.onnx"
    done = answer(str(program), str(model), *("a", "b", "c")[:labels], lines=lines)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_the_program_says_how_it_is_used(program: Path) -> None:
    assert "usage" in answer(str(program), lines=[]).stderr
    assert "onnxruntime" in answer(str(program), "nowhere.onnx", "a", "b", lines=[]).stderr
