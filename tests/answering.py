"""A process that loads bundles and answers with them, watched from outside: whether it dies, and what it opens.

Run as a program, it is that process. It reads names of folders, one a line, and writes what came of each.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS = ("great great", "terrible the", "the", "", "an unknown word " * 40)
END = "/the-end-of-the-process"
_MOST_MEMORY = 6 * 2**30
_OPENED = re.compile(r'^\d+ +(?:openat|open|creat|openat2|execve)\((?:AT_FDCWD, )?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Outcome:
    """What came of a folder: refused or answered in words and numbers, or the process died or was too slow."""

    kind: str  # "answered", "refused", "traceback", "died", "slow"
    words: str = ""
    answers: tuple[tuple[str, tuple[float, ...]], ...] = ()
    golden: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0
    opened: tuple[str, ...] = ()


class Answering:
    """The process, started again whenever it died."""

    def __init__(self, known: Path, log: Path, *, seconds: float = 120.0) -> None:
        """
        Args:
            known: a good bundle; the files that it makes the process open are not counted.
            log: the file that strace writes, if this system has it.
            seconds: how long an answer may take.
        """
        self._known, self._log, self._seconds = known, log, seconds
        self._process: subprocess.Popen[str] | None = None
        self._usual: set[str] = set()
        self._read = 0

    def of(self, folder: Path) -> Outcome:
        """What came of loading a bundle and answering with it."""
        process = self._running()
        start = time.perf_counter()
        outcome = self._ask(process, folder)
        seconds = time.perf_counter() - start
        opened = [path for path in self._opened_last() if not self._is_usual(path, folder)]
        if outcome.kind in ("died", "slow"):
            self.end()
        return Outcome(**{**vars(outcome), "seconds": seconds, "opened": (*outcome.opened, *opened)})

    def end(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None
            self._read = 0

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            command = [sys.executable, __file__, str(self._known)]
            environment = {**os.environ, "SENTOPT_CACHE_DIR": str(self._log.parent / "cache")}
            self._process = subprocess.Popen(
                [*tracing(self._log), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
            ready = self._ask(self._process, self._known)
            assert ready.kind == "answered", ready
            self._usual |= set(self._opened_last()) | set(ready.opened)
        return self._process

    def _ask(self, process: subprocess.Popen[str], folder: Path) -> Outcome:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
        except BrokenPipeError:
            return Outcome("died", f"exit code {process.wait()}")
        if not select.select([process.stdout], [], [], self._seconds)[0]:
            return Outcome("slow", f"no answer in {self._seconds:g} s")
        line = process.stdout.readline()
        if not line:
            return Outcome("died", f"exit code {process.wait()}")
        found = json.loads(line)
        found["answers"] = tuple((label, tuple(row)) for label, row in found["answers"])
        return Outcome(**{**found, "opened": tuple(p for p in found["opened"] if not self._is_usual(p, folder))})

    def _opened_last(self) -> list[str]:
        """Paths that strace saw since this was called last."""
        if not self._log.is_file():
            return []
        with self._log.open(encoding="utf-8", errors="replace") as stream:
            stream.seek(self._read)
            text = stream.read()
            self._read = stream.tell()
        return opened_in(text)

    def _is_usual(self, path: str, folder: Path) -> bool:
        here = os.path.normpath(path)
        return here == str(folder) or here.startswith(f"{folder}/") or path in self._usual or not path.startswith("/")


def opened_in(text: str) -> list[str]:
    """The paths that system calls in what strace wrote opened, executed or resolved, or tried to."""
    return [match[1] for line in text.splitlines() if (match := _OPENED.match(line))]


def tracing(log: Path) -> list[str]:
    """The command that records what a process opens; nothing on a system without strace."""
    if not can_trace():
        return []
    return ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "4096", "-e", "trace=%file", "-o", str(log)]


def can_trace() -> bool:
    """Whether strace is here and may be used."""
    try:
        return (
            subprocess.run(["strace", "-f", "-o", os.devnull, "true"], check=False, capture_output=True).returncode == 0
        )
    except OSError:
        return False


def serve(known: Path) -> None:
    """The side of the process."""
    from sentopt import Classifier
    from sentopt.errors import BundleError

    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    opened: list[str] = []
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print
    Classifier.load(known, threads=1, check=True).predict(TEXTS)
    sys.addaudithook(
        lambda event, arguments: opened.append(os.fsdecode(arguments[0])) if _is_open(event, arguments) else None
    )
    for line in sys.stdin:
        opened.clear()
        _forget_peak()
        found: dict[str, Any] = {"kind": "answered", "words": "", "answers": [], "golden": ""}
        folder = Path(line.rstrip("\n"))
        if str(folder) == END:
            os.abort()
        try:
            classifier = Classifier.load(folder, threads=1)
            found["answers"] = [(p.label, list(p.probabilities.values())) for p in classifier.predict(TEXTS)]
            found["golden"] = _golden(classifier)
        except BundleError as error:
            found.update(kind="refused", words=str(error))
        except BaseException as error:
            found.update(kind="traceback", words=f"{type(error).__name__}: {error}")
        channel.write(json.dumps({**found, "peak_mib": _peak_mib(), "opened": opened}) + "\n")
        channel.flush()


def _golden(classifier: Any) -> str:
    from sentopt.errors import BundleError

    try:
        return f"{classifier.check_golden():.6f}"
    except BundleError as error:
        return str(error)


def _is_open(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and isinstance(arguments[0], str | bytes)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
