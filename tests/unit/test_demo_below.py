"""The HTML of the page below a path of a site."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from sentopt.demo.page.below import PageBelow

_PAGE = (
    b'<head><link rel="manifest" href="/manifest.json" /><script src="./assets/a.js"></script>'
    b'<link href="/tools/demo/b.css"><script>config = {"html": "<a href=\\"/c\\">"}</script></head>'
    b'<body><img src="http://x/d"><img src="//x/e"><a href="../f"></a><a href="#g"></a></body>'
)
_BELOW = (
    b'<head><link rel="manifest" href="/tools/demo/manifest.json" /><script src="/tools/demo/assets/a.js"></script>'
    b'<link href="/tools/demo/b.css"><script>config = {"html": "<a href=\\"/c\\">"}</script>'
    b'<link rel="icon" href="/tools/demo/favicon.ico" /></head>'
    b'<body><img src="http://x/d"><img src="//x/e"><a href="../f"></a><a href="#g"></a></body>'
)


def served(path: str) -> list[Message]:
    """What is sent for a path by an application that sends the page in two parts, packed for who takes that."""
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        packed = (any(name == b"accept-encoding" for name, _ in scope["headers"]) and b"packed") or b""
        body = packed or _PAGE
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        got.append(message)

    scope = {"type": "http", "path": path, "headers": [(b"accept-encoding", b"br")]}
    asyncio.run(PageBelow(app, "/tools/demo")(scope, receive, send))
    return got


def test_the_files_of_the_page_are_named_from_the_prefix() -> None:
    start, body = served("/")
    assert body["body"] == _BELOW
    assert dict(start["headers"]) == {b"content-type": b"text/html", b"content-length": str(len(_BELOW)).encode()}


def test_nothing_else_is_changed() -> None:
    start, *parts = served("/config")
    assert b"".join(part["body"] for part in parts) == b"packed"
    assert dict(start["headers"])[b"content-length"] == b"6"
