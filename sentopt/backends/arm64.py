"""An ARM64 Python for emulation: set up once, on request, in sentopt's cache; nothing of it is installed.

It has two parts, so that a new onnxruntime does not fetch the first one again. The *system* is qemu's user-mode
emulator and Debian's Python for ARM64, whose packages apt downloads and verifies and dpkg-deb unpacks. The *packages*
are the aarch64 wheels of the very versions that are installed here, which pip downloads and verifies.

A part is built beside its place and renamed into it when everything in it works. So an interrupted set-up never counts
as done; what was downloaded and verified stays and is not fetched again.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentopt.errors import EmulationError
from sentopt.files import atomic
from sentopt.measure import hardware
from sentopt.progress import SILENT, Progress
from sentopt.runtime.description import sha256_file
from sentopt.runtime.tuning import cache_folder

MODELS = (
    "a64fx",
    "cortex-a35",
    "cortex-a53",
    "cortex-a55",
    "cortex-a57",
    "cortex-a710",
    "cortex-a72",
    "cortex-a76",
    "neoverse-n1",
    "neoverse-n2",
    "neoverse-v1",
)
"""The CPU models that the qemu of this set-up offers."""
DOWNLOAD_BYTES, DISK_BYTES = 143_000_000, 196_000_000
"""What is fetched (with Debian's lists of packages), and what stays; measured, a test compares."""
MIRROR_VARIABLE = "SENTOPT_DEBIAN_MIRROR"

_RELEASE, _PYTHON = "trixie", "3.13"  # qemu 7.2 of the release before dies of onnxruntime 1.30 and newer
_QEMU = "qemu-aarch64"
_QEMU_PACKAGE = "qemu-user"
_PYTHON_PACKAGES = (
    f"python{_PYTHON}-minimal",
    f"libpython{_PYTHON}-minimal",
    f"libpython{_PYTHON}-stdlib",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "libexpat1",
    "libffi8",
    "libssl3t64",
    "libbz2-1.0",
    "liblzma5",
    "libuuid1",
)
_WHEELS = ("onnxruntime", "numpy", "tokenizers")
_MANYLINUX = (17, 41)  # of the C library: the oldest that wheels name, and that of the release
_MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_KEYRING_PACKAGE = "debian-archive-keyring"
_RECORD = "sentopt-part.json"
_TIMEOUT_SECONDS = 1800
_VERSIONS = (
    "import numpy, onnxruntime, tokenizers\nprint(onnxruntime.__version__, numpy.__version__, tokenizers.__version__)"
)


@dataclass(frozen=True)
class SetUp:
    """The state of the ARM64 Python: the folder, what is there, what is to be fetched (0 if nothing), and how.

    `problem` says why it cannot be set up on this machine; empty where it can.
    """

    folder: str
    is_ready: bool
    versions: dict[str, str]
    models: tuple[str, ...]
    download_bytes: int
    disk_bytes: int
    sources: tuple[str, ...]
    problem: str

    def __str__(self) -> str:
        if self.is_ready:
            return f"ARM64 is set up for {_in_words(self.versions)} in {self.folder}\nmodels: {', '.join(self.models)}"
        lines = [
            f"ARM64 is not set up for {_in_words(self.versions)}.",
            *(f"fetches: {source}" for source in self.sources),
            f"         about {self.download_bytes / 1e6:.0f} MB, verified by apt and pip; nothing is installed",
            f"keeps:   about {self.disk_bytes / 1e6:.0f} MB in {self.folder}, which can be removed at any time",
            f"cannot:  {self.problem}" if self.problem else "do it:   sentopt emulator --yes",
        ]
        return "\n".join(lines)


def folder() -> Path:
    """Where everything of it lies; it can be removed at any time."""
    return cache_folder() / "arm64"


def is_ready() -> bool:
    """Whether both parts are complete, for the packages that are installed here."""
    return _is_whole(_system()) and _is_whole(_packages())


def state() -> SetUp:
    """What is set up, and what setting up the rest would fetch and keep."""
    system = 0 if _is_whole(_system()) else 1
    packages = 0 if _is_whole(_packages()) else 1
    fetched, kept = _WHEEL_BYTES[0] * packages, _WHEEL_BYTES[1] * packages
    return SetUp(
        folder=str(folder()),
        is_ready=not system and not packages,
        versions=_versions(),
        models=MODELS,
        download_bytes=fetched + (DOWNLOAD_BYTES - _WHEEL_BYTES[0]) * system,
        disk_bytes=kept + (DISK_BYTES - _WHEEL_BYTES[1]) * system,
        sources=(
            *([f"Debian {_RELEASE}: {_QEMU_PACKAGE}, and for arm64 {', '.join(_PYTHON_PACKAGES)}"] if system else []),
            *([f"package index of pip: the aarch64 wheels of {_in_words(_versions())}"] if packages else []),
        ),
        problem="" if not system and not packages else _obstacle(),
    )


_WHEEL_BYTES = 40_500_000, 120_000_000  # fetched and kept


def command(cpu: str) -> list[str]:
    """The command that runs Python on the ARM64 model `cpu`; arguments of Python follow."""
    return _command(_system(), cpu)


def environment(extra: Path) -> dict[str, str]:
    """The environment of that command: nothing of this Python's; modules in `extra` can be imported."""
    return _environment(_packages(), extra)


def set_up(progress: Progress = SILENT) -> SetUp:
    """Fetch and unpack what is missing.

    Raises:
        EmulationError: this machine has no apt or pip, no source can be reached, or what came does not work.
        OSError: the disk is full, or the cache cannot be written.
    """
    if obstacle := "" if is_ready() else _obstacle():
        raise EmulationError(obstacle)
    for part, build in ((_system(), _build_system), (_packages(), _build_packages)):
        if _is_whole(part):
            continue
        with atomic.replace_folder(part, put_aside=True) as fresh:
            build(fresh, progress)
            _record(fresh)
    shutil.rmtree(_downloads(), ignore_errors=True)
    return state()


def not_ready(cpu: str) -> str:
    """What to do before `cpu` can be emulated."""
    what = "is not complete" if any(part.exists() for part in (_system(), _packages())) else "is not set up"
    return (
        f"{cpu} is an ARM64 CPU, and the ARM64 Python that emulates it {what} here for {_in_words(_versions())}: "
        f"`sentopt emulator` says what that fetches, and `sentopt emulator --yes` does it"
    )


def _system() -> Path:
    return folder() / f"debian-{_RELEASE}-python{_PYTHON}"


def _packages() -> Path:
    return folder() / "-".join(f"{name}-{version}" for name, version in _versions().items())


def _downloads() -> Path:
    return folder() / "downloads"


def _versions() -> dict[str, str]:
    return hardware.versions(_WHEELS)


def _in_words(versions: dict[str, str]) -> str:
    *most, last = (f"{name} {version}" for name, version in versions.items())
    return f"{', '.join(most)} and {last}"


def _command(system: Path, cpu: str) -> list[str]:
    root = system / "root"
    return [str(system / _QEMU), "-cpu", cpu, "-L", str(root), str(root / "usr" / "bin" / f"python{_PYTHON}")]


def _environment(packages: Path, *extra: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(str, (packages, *extra))),
        "PYTHONPYCACHEPREFIX": str(folder() / "compiled"),
        "PYTHONUTF8": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _obstacle() -> str:
    """Why nothing can be set up on this machine, and what to do; empty where nothing is known to be in the way."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        return (
            f"an ARM64 CPU is emulated on x86-64 Linux only, and this is {system} on {machine}: "
            "run `sentopt check BUNDLE` on an ARM64 machine instead"
        )
    if absent := [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]:
        return (
            f"setting up an ARM64 Python needs apt-get and dpkg-deb, and {' and '.join(absent)} cannot be found on "
            f"this system ({_distribution()}): use Debian or Ubuntu (a container is enough, and no root is needed), or "
            "run `sentopt check BUNDLE` on an ARM64 machine"
        )
    if missing := [name for name in _WHEELS if name not in _versions()]:
        return (
            f"the emulated CPU gets the packages that are installed here, and {', '.join(missing)} cannot be found: "
            "install it under this name (onnxruntime itself, not one of its builds for a GPU)"
        )
    place = next(path for path in (folder(), *folder().absolute().parents) if path.exists())
    free, needed = shutil.disk_usage(place).free, DISK_BYTES + 2 * DOWNLOAD_BYTES
    if free < needed:
        return (
            f"setting up an ARM64 Python needs {needed / 1e6:.0f} MB of disk for a while, and {place} has "
            f"{free / 1e6:.0f} MB left: free some, or name another folder in SENTOPT_CACHE_DIR"
        )
    return ""


def _distribution() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    return "unknown"


def _build_system(fresh: Path, progress: Progress) -> None:
    """qemu and the root of an ARM64 system, from Debian's packages."""
    archives = _debian_archives(progress)
    root = fresh / "root"
    root.mkdir()
    for archive in archives:
        if archive.name.startswith(f"{_QEMU_PACKAGE}_"):
            _unpack_emulator(archive, fresh / _QEMU)
        else:
            _run(["dpkg-deb", "-x", str(archive), str(root)], f"{archive.name} cannot be unpacked")
    if not (root / "lib").exists():
        (root / "lib").symlink_to(Path("usr", "lib"))  # where programs look for their loader
    _check_works(_command(fresh, MODELS[0]), _environment(_packages()), "print('works')", "works")


def _unpack_emulator(archive: Path, target: Path) -> None:
    """The one program that is needed of a package with fifty."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as unpacking:
        try:
            with tarfile.open(fileobj=unpacking.stdout, mode="r|") as members:
                for member in members:
                    stream = members.extractfile(member) if Path(member.name).name == _QEMU else None
                    if stream is not None:
                        with target.open("wb") as out:
                            shutil.copyfileobj(stream, out)
        except tarfile.TarError as error:
            raise EmulationError(f"{archive.name} cannot be unpacked: {error}") from error
    if not target.is_file():
        raise EmulationError(f"{archive.name} holds no {_QEMU}: give this message to the authors of sentopt")
    target.chmod(0o755)


def _build_packages(fresh: Path, progress: Progress) -> None:
    """The wheels, unpacked side by side; a first import proves that they work."""
    for wheel in _wheels(progress):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(fresh)
    progress.say("emulator: importing the packages for the first time")
    expected = " ".join(_versions()[name] for name in _WHEELS)
    _check_works(_command(_system(), MODELS[0]), _environment(fresh), _VERSIONS, expected)


def _check_works(command: list[str], variables: dict[str, str], program: str, expected: str) -> None:
    try:
        done = subprocess.run(
            [*command, "-c", program],
            env=variables,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"the ARM64 Python was unpacked and did not end within {_TIMEOUT_SECONDS} s") from error
    if done.returncode or done.stdout.strip() != expected:
        said = (done.stderr.strip().splitlines() or [done.stdout.strip() or "nothing"])[-1]
        raise EmulationError(
            f"the ARM64 Python was unpacked and does not work (exit code {done.returncode}): it said {said!r} instead "
            f"of {expected!r}. Nothing of it is kept but the downloads in {_downloads()}"
        )


@dataclass(frozen=True)
class _Archive:
    """A Debian package as the signed list of packages describes it."""

    file: str
    bytes: int
    sha256: str


def _debian_archives(progress: Progress) -> list[Path]:
    """The downloaded packages, each with the SHA-256 of the signed list."""
    target = _downloads() / "debian"
    target.mkdir(parents=True, exist_ok=True)
    options = _apt_options()
    progress.say(f"emulator: reading Debian's list of packages from {_mirror()}")
    _run(["apt-get", *options, "update"], "apt-get cannot read Debian's list of packages")
    names = [f"{_QEMU_PACKAGE}:amd64", *(f"{name}:arm64" for name in _PYTHON_PACKAGES)]
    listed = _listed(_run(["apt-get", *options, "download", "--print-uris", *names], "apt-get does not know a package"))
    if len(listed) != len(names):
        raise EmulationError(f"apt-get names {len(listed)} packages with a SHA-256, expected {len(names)}")
    for archive in listed:  # apt takes a file of the right length for the right one
        if (target / archive.file).exists() and not _is_verified(target / archive.file, archive):
            (target / archive.file).unlink()
    with _watched(target, sum(archive.bytes for archive in listed), progress, "emulator: Debian's packages"):
        _run(["apt-get", *options, "download", *names], "apt-get cannot download a package", cwd=target)
    if damaged := [archive.file for archive in listed if not _is_verified(target / archive.file, archive)]:
        raise EmulationError(
            f"{damaged[0]} is not what Debian's signed list says (SHA-256 or size): try again, or use another mirror "
            f"({MIRROR_VARIABLE}=http://.../debian)"
        )
    return [target / archive.file for archive in listed]


def _listed(printed: str) -> list[_Archive]:
    """The lines of `apt-get download --print-uris`: address, file name, bytes and hash."""
    found = re.findall(r"^'[^']+' (\S+) (\d+) SHA256:([0-9a-f]{64})$", printed, re.MULTILINE)
    return [_Archive(name, int(size), sha256) for name, size, sha256 in found]


def _is_verified(path: Path, archive: _Archive) -> bool:
    return path.is_file() and path.stat().st_size == archive.bytes and sha256_file(path) == archive.sha256


def _apt_options() -> list[str]:
    """Options under which apt uses folders of ours alone, and needs no root."""
    own = _downloads() / "apt"
    for name in ("lists/partial", "cache/archives/partial", "sources", "state"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "sources" / "debian.sources").write_text(
        f"Types: deb\nURIs: {_mirror()}\nSuites: {_RELEASE}\nComponents: main\nSigned-By: {_keyring()}\n",
        encoding="utf-8",
    )
    settings = {
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64,arm64",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "30",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": own / "sources",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": own / "state",
        "Dir::State::lists": own / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": own / "cache",
    }
    return ["-qq", *(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))]


def _mirror() -> str:
    """The variable's address, else the mirror of Debian that this machine uses, else Debian's own."""
    if named := os.environ.get(MIRROR_VARIABLE):
        return named.rstrip("/")
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return _MIRROR
    used = [line.strip().rstrip("/") for line in done.stdout.splitlines()]
    return next((address for address in used if address.endswith("/debian")), _MIRROR)


def _keyring() -> Path:
    """Debian's keys: this machine's, or, on Ubuntu, those of the package that Ubuntu signs."""
    if KEYRING.is_file():
        return KEYRING
    place = _downloads() / "keyring"
    place.mkdir(parents=True, exist_ok=True)
    _run(
        ["apt-get", "-qq", "download", _KEYRING_PACKAGE],
        f"Debian's keys are not on this system ({_distribution()}), and apt-get cannot download {_KEYRING_PACKAGE}",
        cwd=place,
    )
    for archive in place.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(archive), str(place)], f"{archive.name} cannot be unpacked")
    if keys := sorted(place.rglob(f"{KEYRING.stem}.*gp*")):
        return keys[0]
    raise EmulationError(f"{_KEYRING_PACKAGE} holds no keys: give this message to the authors of sentopt")


def _wheels(progress: Progress) -> list[Path]:
    """The downloaded wheels; pip compares each with the hash of the index."""
    target, versions = _downloads() / "wheels", _versions()
    target.mkdir(parents=True, exist_ok=True)
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(_MANYLINUX[0], _MANYLINUX[1] + 1)]
    wanted = [f"{name}=={versions[name]}" for name in _WHEELS]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    download += ["--only-binary=:all:", "--implementation", "cp", "--python-version", _PYTHON]
    download += [part for tag in (*tags, "manylinux2014_aarch64") for part in ("--platform", tag)]
    progress.say(f"emulator: downloading the aarch64 wheels of {_in_words(versions)}")
    with _watched(target, _WHEEL_BYTES[0], progress, "emulator: aarch64 wheels"):
        _run(
            [*download, "--dest", str(target), *wanted],
            f"pip cannot download {', '.join(wanted)} for aarch64 and Python {_PYTHON}",
        )
    found = [path for name in _WHEELS for path in target.glob(f"{name}-{versions[name]}-*.whl")]
    if len(found) != len(_WHEELS):
        raise EmulationError(f"pip left {len(found)} of {len(_WHEELS)} wheels in {target}; try again")
    return found


def _run(command: Sequence[str], failed: str, *, cwd: Path | None = None) -> str:
    """Run a command of the set-up; its last words are told where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False, cwd=cwd, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"{failed}: it took more than {_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "ERROR", "W:"))]
        said = (lines or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        if broken := re.search(r"connection broken by .*", done.stderr):  # pip says that no version was found, only
            said += f" ({broken[0][:300]})"
        raise EmulationError(
            f"{failed}: {said}\nWhat was downloaded so far is kept; the same command goes on from there."
        )
    return done.stdout


@contextlib.contextmanager
def _watched(target: Path, expected: int, progress: Progress, what: str) -> Iterator[None]:
    """Count the megabytes that appear in a folder."""
    stop = threading.Event()

    def watch() -> None:
        with progress.count(what, round(expected / 1e6), "MB", done=_megabytes(target)) as advance:
            seen = _megabytes(target)
            while not stop.wait(0.5):
                now = _megabytes(target)
                advance(max(0, now - seen))
                seen = max(seen, now)

    watcher = threading.Thread(target=watch, name="sentopt emulator", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _megabytes(target: Path) -> int:
    return round(_measure(target)[1] / 1e6)


def _measure(target: Path) -> tuple[int, int]:
    """Number and bytes of the files below a folder, without the record."""
    count = size = 0
    for directory, _, files in os.walk(target):
        for name in files:
            if name != _RECORD:
                with contextlib.suppress(OSError):  # apt and pip rename files meanwhile
                    size += Path(directory, name).lstat().st_size
                    count += 1
    return count, size


def _record(part: Path) -> None:
    files, size = _measure(part)
    (part / _RECORD).write_text(json.dumps({"files": files, "bytes": size}), encoding="utf-8")


def _is_whole(part: Path) -> bool:
    """Whether a part has every file that it had when it was set up."""
    try:
        recorded = json.loads((part / _RECORD).read_text(encoding="utf-8"))
        return (recorded["files"], recorded["bytes"]) == _measure(part)
    except (OSError, ValueError, KeyError, TypeError):
        return False
