"""Ports for programs that must be told one."""

from __future__ import annotations

import contextlib
import random
import socket

_BELOW_OUTGOING = range(10_000, 32_000)  # Linux gives the ports above to connections of any process at any time


def free_port() -> int:
    """A port that no process listens on, and that no outgoing connection will take before it is used."""
    for port in random.SystemRandom().sample(_BELOW_OUTGOING, 100):
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port
    raise OSError("a hundred ports are in use")
