"""Detect the encoding of a text file: stated by the user, else by its first bytes, else a guess with a notice.

UTF-8 and UTF-16 need the standard library only; guessing another encoding needs charset-normalizer.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sentopt._optional import is_installed, require
from sentopt.data.options import TableOptions
from sentopt.errors import DataError

_CHUNK = 1 << 20
_SMALL = 1 << 12
_LOOKED_AT = 64 * _CHUNK
_SHOWN = 40
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: the UTF-32 mark begins with the UTF-16 one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Legacy encodings of spreadsheets and editors. Windows-1252 is by far the most frequent and comes first.
_GUESSES = {
    "cp1252": "windows-1252",
    "cp1250": "windows-1250",
    "cp1251": "windows-1251",
    "cp1253": "windows-1253",
    "cp1254": "windows-1254",
    "cp1255": "windows-1255",
    "cp1256": "windows-1256",
    "cp932": "shift_jis",
    "euc_jp": "euc_jp",
    "cp949": "euc_kr",
    "gb18030": "gb18030",
    "big5": "big5",
    "koi8_r": "koi8-r",
}
_CODECS = {"shift_jis": "cp932", "euc_kr": "cp949"}


@dataclass(frozen=True)
class Encoding:
    """A Python codec, and a notice about how it was chosen."""

    codec: str
    notice: str = ""


@dataclass(frozen=True)
class _WrongByte:
    """The first byte that is invalid in an encoding, its line, and the surrounding bytes."""

    line: int
    byte: int
    around: bytes


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading bytes; a name ending in .gz is decompressed."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    stream: IO[bytes] = opener(path, "rb")
    return stream


def damaged(path: Path, error: Exception) -> DataError:
    """The error for a .gz file that cannot be unpacked; it says which line is the last good one."""
    lines = good = 0
    try:
        with open_bytes(path) as stream:
            while chunk := stream.read(_SMALL):
                lines, good = lines + chunk.count(b"\n"), good + len(chunk)
    except (OSError, EOFError, zlib.error):
        pass
    if not good and isinstance(error, gzip.BadGzipFile):
        return DataError(f"{path} is not packed with gzip, although its name says so: remove .gz from its name")
    return DataError(
        f"{path} is damaged: it cannot be unpacked beyond line {lines + 1} ({good} bytes): {error}. "
        "Copy or download it again"
    )


def is_known(name: str) -> bool:
    """Whether Python has a text encoding with this name."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


def detect(path: Path, options: TableOptions) -> Encoding:
    """The encoding of a text file.

    A file is read as UTF-8 if its first 64 MiB are valid UTF-8; the rest is checked while reading.

    Raises:
        DataError: the stated encoding is unknown, lines are damaged, or the encoding cannot be guessed.
    """
    if options.encoding:
        if not is_known(options.encoding):
            raise DataError(
                f"there is no encoding {options.encoding!r}; expected a name such as utf-8, utf-16 or windows-1252"
            )
        return Encoding(_with_mark(options.encoding))
    with open_bytes(path) as stream:
        head = stream.read(4096)
    if marked := of_mark(head):
        return Encoding(marked)
    wide = _unmarked_utf16(head)
    if wide:
        return Encoding(wide, f"{path.name}: read as {wide}, according to its first bytes")
    bad = _first_wrong(path, "utf-8", limit=_LOOKED_AT)
    return Encoding("utf-8") if bad is None else _guess(path, bad, options)


def of_mark(head: bytes) -> str:
    """The codec that a byte-order mark at the start of `head` names; empty without one."""
    return next((codec for mark, codec in _MARKS if head.startswith(mark)), "")


def shown(codec: str) -> str:
    """A codec as messages call it."""
    return "UTF-8" if codecs.lookup(codec).name in ("utf-8", "utf-8-sig") else codec


def wrong_byte(path: Path, codec: str, error: UnicodeError, options: TableOptions) -> DataError:
    """The error for bytes that are invalid in `codec`; some codecs raise a plain `UnicodeError`, without a place."""
    name = shown(codec)
    bad = _first_wrong(path, codec, limit=None) if isinstance(error, UnicodeDecodeError) else None
    reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
    where = f"byte 0x{bad.byte:02x} in line {bad.line}" if bad else reason
    return DataError(
        f"{path} is not {name}: {where}. "
        f"Name its encoding with {options.how('encoding', 'windows-1252')}, or convert it, for example: "
        f"iconv -f WINDOWS-1252 -t UTF-8 {path.name}"
    )


