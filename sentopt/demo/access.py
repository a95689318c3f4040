"""Who may reach the demo: from which pages, with which password, and framed by whom."""

from __future__ import annotations

from dataclasses import dataclass

from sentopt.demo.credentials import Credentials
from sentopt.demo.limits import LOOPBACK
from sentopt.errors import RequestRefused


@dataclass(frozen=True)
class Access:
    """Who may reach the demo, and from where its page may be framed."""

    host: str = "127.0.0.1"
    credentials: Credentials | None = None
    framed_by: str = ""

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

    def check_origin(self, method: str, headers: dict[bytes, str]) -> None:
        """Refuse pages from elsewhere, which would use the visitor's browser to reach this server by any name.

        Raises:
            RequestRefused: the request comes from one.
        """
        host = headers.get(b"host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self.host in LOOPBACK and name.strip("[]").lower() not in LOOPBACK:
            raise RequestRefused(
                400, "this server answers to the name localhost only; for others, start it with --host"
            )
        origin = headers.get(b"origin")
        here = {host, headers.get(b"x-forwarded-host", host)}
        if method == "POST" and origin is not None and origin.partition("://")[2] not in here:
            raise RequestRefused(400, "requests from other sites are not answered")
