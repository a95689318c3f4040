"""Proxies in front of the demo: whose word about a client counts, and what it says.

Anybody can send `X-Forwarded-For` and `Forwarded` (RFC 7239). A proxy appends the address that it sees, so the
rightmost address that is no proxy's is the client's. What stands to the left of it was written by the client.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sentopt.errors import ServingError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDING = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
OF_PROXIES = (b"via", b"x-real-ip", b"x-forwarded-server", b"cf-connecting-ip", b"true-client-ip")
"""What else proxies add to a request, and other clients do not."""
_MOST_PROXIES = 32  # in a row
_LONGEST = 4_096  # of `Forwarded`
_LONGEST_ADDRESS = 100
_REMEMBERED = 1_000  # addresses: those of proxies come with every request
_PORT = re.compile(r":\d{1,5}\Z")
_PAIR = re.compile(r"""\s*([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*""", re.ASCII)
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Client(NamedTuple):
    """Who sent a request, here or to a proxy: the address, and scheme and host as its browser shows them, if told."""

    address: str
    scheme: str = ""
    host: str = ""


class TrustedProxies:
    """The networks whose forwarding headers are believed."""

    def __init__(self, networks: Sequence[str | Network] = ()) -> None:
        """
        Args:
            networks: addresses or CIDR networks of IPv4 or IPv6, such as `127.0.0.1` and `10.0.0.0/8`.

        Raises:
            ServingError: one of them is neither.
        """
        self._decided = functools.lru_cache(_REMEMBERED)(self._decide)
        self._networks = tuple(read_network(str(network)) for network in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trust(self, peer: str) -> bool:
        """Whether `peer` is a proxy of these."""
        return len(peer) <= _LONGEST_ADDRESS and self._decided(peer)

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Client:
        """Who sent a request that came from `peer`; `peer` itself where that is no trusted proxy.

        The client counts as the proxy if that names nobody, or if two headers name different clients: one of them may
        be the client's own invention.
        """
        if not self.trust(peer):
            return Client(peer)
        told = _told(headers)
        plain = [Client(item) for item in _items(told[b"x-forwarded-for"])]
        standard = _forwarded(told[b"forwarded"])
        address, used = self._walk(peer, plain or standard)
        if plain and standard and self._walk(peer, standard)[0] != address:
            address, used = peer, 0
        named = standard[-used] if used and not plain else Client("")
        scheme = _from_right(_items(told[b"x-forwarded-proto"]), used) or named.scheme
        host = _from_right(_items(told[b"x-forwarded-host"]), used) or named.host
        return Client(address, _SCHEMES.get(scheme.lower(), ""), host)

    def _walk(self, peer: str, hops: Sequence[Client]) -> tuple[str, int]:
        """The nearest address that is no trusted proxy, else the farthest that was told, and at which hop."""
        address, used = peer, 0
        for hop in reversed(hops[-_MOST_PROXIES:]):
            if (parsed := read_address(hop.address)) is None:
                break  # "unknown", a hidden name, or nonsense: nothing to the left of it can be believed
            address, used = str(parsed), used + 1
            if not self.trust(address):
                break
        return address, used

    def _decide(self, peer: str) -> bool:
        address = read_address(peer)
        return address is not None and any(address in network for network in self._networks)


def read_network(text: str) -> Network:
    """A network, or an address as a network of one.

    Raises:
        ServingError: it is neither, or it holds every address.
    """
    said = f"--trusted-proxy {text}"
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError:
        raise ServingError(
            f"{said}: expected an address or a network such as 10.0.0.0/8{_without_host(text)}"
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        network = ipaddress.ip_network((mapped, network.prefixlen - 96)) if mapped else network
    if network.prefixlen == 0:
        raise ServingError(f"{said}: this trusts everybody, so any client could choose its address; name the proxies")
    return network


def read_address(text: str) -> Address | None:
    """An address with or without quotes, brackets, port and zone; None where there is none."""
    return _parsed(text) if len(text) <= _LONGEST_ADDRESS else None


@functools.lru_cache(_REMEMBERED)
def _parsed(text: str) -> Address | None:
    text = text.strip().strip('"')
    if text.startswith("["):
        inside, closing, rest = text[1:].partition("]")
        if not closing or (rest and not _PORT.fullmatch(rest)):
            return None
        text = inside
    elif text.count(":") == 1:
        text = _PORT.sub("", text)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def network_of(address: str) -> str:
    """What limits count as one client: an IPv4 address, or the IPv6 network that one customer usually has."""
    if ":" not in address:
        return address
    parsed = read_address(address)
    if not isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed or address)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


def _without_host(text: str) -> str:
    """The network that was probably meant, where bits of a host are set."""
    try:
        return f"; the network of this address is {ipaddress.ip_network(text.strip(), strict=False)}"
    except ValueError:
        return ""


def _told(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """The forwarding headers; those of one name are one list."""
    told = dict.fromkeys(FORWARDING, "")
    for name, value in headers:
        if name in told:
            told[name] += f",{value.decode('latin-1')}"
    return told


def _items(header: str) -> list[str]:
    return [item for item in map(str.strip, header.rsplit(",", _MOST_PROXIES)) if item]


def _from_right(items: Sequence[str], position: int) -> str:
    """The item that the same proxy wrote as the address there; proxies that write one item write the last."""
    return items[-min(max(position, 1), len(items))] if items else ""


def _forwarded(header: str) -> list[Client]:
    """The elements of `Forwarded` headers; one that names nobody where they are malformed."""
    if len(header) > _LONGEST:
        return [Client("")]
    elements: list[dict[str, str]] = [{}]
    position = 0
    while position < len(header):
        if header[position] in ",; \t":
            elements += [{}] if header[position] == "," else []
            position += 1
            continue
        if not (pair := _PAIR.match(header, position)) or header[pair.end() : pair.end() + 1] not in ("", ",", ";"):
            return [Client("")]
        value = re.sub(r"\\(.)", r"\1", pair[2][1:-1]) if pair[2].startswith('"') else pair[2]
        elements[-1][pair[1].lower()] = value
        position = pair.end()
    return [Client(e.get("for", ""), e.get("proto", ""), e.get("host", "")) for e in elements if e]
