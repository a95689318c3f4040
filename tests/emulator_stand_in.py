"""Stand-ins for what sets up an emulator: apt-get and dpkg-deb that know a small Debian, and wheels for the real pip.

Its qemu runs the Python of the tests, so a set-up that succeeds can be used.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

WHEELS = ("onnxruntime", "numpy", "tokenizers")
PYTHON_PACKAGES = (
    *(
        "python3.13-minimal",
        "libpython3.13-minimal",
        "libpython3.13-stdlib",
        "libc6",
        "libgcc-s1",
        "libstdc++6",
        "zlib1g",
    ),
    *("libexpat1", "libffi8", "libssl3t64", "libbz2-1.0", "liblzma5", "libuuid1"),
)
QEMU = """#!/bin/sh
case "$*" in
--version) echo "qemu-aarch64 version 10.0.0"; exit 0 ;;
"-cpu help") printf 'Available CPUs:\\n  cortex-a72\\n  max\\n  neoverse-n1\\n\\n'; exit 0 ;;
esac
shift 5
{fault}
[ "$1" = -m ] && PYTHONPATH="${{PYTHONPATH#*:}}"
exec {python} "$@"
"""
_APT = """#!{python} -IS
import os, shutil, sys
from pathlib import Path
repository, log = Path({repository!r}), Path({log!r})
words = [w for w in sys.argv[1:] if not w.startswith("-")]
words = [w for w in words if "::" not in w and not w.startswith("APT") and not w.startswith("Dir")]
with log.open("a") as stream:
    print(*[w for w in sys.argv[1:] if w in ("update", "download", "--print-uris", "indextargets")], file=stream)
if (repository / "fails-at").exists() and (repository / "fails-at").read_text() in words:
    sys.exit("E: Failed to fetch http://mirror/debian  Could not connect to mirror:80")
if "indextargets" in words:
    print("http://security.mirror/debian-security/"); print("http://mirror/debian/")
if "download" in words:
    for name in words[words.index("download") + 1:]:
        found = sorted(repository.glob(name.partition(":")[0] + "_*.deb"))
        if not found:
            sys.exit(f"E: Unable to locate package {{name}}")
        facts = (repository / f"{{found[0].name}}.facts").read_text()
        if "--print-uris" in sys.argv:
            print(f"'http://mirror/debian/pool/{{found[0].name}}' {{found[0].name}} {{facts}}")
        elif not Path(found[0].name).exists() or Path(found[0].name).stat().st_size != int(facts.split()[0]):
            with log.open("a") as stream:
                print("fetched", found[0].name, file=stream)
            shutil.copyfile(found[0], found[0].name)
"""
_DPKG = """#!/bin/sh
if [ "$1" = --fsys-tarfile ]; then exec cat "$2"; fi
exec tar -xf "$2" -C "$3"
"""


@dataclass(frozen=True)
class Debian:
    """A small Debian on `PATH`; its packages lie in `repository`, and the `log` says what apt-get was asked for."""

    repository: Path
    wheels: Path
    log: Path

    def add(self, package: str, files: dict[str, bytes]) -> Path:
        """Publish a package with these files."""
        path = self.repository / f"{package}_1.0_arm64.deb"
        path.write_bytes(_tar(files))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (self.repository / f"{path.name}.facts").write_text(f"{path.stat().st_size} SHA256:{digest}")
        return path

    def add_qemu(self, fault: str = "") -> None:
        """Publish an emulator; `fault` is a line of shell that it runs before anything else."""
        program = QEMU.format(python=sys.executable, fault=fault).encode()
        self.add("qemu-user", {"./usr/bin/qemu-x86_64": b"another", "./usr/bin/qemu-aarch64": program})

    def add_wheel(self, name: str, release: str, *, holds: str = "") -> None:
        """Publish a wheel of a module that knows its version (or says that it is what it `holds`) and nothing else."""
        path = self.wheels / f"{name}-{release}-cp313-cp313-manylinux_2_28_aarch64.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}/__init__.py", f"__version__ = {holds or release!r}\n")
            info = f"{name}-{release}.dist-info"
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp313-cp313-any\n")
            archive.writestr(f"{info}/RECORD", "")

    def fails_at(self, verb: str) -> None:
        """From now on apt-get cannot reach its mirror for this verb; an empty one repairs it."""
        (self.repository / "fails-at").write_text(verb or "nothing")

    def fetched(self) -> list[str]:
        """Names of the packages that were downloaded so far."""
        return [line.split()[1] for line in self.log.read_text().splitlines() if line.startswith("fetched")]


def install(folder: Path, patch: pytest.MonkeyPatch) -> Debian:
    """Put the stand-ins on `PATH`, publish what a set-up needs, and give sentopt an empty cache."""
    programs, debian = folder / "bin", Debian(folder / "debian", folder / "wheels", folder / "apt.log")
    for place in (programs, debian.repository, debian.wheels):
        place.mkdir(parents=True)
    debian.log.touch()
    values = {"python": sys.executable, "repository": str(debian.repository), "log": str(debian.log)}
    for name, text in (("apt-get", _APT), ("dpkg-deb", _DPKG)):
        (programs / name).write_text(text.format(**values))
        (programs / name).chmod(stat.S_IRWXU)
    for package in PYTHON_PACKAGES:
        debian.add(package, {"./usr/bin/python3.13" if package == PYTHON_PACKAGES[0] else f"./usr/lib/{package}": b"x"})
    debian.add_qemu()
    for name in WHEELS:
        debian.add_wheel(name, version(name))
    patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("SENTOPT_CACHE_DIR", str(folder / "cache"))
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(debian.wheels))
    patch.setattr("platform.system", lambda: "Linux")
    patch.setattr("platform.machine", lambda: "x86_64")
    return debian


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
