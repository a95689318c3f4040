"""A bundle as one file: archives and wheels are the same whenever they are made, and work where they arrive."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sentopt import Classifier, cli
from sentopt.bundles import pack, vendored
from sentopt.errors import BundleIntegrityError, InputError, OutputError
from sentopt.runtime.description import read_description

ROOT = Path(__file__).parents[2]


def aged(bundle: Path, folder: Path) -> Path:
    """The same bundle with other file times, modes and order, and something beside it that is not part of it."""
    copied = folder / "elsewhere"
    for path in sorted((p for p in bundle.rglob("*") if p.is_file()), reverse=True):
        target = copied / path.relative_to(bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o600)
        os.utime(target, (time.time() - 1e6, time.time() - 1e6))
    (copied / "notes.txt").write_text("mine")
    return copied


def test_an_archive_is_reproducible_and_loads(bundle: Path, tmp_path: Path) -> None:
    first = pack.archive(bundle, tmp_path / "a.tar.gz")
    second = pack.archive(aged(bundle, tmp_path), tmp_path / "b.tar.gz")
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    (folder,) = (tmp_path / "out").iterdir()
    assert not (folder / "notes.txt").exists()
    assert Classifier.load(folder, check=True)("great great day").label == "positive"


def test_an_archive_can_be_loaded_without_unpacking(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(pack.archive(bundle, tmp_path / "a.tar.gz")) as tar:
        files = {m.name.partition("/")[2]: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    assert Classifier.load(files, check=True)("great great day").label == "positive"


def test_a_wheel_is_reproducible_installs_and_answers(bundle: Path, tmp_path: Path) -> None:
    wheels = [
        pack.wheel(source, tmp_path / name, name="my-sentiment", version="1.0")
        for name, source in (("one", bundle), ("two", aged(bundle, tmp_path)))
    ]
    assert wheels[0].name == "my_sentiment-1.0-py3-none-any.whl"
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    target = install(wheels[0], tmp_path / "site")
    code = (
        "import sys, my_sentiment\nassert 'onnxruntime' not in sys.modules\n"
        "from my_sentiment import classifier\nfrom my_sentiment import classifier as again\n"
        "assert again is classifier\nprint(classifier('great great day').label)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(Path(cli.__file__).parents[1])])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["positive"], done.stderr


def install(wheel: Path, target: Path) -> Path:
    """The wheel alone, as pip unpacks it."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    done = subprocess.run([*pip, "--target", target, wheel], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


WITHOUT_SENTOPT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sentopt", "torch", "transformers", "datasets"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""


def test_a_self_contained_wheel_answers_where_there_is_no_sentopt(
    bundle: Path, tmp_path: Path, in_folder: Path
) -> None:
    wheel = pack.wheel(bundle, tmp_path / "out", name="my-sentiment", version="1.0", self_contained=True)
    target = install(wheel, tmp_path / "site")
    code = WITHOUT_SENTOPT + (
        "import os, my_sentiment\nassert 'onnxruntime' not in sys.modules\n"
        "from my_sentiment import BUNDLE, classifier\n"
        "from my_sentiment._sentopt import Classifier\n"
        "from my_sentiment._sentopt.errors import InputError\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        "assert Classifier.load(BUNDLE, check=True).check_golden() >= 0.0\n"
        "try:\n    classifier(1)\nexcept InputError:\n    print('refused')\n"
        "print(classifier('great great day').label)\n"
        "assert 'sentopt' not in sys.modules"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ORT_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(target)},
    )
    assert done.stdout.split() == ["refused", "positive"], done.stderr


