"""The supervisor of several processes, with stand-ins for them that tell what they are told."""

import socket
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path

import pytest

from sentopt.demo import settings, supervisor
from sentopt.demo.hangup import Hangup

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there, one process serves")
# The first two serve at once; one that is started later waits for the file "go" before it says that it serves.
# Each ends when it finds the file "end-<its position>".
STAND_IN = """#!{python}
import json, os, pathlib, socket, sys, time
order = json.load(sys.stdin)
folder = pathlib.Path({folder!r})
position = 1
while True:
    try:
        (folder / f"started-{{position}}").touch(exist_ok=False)
        break
    except FileExistsError:
        position += 1
control = socket.socket(fileno=order["control"])
while position > 2 and not (folder / "go").exists():
    time.sleep(0.01)
report = {{"pid": os.getpid(), "metrics": [], "stats": {{"bundle": {{"sha256": str(position)}}}}}}
control.sendall(json.dumps({{"kind": "ready", "report": report}}).encode() + b"\\n")
control.settimeout(0.02)
while not (folder / f"end-{{position}}").exists():
    try:
        told = control.recv(10_000)
    except TimeoutError:
        continue
    if not told:
        break
    (folder / f"told-{{position}}").write_bytes(told)
    control.sendall(json.dumps({{"kind": "reloaded", "report": report}}).encode() + b"\\n")
"""


class Asked(Hangup):
    """SIGHUP without a signal."""

    def handle(self, loop: AbstractEventLoop, reload: Callable[[], None], stop: Callable[[], None]) -> None:
        self.reload = lambda: loop.call_soon_threadsafe(reload)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_a_process_that_was_loading_meanwhile_reads_its_bundles_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have read the folder before it changed, and would answer with the old bundle from then on."""
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN.format(python=sys.executable, folder=str(tmp_path)))
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    job = supervisor.Job({"small": tmp_path}, settings.Settings(), "http://127.0.0.1")
    asked, serving, stops = Asked(), threading.Event(), []

    def started(stop: Callable[[], None]) -> None:
        stops.append(stop)
        serving.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(
            target=supervisor.run, args=(job, 2, listening, asked), kwargs={"say": lambda _: None, "on_start": started}
        )
        thread.start()
        assert serving.wait(20)
        (tmp_path / "end-2").touch()
        wait_for(tmp_path / "started-3")
        asked.reload()
        wait_for(tmp_path / "told-1")
        (tmp_path / "go").touch()
        wait_for(tmp_path / "told-3")
        stops[0]()
        thread.join(20)
    assert not thread.is_alive()
    assert b'"reload"' in (tmp_path / "told-3").read_bytes()
