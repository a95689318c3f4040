"""How much of the runtime's own throughput the demo's HTTP endpoint keeps, and how it takes too much load.

    python benchmarks/serving.py exports/quickstart/bundle [--seconds 60] [--clients 64] [--overload 30]

The server is a process of its own (`sentopt demo`), this process is its clients: one asyncio loop, keep-alive
connections, one short text a request, the next one when the answer has come. Both share the machine's cores, so the
clients' work counts against the server. The runtime's throughput is measured before and after, in a third process, on
the same texts in the same order; the better of the two counts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentopt.data.tables import read_rows
from sentopt.measure.timing import summarize

Ask = Callable[[str], Any]

_SHORT = 16  # words
_OVERLOAD = (10, 20)  # times the usual clients
_RUNTIME = """
import json, sys, time
from sentopt import Classifier
texts, seconds = json.load(sys.stdin), float(sys.argv[2])
classifier = Classifier.load(sys.argv[1])
classifier.predict(texts[:256])
count, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    window = [texts[(count + i) % len(texts)] for i in range(256)]
    classifier.predict(window)
    count += 256
print(count / (time.perf_counter() - start))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--verb", choices=["demo", "serve"], default="demo")
    parser.add_argument("--protocols", type=float, default=0.0, help="seconds of each other protocol, in turns")
    parser.add_argument("--overload", type=float, default=30.0, help="seconds at 10 and at 20 times the clients")
    arguments = parser.parse_args()
    texts = short_texts()
    before = runtime_throughput(arguments.bundle, texts)
    with server(arguments.bundle, arguments.verb) as (process, port):
        usual = asyncio.run(load(port, texts, arguments.clients, arguments.seconds))
        idle = resident_mib(process.pid)
        crowds = [
            asyncio.run(overload(port, texts, arguments.clients * factor, arguments.overload, process.pid))
            for factor in _OVERLOAD
            if arguments.overload
        ]
        settled = resident_mib(process.pid)
        others = protocols(arguments.bundle, port, texts, arguments.clients, arguments.protocols)
    after = runtime_throughput(arguments.bundle, texts)
    found = {
        "texts": len(texts),
        "runtime_texts_per_second": [round(before, 1), round(after, 1)],
        "usual": usual.summary(arguments.clients),
        "share_of_runtime": round(usual.rate / max(before, after), 3),
        "overload": crowds,
        "resident_mib": {"after_usual": idle, "after_overload": settled},
        "answers_per_second_by_protocol": others,
    }
    print(json.dumps(found, indent=1))


def short_texts() -> list[str]:
    """The short texts of the bundled test split, shuffled."""
    import sentopt

    rows = read_rows(Path(sentopt.__file__).parent / "sample" / "test.csv")
    texts = [str(row["text"]) for row in rows if len(str(row["text"]).split()) <= _SHORT]
    random.Random(0).shuffle(texts)
    return texts


def runtime_throughput(bundle: Path, texts: list[str], seconds: float = 15.0) -> float:
    """Texts per second of `Classifier.predict` in windows of 256, in a process of its own."""
    command = [sys.executable, "-c", _RUNTIME, str(bundle), str(seconds)]
    return float(subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True).stdout)


@contextlib.contextmanager
def server(bundle: Path, verb: str = "demo") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`sentopt demo`, or `serve`, on a free port, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sentopt", verb, "--bundle", str(bundle), "--port", str(port)]
    with subprocess.Popen(command, text=True) as process:
        while not _is_ready(port):
            assert process.poll() is None, "the server ended"
            time.sleep(0.2)
        yield process, port
        process.send_signal(signal.SIGTERM)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@dataclass
class Load:
    """What clients saw: seconds of each answered request, of each refused one, and the count of each status."""

    seconds: float = 0.0
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return len(self.answered) / self.seconds

    def summary(self, clients: int) -> dict[str, Any]:
        """For the report; milliseconds."""
        return {
            "clients": clients,
            "seconds": round(self.seconds, 1),
            "requests_per_second": round(self.rate, 1),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "answered_ms": _percentiles(self.answered),
            "refused_ms": _percentiles(self.refused),
        }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    found = summarize([s * 1e3 for s in seconds])
    shown = {"p50": found.p50, "p95": found.p95, "p99": found.p99, "max": max(seconds) * 1e3}
    return {name: round(value, 1) for name, value in shown.items()}


