"""One of several processes that serve on one port: `python -m sentopt.demo.child`, started by the supervisor.

What it serves comes by standard input. It talks to the supervisor by lines of JSON on a socket of its own, and ends in
order where that is closed: then the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import sys
from collections.abc import Coroutine
from typing import Any

from sentopt.demo.hangup import Hangup
from sentopt.demo.merged import Merged, Report
from sentopt.demo.server import Server, open_server
from sentopt.demo.supervisor import LONGEST, Job
from sentopt.errors import SentoptError
from sentopt.files import streams
from sentopt.wording import for_command_line

_COLLECT_SECONDS = 5.0
_REPORT_SECONDS = 1.0  # what a killed process has counted since its last report is lost


class Supervisor:
    """The other end of the socket, as the child sees it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Merged]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, server: Server) -> None:
        """Say that requests are answered, and listen; in the event loop of the server."""
        self._start(self._listen(server))
        self._start(self._report(server))

    def failed(self, reason: str) -> None:
        """Say why nothing can be served."""
        with contextlib.suppress(OSError):
            self._control.sendall(_line({"kind": "failed", "reason": reason}))

    def say(self, line: str) -> None:
        """Have a line told to whoever started the server."""
        self._send({"kind": "say", "line": line})

    async def reports(self) -> Merged | None:
        """What all processes have counted; None where the supervisor does not tell, as it has ended."""
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"kind": "collect", "id": number})
            return await asyncio.wait_for(self._asked[number], _COLLECT_SECONDS)
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    async def _listen(self, server: Server) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=LONGEST)
        self._send({"kind": "ready", "report": _report_of(server)})
        try:
            with contextlib.suppress(OSError, ValueError):  # half a line, of a supervisor that is gone
                while line := await reader.readline():
                    await self._take(json.loads(line), server)
        finally:
            server.stop()

    async def _take(self, message: dict[str, Any], server: Server) -> None:
        if message["kind"] == "report":
            self._send({"kind": "report", "report": _report_of(server), "id": message["id"]})
        elif message["kind"] == "collected":
            if (asked := self._asked.get(message["id"])) and not asked.done():
                asked.set_result(Merged(message["reports"], message["past"]))
        elif message["kind"] == "reload":
            self._start(self._reload(server))

    async def _reload(self, server: Server) -> None:
        await server.models.reload()
        self._send({"kind": "reloaded", "report": _report_of(server)})

    async def _report(self, server: Server) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            self._send({"kind": "report", "report": _report_of(server)})

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            with contextlib.suppress(RuntimeError):  # closed since
                self._writer.write(_line(message))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _report_of(server: Server) -> Report:
    models = server.models
    return {"pid": os.getpid(), "stats": models.stats(), "metrics": models.counters.families()}


def main() -> int:
    """Serve until the supervisor says so, or is gone; the exit code."""
    streams.use_utf8()
    order = json.load(sys.stdin)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(fileno=order["listening"]))
        supervisor = Supervisor(stack.enter_context(socket.socket(fileno=order["control"])))
        hangup = stack.enter_context(Hangup())
        stack.enter_context(for_command_line())
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        try:
            server = open_server(
                Job.from_json(order["job"]),
                stack,
                hangup,
                say=supervisor.say,
                reports=supervisor.reports,
                check=order["check"],
            )
        except (SentoptError, OSError) as error:
            supervisor.failed(str(error))
            return 1
        server.started_with = lambda: supervisor.begin(server)
        server.run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