def test_a_self_contained_wheel_holds_the_runtime_its_licence_and_the_needs_of_the_runtime(
    bundle: Path, tmp_path: Path
) -> None:
    paths = [
        pack.wheel(source, tmp_path / name, name="mine", version="1", self_contained=True)
        for name, source in (("one", bundle), ("two", aged(bundle, tmp_path)))
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        about = archive.read("mine-1.dist-info/METADATA").decode()
        licence = archive.read("mine-1.dist-info/licenses/sentopt/LICENSE").decode()
        modules = {n: archive.read(n).decode() for n in archive.namelist() if n.endswith(".py")}
        listed = {line.partition(",")[0] for line in archive.read("mine-1.dist-info/RECORD").decode().splitlines()}
        assert listed == set(archive.namelist())
    needs = {line.partition(": ")[2] for line in about.splitlines() if line.startswith("Requires-Dist: ")}
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert needs == set(pyproject["project"]["dependencies"])
    assert "Apache License" in licence
    assert "Version 2.0" in licence
    runtime = {path.name for path in (ROOT / "sentopt" / "runtime").glob("*.py")}
    assert {f"mine/_sentopt/runtime/{name}" for name in runtime} <= modules.keys()
    for name, source in modules.items():
        imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [getattr(node, "module", None) or node.names[0].name for node in imported]
        assert not [n for n in names if n.partition(".")[0] == "sentopt"], name


def test_a_self_contained_wheel_of_an_openvino_bundle_needs_openvino() -> None:
    assert any(need.startswith("openvino") for need in vendored.requirements("openvino"))
    assert not any(need.startswith("openvino") for need in vendored.requirements("onnxruntime"))


def test_without_the_licence_text_the_runtime_is_not_passed_on(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.Distribution.read_text", lambda self, name: None)
    monkeypatch.setattr("importlib.metadata.PathDistribution.read_text", lambda self, name: None)
    monkeypatch.setattr(vendored, "ROOT", tmp_path / "sentopt")
    with pytest.raises(OutputError, match="licence text"):
        vendored.license_text()


@pytest.mark.parametrize(
    ("recorded", "argument"),
    [
        (None, None),
        ('{"dir_info": {}, "url": "file:///src/sentopt"}', '"sentopt @ file:///src/sentopt"'),
        (
            '{"url": "https://example.org/sentopt.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}',
            '"sentopt @ git+https://example.org/sentopt.git@abc"',
        ),
    ],
    ids=["from an index", "from a folder", "from git"],
)
def test_what_to_type_to_install(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str | None, argument: str | None
) -> None:
    wheel = pack.wheel(bundle, tmp_path, name="my-sentiment", version="1")
    alone = pack.wheel(bundle, tmp_path / "alone", name="my-sentiment", version="1", self_contained=True)
    archive = pack.archive(bundle, tmp_path / "a b.tar.gz")
    monkeypatch.setattr("importlib.metadata.PathDistribution.read_text", lambda self, name: recorded)
    first = pack.install_hint(wheel).splitlines()[0]
    assert first == (f"pip install {argument} {wheel}" if argument else f"pip install {wheel}")
    assert ("self-contained" in pack.install_hint(wheel)) is bool(argument)
    assert pack.install_hint(alone).splitlines()[0] == f"pip install {alone}"
    assert "from my_sentiment import classifier" in pack.install_hint(alone)
    lines = pack.install_hint(archive).splitlines()
    assert lines[0] == f"pip install {argument or chr(34) + 'sentopt' + chr(34)}"
    assert lines[1] == f'tar xzf "{archive}"'
    assert f"Classifier.load('{pack.plain_name(read_description(bundle))}', check=True)" in lines[2]


def test_a_wheel_names_what_it_needs(bundle: Path, tmp_path: Path) -> None:
    path = pack.wheel(bundle, tmp_path, name="my.sentiment", version="2.1rc1")
    with zipfile.ZipFile(path) as archive:
        about = archive.read("my_sentiment-2.1rc1.dist-info/METADATA").decode()
        assert archive.testzip() is None
    head, _, card = about.partition("\n\n")
    assert "Name: my.sentiment\nVersion: 2.1rc1\n" in head
    assert "Requires-Dist: sentopt>=" in head
    assert card.startswith(f"# {read_description(bundle).name}\n")


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("json", "1.0", "would hide the module json"),
        ("sentopt", "1.0", "would hide the module sentopt"),
        ("my sentiment", "1.0", "cannot be the name"),
        ("../evil", "1.0", "cannot be the name"),
        ("class", "1.0", "cannot be the name"),
        ("7up", "1.0", "cannot be the name"),
        ("fine", "one", "'one' is not a version"),
        ("fine", "1.0\nEvil: yes", "is not a version"),
    ],
)
def test_names_and_versions_that_cannot_be(bundle: Path, tmp_path: Path, name: str, version: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        pack.wheel(bundle, tmp_path / "out", name=name, version=version)
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleIntegrityError):
        pack.archive(bundle, tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


def test_a_name_cannot_leave_the_archive(bundle: Path, edit_description: Callable[..., None], tmp_path: Path) -> None:
    edit_description(name="../../up")
    with tarfile.open(pack.archive(bundle, tmp_path / "a.tar.gz")) as tar:
        assert {name.partition("/")[0] for name in tar.getnames()} == {"up"}


def test_the_verb(bundle: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pack", str(bundle)]) == 0
    expected = f"{read_description(bundle).name}.tar.gz"
    assert (in_folder / expected).is_file()
    assert capsys.readouterr().out.startswith(f"{expected}: ")
    assert cli.main(["pack", str(bundle), "--wheel", "--name", "tiny-one", "--version", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == "tiny_one-3-py3-none-any.whl"
    assert cli.main(["pack", str(bundle), "--output", "x.zip"]) == 1
    assert "an archive is a .tar.gz file, found x.zip" in capsys.readouterr().err
