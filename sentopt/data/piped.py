"""Lines of standard input as they arrive: many at a time from a file, one at a time from a program that pauses."""

from __future__ import annotations

import codecs
import io
import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TextIO

from sentopt.data import encodings
from sentopt.errors import DataError

_BLOCK = 1 << 16
_WAITING_BLOCKS = 8
_SHOWN = 20

Block = list[str] | Exception | None
"""Lines, what ended the reading, or its end."""


def windows(stream: TextIO | None, *, most: int = 256, encoding: str = "") -> Iterator[list[str]]:
    """Lists of up to `most` lines without their ends. A list holds what has arrived; it waits for one line only.

    Args:
        stream: standard input.
        most: lines in a list at most.
        encoding: of its bytes; by default what a byte-order mark says, or else that of `stream`.

    Raises:
        DataError: there is no stream, no such encoding, or a line has bytes that are not of the encoding. All lines
            before that one have been given out.
        OSError: the stream cannot be read.
    """
    if stream is None:
        raise DataError("standard input is closed; give texts as arguments, or a file with --input")
    if encoding and not encodings.is_known(encoding):
        raise DataError(f"there is no encoding {encoding!r}; expected a name such as utf-8 or windows-1252")
    descriptor = _descriptor(stream)
    if descriptor is None:
        yield from _in_memory(stream, 1 if stream.isatty() else most)
        return
    blocks: queue.Queue[Block] = queue.Queue(_WAITING_BLOCKS)
    # A thread, because files, pipes and consoles have no common way to ask whether there is more. It reads from the
    # descriptor: a thread that waits inside sys.stdin holds a lock that the end of the interpreter needs.
    lines = _Lines(encoding or stream.encoding, stated=bool(encoding))
    threading.Thread(target=_read, args=(descriptor, lines, blocks), name="sentopt stdin", daemon=True).start()
    yield from _arrived(blocks, most)


def paired(lines: Iterable[list[str]], *, given: bool) -> Iterator[list[tuple[str, str]]]:
    """The pairs of lists of lines, each of two texts with a tab between them.

    Of texts that are `given` as arguments, the first and the second of each pair follow one another.

    Raises:
        DataError: a text is alone, or a line has more than two.
    """
    number = 0
    for window in lines:
        if given:
            if len(window) % 2:
                raise DataError(
                    f"the model answers pairs of texts, and {len(window)} text(s) are given: give both texts of each "
                    "pair, one after the other"
                )
            yield list(zip(window[::2], window[1::2], strict=True))
            continue
        found: list[tuple[str, str]] = []
        for line in window:
            number += 1
            texts = line.split("\t")
            if len(texts) != 2:
                yield found
                held = "one text" if len(texts) == 1 else f"{len(texts)} texts"
                raise DataError(
                    f"standard input, line {number} holds {held} ({line[:40]!r}), and the model answers pairs: "
                    "expected two texts with a tab between them (texts that have tabs can be given as a CSV file)"
                )
            found.append((texts[0], texts[1]))
        yield found


def _in_memory(stream: TextIO, most: int) -> Iterator[list[str]]:
    window: list[str] = []
    for line in stream:
        window.append(line.rstrip("\r\n"))
        if len(window) == most:
            yield window
            window = []
    if window:
        yield window


def _arrived(blocks: queue.Queue[Block], most: int) -> Iterator[list[str]]:
    ready: deque[str] = deque()
    block: Block = []
    while isinstance(block, list):
        while len(ready) < most:
            try:
                block = blocks.get(block=not ready)
            except queue.Empty:
                break
            if not isinstance(block, list):
                break
            ready.extend(block)
        if ready:
            yield [ready.popleft() for _ in range(min(most, len(ready)))]
    while ready:
        yield [ready.popleft() for _ in range(min(most, len(ready)))]
    if block is not None:
        raise block


class _Lines:
    """Decodes blocks of bytes into lines. A line that has not ended waits for the rest of it."""

    def __init__(self, encoding: str, *, stated: bool) -> None:
        self._encoding = encoding
        self._stated = stated
        self._decoder: io.IncrementalNewlineDecoder | None = None
        self._begun: list[str] = []
        self._number = 0

    def of(self, block: bytes) -> list[str]:
        """The lines that end in `block`; an empty one is the end of all.

        Raises:
            UnicodeDecodeError: see `of_good`.
        """
        self._decoder = self._decoder or self._new_decoder(block)
        return self._split(self._decoder.decode(block, final=not block), final=not block)

    def of_good(self, block: bytes, error: UnicodeDecodeError) -> tuple[list[str], DataError]:
        """The lines before the one that raised `error`, and an error in words."""
        before = len(error.object) - len(block)  # bytes of a character that the last block began
        assert self._decoder is not None
        lines = self._split(self._decoder.decode(block[: max(0, error.start - before)]), final=False)
        wrong = error.object[error.start : error.start + 1]
        around = error.object[max(0, error.start - _SHOWN) : error.start + _SHOWN].split(b"\n")
        shown, codec = next(part for part in around if wrong in part), encodings.shown(self._encoding)
        return lines, DataError(
            f"standard input, line {self._number + 1}: byte 0x{wrong.hex()} is not {codec} (in {shown!r}); "
            "name the encoding of its texts, such as --encoding windows-1252"
        )

    def refused(self, error: UnicodeError) -> DataError:
        """The error for bytes of which the codec does not say which one is wrong."""
        return DataError(
            f"standard input is not {encodings.shown(self._encoding)} ({error}); "
            "name the encoding of its texts, such as --encoding windows-1252"
        )

    def _new_decoder(self, first: bytes) -> io.IncrementalNewlineDecoder:
        marked = encodings.of_mark(first)
        if marked and not self._stated:
            self._encoding = marked
        elif codecs.lookup(self._encoding).name in ("utf-8", "utf-8-sig"):
            self._encoding = "utf-8-sig" if marked == "utf-8-sig" else "utf-8"
        return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(self._encoding)("strict"), translate=True)

    def _split(self, text: str, *, final: bool) -> list[str]:
        *ended, rest = text.split("\n")
        if ended:
            ended[0] = "".join([*self._begun, ended[0]])
            self._begun = []
        if rest:
            self._begun.append(rest)
        if final and self._begun:
            ended, self._begun = [*ended, "".join(self._begun)], []
        self._number += len(ended)
        return ended


def _read(descriptor: int, lines: _Lines, blocks: queue.Queue[Block]) -> None:
    block = b"begin"
    try:
        while block:
            block = os.read(descriptor, _BLOCK)
            try:
                ended, problem = lines.of(block), None
            except UnicodeDecodeError as error:
                ended, problem = lines.of_good(block, error)
            except UnicodeError as error:  # some codecs do not say where
                raise lines.refused(error) from error
            if ended:
                blocks.put(ended)
            if problem is not None:
                raise problem
        blocks.put(None)
    except Exception as error:  # raised where the lines are used
        blocks.put(error)


def _descriptor(stream: TextIO) -> int | None:
    """The descriptor to read bytes from; None for a stream in memory, and for a terminal, which gives single lines."""
    try:
        return None if stream.isatty() else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
