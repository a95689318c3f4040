"""`sentopt demo` as its own process, stopped as a person stops it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from pathlib import Path
from typing import Any


@dataclass
class Server:
    """A running server: where it listens, its process, and what it has printed once it has ended."""

    address: str
    process: subprocess.Popen[str]
    output: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@dataclass(frozen=True)
class Reply:
    """An HTTP response, whatever its status."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextlib.contextmanager
def serving(
    *options: str, environment: dict[str, str] | None = None, stop: int = signal.SIGINT, verb: str = "demo"
) -> Iterator[Server]:
    """Start, wait until it is ready, yield, stop; it must end by itself and without a traceback."""
    command = [sys.executable, "-P", "-m", "sentopt", verb, "--port", "0", *options]  # as the installed command
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})}
    ) as process:
        assert process.stdout
        server = Server("", process)
        for line in process.stdout:
            server.output.append(line)
            if found := re.search(r"on (http://\S+)", line):
                server.address = found[1].replace("0.0.0.0", "127.0.0.1")
                break
        assert server.address, "".join(server.output)
        wait_until_ready(server)
        try:
            yield server
        finally:
            process.send_signal(stop)
            try:
                rest, _ = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            server.output.append(rest)
    assert "Traceback" not in "".join(server.output), "".join(server.output)


def wait_until_ready(server: Server) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if ask(server.address + "/readyz").status == 200:
                return
        assert server.process.poll() is None, "the server ended"
        time.sleep(0.1)
    raise AssertionError("the server was not ready in a minute")


def ask(url: str, body: bytes | None = None, **headers: str) -> Reply:
    """GET, or POST where there is a body; header names with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(url, body, named)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return Reply(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read())


def post(url: str, content: object, **headers: str) -> Reply:
    """POST a JSON value."""
    return ask(url, json.dumps(content).encode(), **headers)


def wait_for_file(path: Path) -> str:
    """The content of a file that another process is writing."""
    end = time.monotonic() + 5
    while not (path.is_file() and path.stat().st_size) and time.monotonic() < end:
        time.sleep(0.05)
    return path.read_text()
