"""The page below a path: its HTML names its own files from there."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class PageBelow:
    """An ASGI middleware that puts a prefix before the files that the HTML of the page loads.

    Gradio's template has one of them at the root of the server, and the others beside the page, which browsers take for
    the root, too, where the address of the page does not end with a slash.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix.encode()
        below = re.escape(self._prefix[1:])
        self._own = re.compile(rb'\b((?:src|href)=")\.?/(?!/|' + below + rb"/)")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        if scope["type"] != "http" or scope["path"] != "/":
            await self._app(scope, receive, send)
            return
        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                page = self._below(bytes(body))
                others = [header for header in start["headers"] if header[0].lower() != b"content-length"]
                await send({**start, "headers": [*others, (b"content-length", str(len(page)).encode())]})
                await send({"type": "http.response.body", "body": page})

        await self._app({**scope, "headers": plain}, receive, collect)

    def _below(self, page: bytes) -> bytes:
        page = self._own.sub(rb"\g<1>" + self._prefix + b"/", page)
        icon = b'<link rel="icon" href="' + self._prefix + b'/favicon.ico" />'  # else browsers ask the root for one
        return page.replace(b"</head>", icon + b"</head>", 1)
