"""What a command prints and reads is UTF-8 in a pipe, whatever the system's encoding is."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest

from sentopt.files import streams

ECHO = "import sys; from sentopt.files import streams; streams.use_utf8(); sys.stdout.write(sys.stdin.readline())"
TEXT = "schön 👍 こんにちは"


def echo(given: bytes, **environment: str) -> bytes:
    """What comes out of a process that prints its first line of input, where the system's encoding is ASCII."""
    legacy = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    path = {"PYTHONPATH": str(Path(streams.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", ECHO],
        input=given,
        capture_output=True,
        env={**legacy, **path, **environment},
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_pipe_carries_every_character_whatever_the_locale(mark: bytes) -> None:
    assert echo(mark + TEXT.encode()) == TEXT.encode()


def test_who_names_an_encoding_gets_it_and_no_character_ends_the_command() -> None:
    assert echo("schön 👍".encode(), PYTHONIOENCODING="utf-8") == "schön 👍".encode()
    assert echo("schön ✓".encode("cp1252", "ignore"), PYTHONIOENCODING="cp1252") == "schön ".encode("cp1252")


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_a_terminal_keeps_its_encoding_and_shows_numbers_for_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", Terminal(written, encoding="cp1252", newline=""))
    streams.use_utf8()
    print("schön ✓", flush=True)
    assert written.getvalue() == "schön \\u2713\n".encode("cp1252")


def test_a_lone_surrogate_does_not_end_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="utf-8", newline=""))
    streams.use_utf8()
    print("a\udcffb", flush=True)
    assert written.getvalue() == b"a\\udcffb\n"


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_streams_that_somebody_replaced_are_left_alone(stream: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    streams.use_utf8()
    assert sys.stdout is stream


def test_a_reader_that_has_gone_is_known_by_what_each_system_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    invalid = OSError(errno.EINVAL, "Invalid argument")
    assert streams.nobody_reads(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert not streams.nobody_reads(invalid)
    monkeypatch.setattr(sys, "platform", "win32")
    assert streams.nobody_reads(invalid)
    assert not streams.nobody_reads(OSError(errno.EINVAL, "Invalid argument", "what?.csv"))
    assert not streams.nobody_reads(OSError(errno.ENOSPC, "No space left on device"))
