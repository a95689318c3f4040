"""Every bound that the demo sets on what clients may ask for, in one place."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, replace

from sentopt.errors import ServingError

SLOWEST, FASTEST = 0.01, 100_000.0  # requests a second of one client


@dataclass(frozen=True)
class Limits:
    """What one request, one client and all clients together may take.

    Attributes:
        characters: of one text; the model reads its first tokens only, so longer ones would be cut anyway.
        texts: in one request.
        body_bytes: of one request.
        held_bytes: of the bodies of all requests that are being answered.
        body_seconds: until the whole request must have arrived.
        words: that `explain` leaves out one by one; those of longer texts are left out in groups.
        wait_seconds: that a request may be expected to wait behind others, beyond the time that it takes itself.
        waiting_tokens: of all requests that wait, which bounds memory.
        requests: that are being answered at once.
        connections: that are open at once, pages with their event streams among them.
        client_rate: requests per second of one address, twice as many in a burst.
        drain_seconds: that requests which were accepted may take to finish when the server stops.
    """

    characters: int = 20_000
    texts: int = 1_000
    body_bytes: int = 2**20
    held_bytes: int = 2**26
    body_seconds: float = 10.0
    words: int = 100
    wait_seconds: float = 0.5
    waiting_tokens: int = 1_000_000
    requests: int = 1_000
    connections: int = 2_000
    client_rate: float = 20.0
    drain_seconds: float = 20.0

    @classmethod
    def for_host(cls, host: str, *, proxied: bool = False) -> Limits:
        """An address that only this machine can reach has one user, who may be as fast as the machine.

        Args:
            host: the address that the server listens on.
            proxied: whether others reach it through a proxy.
        """
        return cls(client_rate=5_000.0) if is_loopback(host) and not proxied else cls()

    def at_rate(self, rate: float) -> Limits:
        """The same with another rate of one client.

        Raises:
            ServingError: it is no rate.
        """
        return replace(self, client_rate=read_rate(rate))


def is_loopback(host: str) -> bool:
    """Whether this is a name or an address by which only this machine reaches itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_rate(value: str | float) -> float:
    """Requests a second of one client.

    Raises:
        ServingError: it is no number, too small or too large.
    """
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not SLOWEST <= rate <= FASTEST:
        raise ServingError(f"--rate {value}: expected requests a second, from {SLOWEST} to {FASTEST:,.0f}")
    return rate