class Client(asyncio.Protocol):
    """One keep-alive connection; reads no more of a response than its status and its length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self.open = True

    def connection_made(self, transport: Any) -> None:
        """As asyncio calls it."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it."""
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_result(0)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length and self._answer:
            self._buffer = b""
            self._answer.set_result(int(head[9:12]))

    async def send(self, request: bytes) -> int:
        """The status of the response, 0 where the connection was lost."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


def request_of(text: str, port: int, path: str = "/predict", ask: Ask = lambda text: {"text": text}) -> bytes:
    """A whole HTTP request."""
    body = json.dumps(ask(text)).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def protocols(bundle: Path, port: int, texts: list[str], clients: int, seconds: float) -> dict[str, float]:
    """Answers a second by each protocol: the mean of three turns, in which each comes once."""
    name = json.loads((bundle / "sentopt.json").read_text(encoding="utf-8"))["name"]
    ways: dict[str, tuple[str, Ask]] = {
        "own": ("/predict", lambda text: {"text": text}),
        "tei": ("/predict", lambda text: {"inputs": text}),
        "vllm": ("/classify", lambda text: {"model": name, "input": text}),
        "v2": (
            f"/v2/models/{name}/infer",
            lambda text: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]},
        ),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(3 if seconds else 0):
        for way, (path, ask) in ways.items():
            requests = [request_of(text, port, path, ask) for text in texts]
            rates[way].append(asyncio.run(load(port, requests, clients, seconds)).rate)
    return {way: round(sum(found) / len(found), 1) for way, found in rates.items() if found}


async def load(port: int, texts: Sequence[str | bytes], clients: int, seconds: float) -> Load:
    """So many clients at once, each sending the next text, or request, when it has the answer to the last."""
    requests = [request_of(text, port) if isinstance(text, str) else text for text in texts]
    found, start = Load(), time.perf_counter()

    async def client(number: int) -> None:
        loop, position = asyncio.get_running_loop(), number
        connection: Client | None = None
        while time.perf_counter() - start < seconds:
            if connection is None or not connection.open:
                _, connection = await loop.create_connection(Client, "127.0.0.1", port)
            sent = time.perf_counter()
            status = await connection.send(requests[position % len(requests)])
            took = time.perf_counter() - sent
            found.statuses[status] += 1
            (found.answered if status == 200 else found.refused).append(took)
            position += clients
            if status in (429, 503):
                await asyncio.sleep(0.1)  # a tenth of what Retry-After asks for
        if connection is not None:
            connection.transport.close()

    await asyncio.gather(*(client(i) for i in range(clients)))
    found.seconds = time.perf_counter() - start
    return found


async def overload(port: int, texts: list[str], clients: int, seconds: float, pid: int) -> dict[str, Any]:
    """Far more clients, then how long one text takes until it is answered as usual again."""
    peak = [resident_mib(pid)]

    async def watch() -> None:
        while True:
            peak.append(resident_mib(pid))
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    found = await load(port, texts, clients, seconds)
    watching.cancel()
    after = await load(port, texts, 1, 3.0)
    quiet = [i for i, s in enumerate(after.answered) if s > 0.05]
    recovered = sum(after.answered[: quiet[-1] + 1]) if quiet else 0.0
    return {
        **found.summary(clients),
        "recovered_after_seconds": round(recovered, 2),
        "one_client_afterwards_ms": _percentiles(after.answered),
        "statuses_afterwards": {str(s): c for s, c in after.statuses.items()},
        "peak_resident_mib": max(peak),
    }


def resident_mib(pid: int) -> float:
    """Memory of a process, Linux only."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 1)


if __name__ == "__main__":
    main()
