"""The bodies of requests: what must not be in them, what is repaired, and how they are passed on."""

from __future__ import annotations

import json
import re

from starlette.types import Message, Receive

from sentopt.errors import RequestRefused

# Each escape of a JSON string in turn, so that a backslash that is escaped itself begins none.
_ESCAPE = re.compile(
    rb"\\(?:(?P<pair>u[dD][89abAB]HH\\u[dD][c-fC-F]HH)|(?P<lone>u[dD][89a-fA-F]HH)|.)".replace(b"H", b"[0-9a-fA-F]"),
    re.DOTALL,
)


def check_plain(body: bytearray) -> None:
    """Refuse JSON objects in places where the page sends texts.

    Gradio takes some of them for files: it would look for the path or fetch the address before a handler is asked.

    Raises:
        RequestRefused: there is one, or this is no JSON.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefused(422, "this is not JSON") from None
    values = [value for name, value in sent.items() if name != "event_data"] if isinstance(sent, dict) else [sent]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            raise RequestRefused(422, "texts are strings, and several of them a list of strings; no files are taken")
        if isinstance(value, list):
            values += value


def without_lone_surrogates(body: bytearray) -> bytes:
    """JSON whose strings are Unicode: each half of a surrogate pair becomes U+FFFD, as the runtime repairs texts.

    JavaScript and Python both send such halves, as escapes. No parser for UTF-8 takes them.
    """
    if b"\\ud" not in body and b"\\uD" not in body:
        return bytes(body)
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found["lone"] else found[0], bytes(body))


def in_one_piece(body: bytes, receive: Receive) -> Receive:
    """What gives `body` as the whole body of a request, then what `receive` gives."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
