"""Lines of standard input: what has arrived is given out at once, and a wrong byte after all that came before it."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from sentopt.data import piped
from sentopt.errors import DataError


class Pipe:
    """Both ends of a pipe; what reads has the encoding of a console."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self.stream: TextIO = os.fdopen(reading, encoding="utf-8")

    def write(self, content: bytes) -> None:
        assert os.write(self.writing, content) == len(content)

    def end(self) -> None:
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stream.close()


def lines_of(content: bytes, folder: Path, **options: str) -> list[str]:
    """The lines of a file that is standard input."""
    (folder / "lines").write_bytes(content)
    with (folder / "lines").open(encoding="utf-8") as stream:
        return [line for window in piped.windows(stream, **options) for line in window]  # type: ignore[arg-type]


def test_a_line_is_given_out_before_the_next_one_comes(pipe: Pipe) -> None:
    windows = piped.windows(pipe.stream)
    for i in range(3):
        pipe.write(b"line %d\nnot yet " % i)
        assert next(windows) == [f"{'not yet ' * bool(i)}line {i}"]
    pipe.end()
    assert list(windows) == [["not yet "]]


def test_lines_that_come_together_are_given_out_together(pipe: Pipe) -> None:
    pipe.write(b"".join(b"%d\n" % i for i in range(600)))
    pipe.end()
    assert [len(window) for window in piped.windows(pipe.stream)] == [256, 256, 88]


def test_a_large_file_comes_in_full_windows_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("".join(f"{i} {'x' * (i % 100)}\n" for i in range(100_000)))
    with (tmp_path / "lines").open() as stream:
        windows = list(piped.windows(stream))
    assert [int(line.split()[0]) for window in windows for line in window] == list(range(100_000))
    assert len(windows) < 600  # 391 are full; the reader may be a little behind now and then


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\n\ntwo\r\nthree\rfour\n", ["one", "", "two", "three", "four"]),
        (b"\xef\xbb\xbfone\n", ["one"]),
        ("zwölf\n".encode("utf-16"), ["zwölf"]),
        ("zwölf\n".encode("utf-32"), ["zwölf"]),
        (b"a\0b\n\x0c\x85\n".replace(b"\x85", "\x85".encode()), ["a\0b", "\x0c\x85"]),
        (("é" * 70_000 + "\n" + "😀" * 40_000).encode(), ["é" * 70_000, "😀" * 40_000]),
    ],
)
def test_lines_are_those_of_the_file(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    assert lines_of(content, tmp_path) == expected


def test_a_stated_encoding_counts(tmp_path: Path) -> None:
    assert lines_of(b"caf\xe9\n\xefa\n", tmp_path, encoding="latin-1") == ["café", "ïa"]
    assert lines_of("日本\n".encode("shift_jis"), tmp_path, encoding="shift_jis") == ["日本"]
    with pytest.raises(DataError, match="there is no encoding 'nonsense'"):
        lines_of(b"one", tmp_path, encoding="nonsense")
    with pytest.raises(DataError, match=r"standard input is not utf-16 \(.*\); name the encoding of its texts"):
        lines_of(b"one\n", tmp_path, encoding="utf-16")


@pytest.mark.parametrize(
    ("content", "good", "said"),
    [
        (b"one\ntwo\ncaf\xe9 bad\nfour\n", 2, "line 3: byte 0xe9 is not UTF-8 (in b'caf\\xe9 bad')"),
        (b"\xff\n", 0, "line 1: byte 0xff is not UTF-8"),
        (b"one\ncut \xe2\x82", 1, "line 2: byte 0xe2 is not UTF-8"),
        (b"x" * (1 << 16) + b"\n" + b"\xc3\n", 1, "line 2: byte 0xc3 is not UTF-8"),
        (b"x" * ((1 << 16) - 1) + b"\xc3" + b"\nmore\n", 0, "line 1: byte 0xc3 is not UTF-8"),
    ],
)
def test_a_wrong_byte_is_named_after_the_lines_before_it(tmp_path: Path, content: bytes, good: int, said: str) -> None:
    (tmp_path / "lines").write_bytes(content)
    lines: list[str] = []
    # utf-8-sig is what the command line reads with
    with (tmp_path / "lines").open(encoding="utf-8-sig") as stream, pytest.raises(DataError) as caught:  # noqa: PT012
        for window in piped.windows(stream):
            lines += window
    assert len(lines) == good
    assert said in str(caught.value)
    assert "--encoding windows-1252" in str(caught.value)


def test_streams_in_memory_and_missing_ones() -> None:
    assert list(piped.windows(io.StringIO("a\nb\r\nc"), most=2)) == [["a", "b"], ["c"]]
    with pytest.raises(DataError, match="standard input is closed; give texts as arguments"):
        next(piped.windows(None))


def test_what_the_system_refuses_is_raised(tmp_path: Path) -> None:
    class Folder(io.StringIO):
        def fileno(self) -> int:
            return os.open(tmp_path, os.O_RDONLY)

        encoding = "utf-8"

    with pytest.raises(IsADirectoryError):
        list(piped.windows(Folder()))


WAITING = """
import sys
from sentopt.data import piped
print(next(piped.windows(sys.stdin)), flush=True)
"""


def test_a_reader_that_waits_does_not_keep_the_process_from_ending() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.wait(timeout=60) == 0  # its standard input is still open
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == (b"['one']\n", b"")
