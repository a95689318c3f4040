"""Setting up an ARM64 Python: what is announced, verified, resumed, and said where it cannot be had."""

import os
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import emulator_stand_in
import pytest
from emulator_stand_in import WHEELS, Debian

import sentopt
from sentopt import cli
from sentopt.backends import arm64, emulation
from sentopt.errors import EmulationError
from sentopt.measure import hardware
from sentopt.progress import Lines


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    return emulator_stand_in.install(tmp_path, monkeypatch)


def test_what_would_be_fetched_is_said_before_anything_is(debian: Debian, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emulator"]) == 0
    told = capsys.readouterr().out
    assert "about 143 MB" in told
    assert "about 196 MB" in told
    assert str(arm64.folder()) in told
    assert "qemu-user" in told
    assert all(f"{name} {version(name)}" in told for name in WHEELS)
    assert told.endswith("sentopt emulator --yes\n")
    assert not arm64.folder().exists()
    assert debian.log.read_text() == ""


def test_it_is_set_up_once(debian: Debian, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["emulator", "--yes"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("ARM64 is set up for onnxruntime")
    assert "reading Debian's list of packages from http://mirror/debian\n" in captured.err
    assert emulation.problem("neoverse-n1") == ""
    asked = debian.log.read_text()
    assert sentopt.emulator(fetch=True, progress=False).is_ready
    assert debian.log.read_text() == asked
    left = {path.name for path in arm64.folder().iterdir() if path.is_dir()}
    assert "downloads" not in left
    printed: list[str] = []
    emulation.python("cortex-a72", ["-c", "print(6 * 7)"], "", printed.append)
    assert printed == ["42\n"]


def test_what_was_downloaded_is_not_fetched_again(debian: Debian) -> None:
    (debian.repository / "zlib1g_1.0_arm64.deb").rename(debian.repository / "hidden")
    with pytest.raises(
        EmulationError, match="apt-get does not know a package: E: Unable to locate package zlib1g:arm64"
    ):
        arm64.set_up()
    (debian.repository / "hidden").rename(debian.repository / "zlib1g_1.0_arm64.deb")
    wheel = next(debian.wheels.glob("tokenizers-*"))
    wheel.rename(debian.wheels / "hidden")
    with pytest.raises(EmulationError, match=r"pip cannot download .*tokenizers==.*\n.*the same command goes on"):
        arm64.set_up()
    assert not arm64.is_ready()
    (debian.wheels / "hidden").rename(wheel)
    fetched = debian.fetched()
    assert len(fetched) == len(set(fetched)) == 14
    assert arm64.set_up().is_ready
    assert debian.fetched() == fetched


def test_a_damaged_download_of_the_right_length_is_fetched_again(debian: Debian) -> None:
    """apt takes it for the right one."""
    place = arm64.folder() / "downloads" / "debian"
    place.mkdir(parents=True)
    published = debian.repository / "qemu-user_1.0_arm64.deb"
    (place / published.name).write_bytes(published.read_bytes()[:-1] + b"!")
    assert arm64.set_up().is_ready
    assert published.name in debian.fetched()


def test_a_package_that_is_not_the_signed_one_is_refused(debian: Debian) -> None:
    published = debian.repository / "libc6_1.0_arm64.deb"
    published.write_bytes(published.read_bytes()[:-1] + b"!")
    with pytest.raises(EmulationError, match=r"libc6_1\.0_arm64\.deb is not what Debian's signed list says"):
        arm64.set_up()
    assert not arm64.is_ready()


def test_without_a_network_the_words_of_apt_are_told(debian: Debian, capsys: pytest.CaptureFixture[str]) -> None:
    debian.fails_at("update")
    assert cli.main(["emulator", "--yes"]) == 1
    told = capsys.readouterr().err
    assert "apt-get cannot read Debian's list of packages: E: Failed to fetch http://mirror/debian" in told
    assert "Traceback" not in told
    debian.fails_at("")
    assert cli.main(["emulator", "--yes"]) == 0


def test_an_index_that_cannot_be_reached_is_told_as_that(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's last words are that it found no version."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(EmulationError, match=r"pip cannot download onnxruntime==.*connection broken by .*refused"):
        arm64.set_up()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("exit 7", r"exit code 7\): it said 'nothing'"),
        ("echo wrong; exit 0", "it said 'wrong' instead of"),
        ("kill -11 $$", "-11"),
    ],
)
def test_a_python_that_does_not_work_never_counts_as_set_up(debian: Debian, fault: str, said: str) -> None:
    debian.add_qemu(fault)
    with pytest.raises(EmulationError, match=said):
        arm64.set_up()
    assert not arm64.is_ready()
    assert [path.name for path in arm64.folder().iterdir() if path.is_dir()] == ["downloads"]


def test_wheels_that_hold_another_version_never_count_as_set_up(debian: Debian) -> None:
    debian.add_wheel("numpy", version("numpy"), holds="0.1")
    with pytest.raises(EmulationError, match=r"it said '.* 0\.1 .*' instead of"):
        arm64.set_up()
    assert not arm64.is_ready()


def test_a_new_onnxruntime_needs_new_wheels_and_nothing_of_debian(
    debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm64.set_up()
    fetched = debian.fetched()
    newer = {name: version(name) for name in WHEELS} | {"onnxruntime": "99.0"}
    monkeypatch.setattr(hardware, "versions", lambda packages: newer)
    found = arm64.state()
    assert not found.is_ready
    assert found.download_bytes < arm64.DOWNLOAD_BYTES / 2
    (source,) = found.sources
    assert source.startswith("package index of pip: the aarch64 wheels of onnxruntime 99.0, numpy ")
    assert "is not complete here for onnxruntime 99.0" in emulation.problem("neoverse-n1")
    debian.add_wheel("onnxruntime", "99.0")
    assert arm64.set_up().is_ready
    assert debian.fetched() == fetched


def test_a_part_that_lost_a_file_is_set_up_again(debian: Debian) -> None:
    arm64.set_up()
    next(arm64.folder().rglob("libc6")).unlink()
    assert not arm64.is_ready()
    assert "`sentopt emulator --yes`" in emulation.problem("cortex-a72")
    assert arm64.set_up().is_ready


def test_the_models_are_known_before_anything_is_fetched(debian: Debian) -> None:
    told = emulation.problem("cortex-z9")
    assert told.startswith("qemu-aarch64 has no CPU model 'cortex-z9'")
    assert all(model in told for model in arm64.MODELS)
    assert debian.log.read_text() == ""


def test_a_mirror_can_be_named(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(arm64.MIRROR_VARIABLE, "http://inside.example/debian/")
    debian.fails_at("update")
    said: list[str] = []
    with pytest.raises(EmulationError):
        arm64.set_up(Lines(said.append))
    assert said == ["emulator: reading Debian's list of packages from http://inside.example/debian"]
    sources = arm64.folder() / "downloads" / "apt" / "sources" / "debian.sources"
    assert "URIs: http://inside.example/debian\n" in sources.read_text()


def test_without_debians_keys_their_package_is_taken_from_this_system(
    debian: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm64, "KEYRING", tmp_path / "nowhere" / "debian-archive-keyring.gpg")
    with pytest.raises(EmulationError, match=r"Debian's keys are not on this system .* Unable to locate package"):
        arm64.set_up()
    debian.add("debian-archive-keyring", {"./usr/share/keyrings/debian-archive-keyring.gpg": b"keys"})
    assert arm64.set_up().is_ready
    assert "debian-archive-keyring_1.0_arm64.deb" in debian.fetched()


def test_other_systems_are_told_what_they_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"PRETTY_NAME": "Fedora Linux 44"})
    assert cli.main(["emulator", "--yes"]) == 1
    told = capsys.readouterr().err
    assert "apt-get and dpkg-deb cannot be found on this system (Fedora Linux 44): use Debian or Ubuntu" in told
    assert cli.main(["emulator"]) == 0
    assert "cannot:  setting up an ARM64 Python needs apt-get" in capsys.readouterr().out
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(EmulationError, match="x86-64 Linux only, and this is Darwin on arm64"):
        sentopt.emulator(fetch=True, progress=False)


def test_a_full_disk_is_told_before_anything_is_fetched(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 50_000_000))
    with pytest.raises(EmulationError, match=r"needs \d+ MB of disk for a while, and .* has 50 MB left"):
        arm64.set_up()
    assert debian.log.read_text() == ""


def test_nothing_of_this_python_reaches_the_emulated_one(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    arm64.set_up()
    for name in ("PYTHONHOME", "LD_LIBRARY_PATH", "LD_PRELOAD"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/of/this/python")
    program = "import os; print(*sorted(os.environ)); print(os.environ['PYTHONPATH'])"
    printed: list[str] = []
    emulation.python("neoverse-n1", ["-c", program], "", printed.append)
    names, path = printed
    assert not {"PYTHONHOME", "LD_LIBRARY_PATH", "LD_PRELOAD"} & set(names.split())
    assert "/of/this/python" not in path.split(os.pathsep)
