"""Who may reach the demo: under which names, from which pages, with which password, and framed by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sentopt.demo.cors import DEFAULT_PORTS, Cors
from sentopt.demo.credentials import Credentials
from sentopt.demo.hosts import AllowedHosts, without_port
from sentopt.demo.limits import is_loopback
from sentopt.demo.proxies import TrustedProxies, read_address
from sentopt.errors import RequestRefused

Readers = Literal["nobody", "this machine", "everybody"]
_OF_DIRECT_CLIENTS = frozenset(
    (
        *(b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection", b"origin"),
        *(b"authorization", b"content-length", b"content-type", b"transfer-encoding"),
    )
)
"""What curl and the clients of languages send; proxies add others, under names that nobody can list."""
_ONCE = (b"host", b"origin", b"authorization", b"content-type", b"content-length", b"content-encoding")


@dataclass(frozen=True)
class Access:
    """Who may reach the demo, and from where its page may be framed.

    Attributes:
        hosts: the names that it answers to.
        credentials: names and passwords; None asks for none.
        framed_by: the origins whose pages may show the demo in a frame.
        proxies: those whose word about a client counts.
        prefix: the path below which they show the demo.
        test_texts: who may read the texts that the model was tested on, among those who reach the demo.
        cors: the origins whose pages may use the endpoints.
    """

    hosts: AllowedHosts = field(default_factory=AllowedHosts)
    credentials: Credentials | None = None
    framed_by: str = ""
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    prefix: str = ""
    test_texts: Readers = "nobody"
    cors: Cors = field(default_factory=Cors)

    def security_headers(self) -> list[tuple[bytes, bytes]]:
        """For every response. Gradio's page is scripts and styles of its own, some of them inline or evaluated."""
        framed_by = self.framed_by or "'none'"
        policy = (
            "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
            "worker-src 'self' blob:; base-uri 'self'; form-action 'self'; "
            f"frame-ancestors {framed_by}"
        )
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            **({} if self.framed_by else {"X-Frame-Options": "DENY"}),
        }
        return [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    def check_host(self, headers: dict[bytes, str], told: str = "", *, server: str, version: str) -> None:
        """Refuse names that are not the server's, in what the client or a trusted proxy sent.

        Both must be: whoever can send requests from a proxy's address, such as the browser on the same machine, can
        send any header but `Host`.

        Args:
            headers: of the request.
            told: the name that a trusted proxy told.
            server: the address that the connection came to.
            version: of HTTP; browsers speak no version that has no `Host`.

        Raises:
            RequestRefused: the request names another server, or none.
        """
        host = headers.get(b"host")
        if host is None and version in ("1.0", "0.9"):
            return
        if host is None:
            raise RequestRefused(400, "the header Host is missing")
        for name in (host, told) if told else (host,):
            if not self.hosts.allow(name, server):
                raise RequestRefused(
                    400,
                    f"this server does not answer to the name {without_port(name)[:100]}: on its own machine it is "
                    "localhost, and it is started with --allowed-host for other names",
                )

    def check_origin(self, headers: dict[bytes, str], told: str = "", *, path: str = "") -> None:
        """Refuse a request by a page from elsewhere, which would use the visitor's browser.

        Args:
            headers: of the request.
            told: the name that a proxy told.
            path: what is asked for; pages of the origins of `cors` may ask the endpoints.

        Raises:
            RequestRefused: the request comes from one.
        """
        origin = headers.get(b"origin")
        if origin is None or self.cors.allows(origin, path):
            return
        scheme, _, site = origin.partition("://")
        host = headers.get(b"host", "")
        default = DEFAULT_PORTS.get(scheme, "")
        here = {name.removesuffix(default).lower() for name in (host, told or host)}
        if not site or site.removesuffix(default).lower() not in here:
            raise RequestRefused(400, "requests from other sites are not answered")

    def check_direct(self, headers: dict[bytes, str], peer: str) -> None:
        """Refuse what does not come from this machine itself.

        Args:
            headers: of the request.
            peer: the address that the connection came from.

        Raises:
            RequestRefused: another machine sent it, or it may come through a proxy.
        """
        forwarded = self.proxies.trust(peer) or not headers.keys() <= _OF_DIRECT_CLIENTS
        named = without_port(headers.get(b"host", ""))
        if forwarded or not is_loopback(str(read_address(peer))) or not is_loopback(named):
            raise RequestRefused(
                403,
                "this is for the server's own machine alone, by localhost and not through a proxy; "
                "elsewhere send SIGHUP to its process",
            )


def readers_of_test_texts(
    host: str, proxies: TrustedProxies, allowed_hosts: Sequence[str], prefix: str, framed_by: str, *, shown: bool
) -> Readers:
    """Who may read the test texts: everybody if the owner says so, else whom a server reaches on its own machine.

    Nobody may where any setting tells that others are expected.

    Args:
        host: the address that the server listens on.
        proxies: whose word about a client counts.
        allowed_hosts: further names that the server answers to.
        prefix: the path below which a proxy shows the demo.
        framed_by: the origins whose pages may show the demo in a frame.
        shown: whether the owner said that the texts may be shown.
    """
    if shown:
        return "everybody"
    expects_others = proxies or allowed_hosts or prefix or framed_by
    return "this machine" if is_loopback(host) and not expects_others else "nobody"


def check_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse a second header of a name that has one value: servers do not agree on which of them counts.

    Raises:
        RequestRefused: there is one.
    """
    names = [name for name, _ in headers]
    for name in _ONCE:
        if names.count(name) > 1:
            raise RequestRefused(400, f"the header {name.decode().title()} is sent twice")
