"""Cross-origin resource sharing: which pages elsewhere may ask the endpoints from a browser. By default none may."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sentopt.demo.prefix import below
from sentopt.demo.routes import RELOAD, endpoint_of
from sentopt.errors import ServingError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ANY = "*"
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://((?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ASKED_WITH = ("Authorization", "Content-Type", "traceparent", "tracestate")
_READ_FROM = ("Retry-After", "Sentopt-Bundle")


@dataclass(frozen=True)
class Cors:
    """The origins whose pages may use the endpoints, as browsers write them; `*` stands for all."""

    origins: frozenset[str] = field(default_factory=frozenset)

    def allows(self, origin: str, path: str) -> bool:
        """Whether a page of this origin may use this path: an endpoint, never the demo's own page."""
        return bool(self.origins) and bool(self.origins & {origin, ANY}) and _is_shared(path)


def _is_shared(path: str) -> bool:
    """Whether pages elsewhere may ask for it: bundles are replaced by the server's own machine alone."""
    return endpoint_of(path) not in ("", RELOAD)


def read_origin(text: str) -> str:
    """An origin as browsers send it: in lower case, without the port that its scheme implies.

    Raises:
        ServingError: it is no origin.
    """
    said = f"--cors-origin {text}"
    origin = text.strip().lower()
    if origin == ANY:
        return origin
    if not (matched := _ORIGIN.fullmatch(origin)):
        raise ServingError(
            f"{said}: expected an origin: scheme, name and port alone, such as https://app.example.com, or * for all"
        )
    scheme, host = matched.groups()
    return f"{scheme}://{host.removesuffix(DEFAULT_PORTS.get(scheme, ' '))}"


def read_origins(values: Sequence[str], *, with_password: bool) -> Cors:
    """The origins that were given.

    Args:
        values: each an origin, or `*`.
        with_password: the server asks for a password.

    Raises:
        ServingError: one is no origin, or any page could try passwords.
    """
    origins = frozenset(read_origin(value) for value in ([values] if isinstance(values, str) else values))
    if ANY in origins and with_password:
        raise ServingError(
            "--cors-origin *: with --auth, every page could try passwords from its visitors' browsers; name the origins"
        )
    return Cors(origins)


class ForOtherOrigins:
    """Answers preflights, and tells browsers with every answer of an endpoint, refusals too, which page may read it.

    Credentials are never allowed: a page sends a password in `Authorization` itself, so a browser that remembers the
    password does not lend it to pages.
    """

    def __init__(self, app: ASGIApp, cors: Cors, prefix: str = "") -> None:
        """
        Args:
            app: what answers.
            cors: the origins.
            prefix: the path below which a proxy shows the server.
        """
        from starlette.middleware.cors import CORSMiddleware  # not installed where only the command line is read

        self._app, self._prefix = app, prefix
        self._shared = CORSMiddleware(
            app,
            allow_origins=sorted(cors.origins),
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=_ASKED_WITH,
            expose_headers=_READ_FROM,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        shared = scope["type"] == "http" and _is_shared(below(scope["path"], self._prefix))
        await (self._shared if shared else self._app)(scope, receive, send)