def _with_mark(name: str) -> str:
    """The codec that also accepts a byte order mark at the beginning."""
    canonical = codecs.lookup(name).name
    return {"utf-8": "utf-8-sig"}.get(canonical, _CODECS.get(canonical, canonical))


def _unmarked_utf16(head: bytes) -> str:
    """The codec of UTF-16 without a byte order mark. Column names are ASCII, so every second byte is 0."""
    start = head[: min(len(head), 16) // 2 * 2]
    if len(start) < 8:
        return ""
    if not any(start[1::2]) and all(start[0::2]):
        return "utf-16-le"
    if not any(start[0::2]) and all(start[1::2]):
        return "utf-16-be"
    return ""


def _first_wrong(path: Path, codec: str, *, limit: int | None) -> _WrongByte | None:
    """The first byte that is invalid in `codec`, within at least the first `limit` bytes."""
    decoder = codecs.getincrementaldecoder(codec)("strict")
    lines, read = 1, 0
    with open_bytes(path) as stream:
        while limit is None or read < limit:
            chunk = stream.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                before = error.object[: error.start]
                return _WrongByte(lines + _line_ends(before), error.object[error.start], error.object)
            if not chunk:
                return None
            lines += _line_ends(chunk)
            read += len(chunk)
    return None


def _line_ends(data: bytes) -> int:
    return data.count(b"\n") or data.count(b"\r")


def _guess(path: Path, bad: _WrongByte, options: TableOptions) -> Encoding:
    problem = f"{path.name} is not UTF-8 (byte 0x{bad.byte:02x} in line {bad.line})"
    replaced = bad.around.decode("utf-8", "replace")
    damaged = replaced.count("\ufffd")
    if sum(character > "\x7f" for character in replaced) > 2 * damaged:
        raise DataError(
            f"{path} is UTF-8 except for byte 0x{bad.byte:02x} in line {bad.line}: correct that line, "
            f"or name the file's encoding with {options.how('encoding', 'windows-1252')}"
        )
    if not is_installed("charset_normalizer"):
        raise DataError(
            f"{problem}: name its encoding with {options.how('encoding', 'windows-1252')}, or "
            'pip install "sentopt[train]" to have it guessed'
        )
    lines = [line for line in bad.around.splitlines() if not line.isascii()]
    codec = _likeliest(b"\n".join(lines)[:65536])
    if codec is None:
        raise DataError(
            f"{path} is not UTF-8 (byte 0x{bad.byte:02x} in line {bad.line}) and not text in another known encoding: "
            f"name its encoding with {options.how('encoding', 'windows-1252')}"
        )
    name = _GUESSES[codec]
    return Encoding(
        codec,
        f"{problem}: read as {name}, which is a guess; a line then says "
        f"{_excerpt(lines[0].decode(codec, 'replace'))!r}. "
        f"Another one can be named with {options.how('encoding', 'NAME')}",
    )


def _likeliest(sample: bytes) -> str | None:
    """Windows-1252 if it fits the sample about as well as the best encoding, else the best; None if none fits."""
    matches = list(
        require("charset_normalizer", extra="train").from_bytes(
            sample, cp_isolation=list(_GUESSES), enable_fallback=False
        )
    )
    possible: dict[str, float] = {}
    for match in matches:
        for name in {match.encoding, *match.could_be_from_charset}:
            possible[name] = min(match.chaos, possible.get(name, 1.0))
    fitting = [name for name in _GUESSES if name in possible and possible[name] <= min(possible.values()) + 0.05]
    if fitting and fitting[0] == "cp1252":
        return "cp1252"
    return str(matches[0].encoding) if matches else None


def _excerpt(line: str) -> str:
    """The part of a line around its first non-ASCII character."""
    at = next((i for i, character in enumerate(line) if character > "\x7f"), 0)
    start = max(0, at - _SHOWN // 2)
    return line[start : start + _SHOWN]
