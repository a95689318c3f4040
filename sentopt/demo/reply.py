"""What is added to each response on its way out."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Message, Send

_UNBUFFERED = (b"x-accel-buffering", b"no")  # nginx would keep events until 4 or 8 KiB of them are there


class Reply:
    """Adds the security headers to a response, and records its status."""

    def __init__(
        self, send: Send, headers: Sequence[tuple[bytes, bytes]], *, head: bool = False, events: bool = False
    ) -> None:
        """
        Args:
            send: as ASGI has it.
            headers: for every response.
            head: the request is a HEAD, whose response has no body.
            events: the response may be a stream of events.
        """
        self._send = send
        self._headers = [*headers, _UNBUFFERED] if events else headers
        self._head = head
        self._ended = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Send a message of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
            if self._head:
                message = {**message, "body": b""}
        await self._send(message)

    async def end(self) -> None:
        """End a response whose handler failed half-way."""
        if self.status and not self._ended:
            await self({"type": "http.response.body", "body": b"", "more_body": False})
