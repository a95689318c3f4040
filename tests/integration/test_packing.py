"""A bundle as one file: archives and wheels are the same whenever they are made, and work where they arrive."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sentopt import Classifier, cli
from sentopt.bundles import pack
from sentopt.errors import BundleIntegrityError, InputError
from sentopt.runtime.description import read_description


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
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    done = subprocess.run([*pip, "--target", target, wheels[0]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys, my_sentiment\nassert 'onnxruntime' not in sys.modules\n"
        "from my_sentiment import classifier\nfrom my_sentiment import classifier as again\n"
        "assert again is classifier\nprint(classifier('great great day').label)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(Path(cli.__file__).parents[1])])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["positive"], done.stderr


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
