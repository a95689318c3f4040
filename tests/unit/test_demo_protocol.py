"""What one connection may take: a real server and a client that does not read, or that sends a head slowly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from sentopt.demo import protocol

_PIECE = b"x" * 2**16
_GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Endless:
    """An application whose answer has no end; it counts the requests that it is answering."""

    def __init__(self) -> None:
        self.answering = 0
        self.answered = 0
        self.failed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.answering += 1
        try:
            await send({"type": "http.response.start", "status": 200})
            for _ in range(2_000):
                await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except Exception:
            self.failed += 1
        finally:
            self.answering -= 1
            self.answered += 1


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(app, lifespan="off", log_level="critical", ws="none")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: protocol.ImpatientProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        yield int(server.sockets[0].getsockname()[1])
        for task in list(state.tasks):
            task.cancel()
        await asyncio.sleep(0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("requests", [1, 5])
def test_who_reads_nothing_is_cut_off_and_holds_no_request(monkeypatch: pytest.MonkeyPatch, requests: int) -> None:
    monkeypatch.setattr(protocol, "READ_SECONDS", 0.3)

    async def scenario() -> None:
        app = Endless()
        async with serving(app) as port:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(_GET * requests)
                await until(lambda: app.answering == 1)
                await until(lambda: app.answering == 0)
                await asyncio.sleep(0.1)
                assert (app.answering, app.answered, app.failed) == (0, 1, 0)

    asyncio.run(scenario())


def test_who_reads_slowly_gets_the_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "READ_SECONDS", 3.0)

    async def scenario() -> None:
        app = Endless()
        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
            writer.write(_GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            taken = 0
            while part := await reader.read(2**22):
                taken += len(part)
                await asyncio.sleep(0.001)
            assert taken > 2_000 * len(_PIECE)
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())


def test_a_head_that_comes_slowly_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)

    async def scenario() -> None:
        app = Endless()
        async with serving(app) as port:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.setblocking(False)
                async with asyncio.timeout(10):
                    with contextlib.suppress(ConnectionError):
                        while not is_closed(connection):
                            connection.send(b"G")
                            await asyncio.sleep(0.05)
            assert app.answered == 0

    asyncio.run(scenario())
