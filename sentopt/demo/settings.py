"""How a server is run: all that does not depend on what it serves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sentopt.demo.access import Access, readers_of_test_texts
from sentopt.demo.cors import read_origins
from sentopt.demo.credentials import VARIABLE, Credentials
from sentopt.demo.hosts import AllowedHosts, read_name
from sentopt.demo.limits import Limits, is_loopback
from sentopt.demo.prefix import read_prefix
from sentopt.demo.proxies import Network, TrustedProxies
from sentopt.errors import InputError, ServingError
from sentopt.runtime import arguments
from sentopt.runtime.cores import available_cores
from sentopt.runtime.description import BundleDescription
from sentopt.runtime.tuning import default, load

AUTO = "auto"
_MOST_PROCESSES = 1_024


@dataclass(frozen=True)
class Settings:
    """How a server is run.

    Attributes:
        host: the address to listen on; anything but loopback can be reached from other machines.
        port: the port to listen on; 0 takes a free one.
        auth: a file of name:password lines; empty for the environment variable; None asks for no password.
        framed_by: the origins whose pages may show the demo in a frame.
        limits: other bounds than those for the host.
        rate: requests a second of one client, in the place of that of `limits`.
        trusted_proxies: addresses and networks whose word about clients counts.
        allowed_hosts: names that the server answers to, beside those of loopback.
        root_path: the path below which a proxy shows the demo.
        cors_origins: the origins whose pages may ask the endpoints from a browser; `*` for all.
        log_texts: a file to which every text is added with its answer; None keeps no text.
        show_test_texts: list the texts of the test split also where the server can be reached from other machines.
        page: show the page, too, and not the endpoints alone.
        processes: that share the port; "auto" for as many as the cores are enough for.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    auth: str | None = None
    framed_by: str = ""
    limits: Limits | None = None
    rate: float | None = None
    trusted_proxies: str | Sequence[str | Network] = ()
    allowed_hosts: str | Sequence[str] = ()
    root_path: str = ""
    cors_origins: str | Sequence[str] = ()
    log_texts: Path | None = None
    show_test_texts: bool = False
    page: bool = True
    processes: int | str = 1

    @property
    def _hosts(self) -> Sequence[str]:
        return [self.allowed_hosts] if isinstance(self.allowed_hosts, str) else self.allowed_hosts

    @property
    def _networks(self) -> Sequence[str | Network]:
        return [self.trusted_proxies] if isinstance(self.trusted_proxies, str) else self.trusted_proxies

    @property
    def _origins(self) -> Sequence[str]:
        return [self.cors_origins] if isinstance(self.cors_origins, str) else self.cors_origins

    def access(self) -> Access:
        """Who may reach the server.

        Raises:
            ServingError: a file cannot be used, or a value is wrong.
        """
        proxies, prefix = TrustedProxies(self._networks), read_prefix(self.root_path)
        return Access(
            AllowedHosts(self.host, self._hosts),
            None if self.auth is None else Credentials.read(self.auth),
            self.framed_by,
            proxies,
            prefix,
            readers_of_test_texts(
                *(self.host, proxies, self._hosts, prefix, self.framed_by), shown=self.show_test_texts
            ),
            read_origins(self._origins, with_password=self.auth is not None),
        )

    def bounds(self) -> Limits:
        """The limits, with the rate.

        Raises:
            ServingError: the rate is none.
        """
        limits = self.limits or Limits.for_host(self.host, proxied=bool(self._networks))
        return limits if self.rate is None else limits.at_rate(self.rate)

    def warning(self, access: Access) -> str:
        """What to say of a server that everybody reaches without a password; empty for others."""
        if is_loopback(self.host) or access.credentials is not None or self.framed_by:
            return ""
        return (
            f"warning: {self.host} can be reached from other machines, and the demo asks for no password; "
            f"use --auth with a file of name:password lines, or with {VARIABLE}"
        )

    def public_address(self, address: str, access: Access) -> str:
        """What the page calls the server: behind a proxy by the first name that was given, over TLS."""
        named = [read_name(name) for name in self._hosts if not name.startswith("*")]
        if access.proxies and named:
            address = f"https://[{named[0]}]" if ":" in named[0] else f"https://{named[0]}"
        return f"{address}{access.prefix}"

    def checked_port(self) -> int:
        """A port; the system would take 70000 for 4464.

        Raises:
            ServingError: it is none.
        """
        try:
            return arguments.whole_number("port", self.port, least=0, most=65535, hint="0 takes a free one")
        except InputError as error:
            raise ServingError(str(error)) from None

    def split(self, bundle: BundleDescription) -> tuple[int, int | None]:
        """The number of processes, and the cores that each may use; None: as many as were measured to be best.

        Args:
            bundle: the first one, whose tuning decides how many processes the cores are enough for.

        Raises:
            ServingError: there cannot be so many.
        """
        cores = available_cores()
        count, threads = read_processes(self.processes), None
        if count == AUTO:
            digest = bundle.files[bundle.model_file][1]
            tuning = load(digest, bundle.engine) or default()
            count = 1 if self.page or sys.platform == "win32" else cores // max(tuning.threads, tuning.workers) or 1
        elif count != 1:
            threads = max(1, cores // int(count))
        if count != 1 and self.page:
            raise ServingError(
                f"--processes {count}: the page keeps its visitors in one process; `sentopt serve` takes several"
            )
        if count != 1 and sys.platform == "win32":
            raise ServingError(
                f"--processes {count}: on Windows, processes cannot share a port; "
                "start several servers with ports of their own behind a proxy"
            )
        return int(count), threads

    def to_json(self) -> dict[str, Any]:
        """For `from_json` in another process."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        several = {
            "trusted_proxies": [str(one) for one in self._networks],
            "allowed_hosts": list(self._hosts),
            "cors_origins": list(self._origins),
        }
        limits = None if self.limits is None else vars(self.limits)
        log = None if self.log_texts is None else str(self.log_texts)
        return {**plain, **several, "limits": limits, "log_texts": log}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Settings:
        """What `to_json` returned."""
        limits = None if value["limits"] is None else Limits(**value["limits"])
        log = None if value["log_texts"] is None else Path(value["log_texts"])
        return cls(**{**value, "limits": limits, "log_texts": log})


def read_processes(value: int | str) -> int | str:
    """A number of processes, or "auto".

    Raises:
        ServingError: it is neither.
    """
    if value == AUTO:
        return AUTO
    try:
        count = int(value) if isinstance(value, str) else value
        return arguments.whole_number("processes", count, least=1, most=_MOST_PROCESSES)
    except (ValueError, InputError):
        raise ServingError(f"--processes {value}: expected a number from 1 to {_MOST_PROCESSES:,}, or {AUTO}") from None
