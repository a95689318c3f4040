"""Models of the Hugging Face Hub at a pinned revision."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from sentopt.backbones.known import Backbone
from sentopt.errors import BackboneError

_TIMEOUT_SECONDS = 5
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken")


def fetch(backbone: Backbone, folder: Path) -> None:
    """Download the files of a known backbone.

    Raises:
        BackboneError: the hub cannot be reached, or does not have them.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise BackboneError("the huggingface_hub package is not installed") from error
    _check_reachable()
    for name in backbone.files:
        try:
            downloaded = hf_hub_download(
                backbone.hub_id, name, revision=backbone.revision, etag_timeout=_TIMEOUT_SECONDS
            )
        except Exception as error:  # the hub client raises dozens of unrelated classes
            raise BackboneError(f"{backbone.hub_id} at {backbone.revision[:12]}: {first_line(error)}") from error
        shutil.copyfile(downloaded, folder / name)


def snapshot(hub_id: str, revision: str) -> Path:
    """The folder of any model, which is downloaded if it was not before.

    Raises:
        BackboneError: the hub cannot be reached, or does not have it.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise BackboneError(f"{hub_id} is a hub id, and the huggingface_hub package is not installed") from error
    if folder := downloaded(hub_id, revision):
        return folder
    wanted = list(_WANTED)
    try:
        _check_reachable()
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted, etag_timeout=_TIMEOUT_SECONDS))
    except Exception as error:  # the hub client raises dozens of unrelated classes
        raise BackboneError(
            f"there is no folder {hub_id}, and the Hugging Face Hub did not give {hub_id} at {revision[:12]}: "
            f"{first_line(error)}\nDownload it on another machine and give its folder with --model"
        ) from error


def downloaded(hub_id: str, revision: str) -> Path | None:
    """The folder of a model that was downloaded before; None if it was not."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        from huggingface_hub import snapshot_download

        wanted = list(_WANTED)
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted, local_files_only=True))
    return None


def newest_commit(hub_id: str) -> str:
    """The commit hash of the hub's main branch; empty where the hub cannot be asked or has no such model."""
    try:
        from huggingface_hub import HfApi, constants

        if constants.HF_HUB_OFFLINE:
            return ""
        _check_reachable()
        return str(HfApi().model_info(hub_id, timeout=_TIMEOUT_SECONDS).sha or "")
    except Exception:  # the hub client raises dozens of unrelated classes
        return ""


def _check_reachable() -> None:
    """Fail in seconds where there is no way to the hub: its client would retry each file for half a minute.

    Behind a proxy only the proxy can tell, so nothing is checked there.
    """
    if "https" in getproxies():
        return
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        raise BackboneError(f"{address.hostname} cannot be reached: {error}") from error


def first_line(error: BaseException) -> str:
    """Of its message; its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
