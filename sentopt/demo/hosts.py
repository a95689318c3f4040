"""The names that the demo answers to.

A page elsewhere can give its own name the address of this machine (DNS rebinding). Its scripts then reach a server
here as if it were theirs, but the browser still sends their name in `Host`.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Sequence

from sentopt.demo.limits import is_loopback
from sentopt.errors import ServingError

_LONGEST = 300  # characters of a name with its port; DNS has 253
_REMEMBERED = 1_000  # decisions: every request asks for one
_VALID = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_NAME = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")


class AllowedHosts:
    """Names that may stand in `Host`: those given, and those of loopback."""

    def __init__(self, bound: str = "127.0.0.1", names: Sequence[str] = ()) -> None:
        """
        Args:
            bound: the address that the server listens on. Without `names`, a server that others can reach answers to
                any name.
            names: further names; `*.example.com` stands for all names below `example.com`.

        Raises:
            ServingError: one of them is no name of a host.
        """
        read = [read_name(name) for name in names]
        self._names = frozenset(name for name in read if not name.startswith("*"))
        self._below = tuple(name[1:] for name in read if name.startswith("*"))
        self._any = not read and not is_loopback(bound)
        self._decided = functools.lru_cache(_REMEMBERED)(self._decide)

    def allow(self, host: str, server: str = "") -> bool:
        """Whether the value of a `Host` header may be answered.

        Args:
            host: the value, with or without a port.
            server: the address that the connection came to. Probes call the server by it; no page has it as a name.
        """
        return len(host) <= _LONGEST and self._decided(host, server)

    def _decide(self, host: str, server: str) -> bool:
        name = without_port(host).rstrip(".").lower()
        if not _VALID.match(host):
            return False
        return self._any or name in self._names or name.endswith(self._below) or name == server or is_loopback(name)


def without_port(host: str) -> str:
    """The name or address of a `Host` header, without brackets."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).strip("[]")


def read_name(text: str) -> str:
    """A name in lower case and as browsers send it.

    Raises:
        ServingError: it is none, or stands for all names.
    """
    said = f"--allowed-host {text}"
    name = text.strip().lower()
    if name == "*":
        raise ServingError(f"{said}: pages elsewhere could use this server under a name of theirs; give its names")
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _NAME.match(name):
        raise ServingError(f"{said}: expected a name such as demo.example.com, without scheme, port and path")
    return name
