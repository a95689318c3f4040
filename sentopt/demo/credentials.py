"""Names and passwords for HTTP Basic authentication. Compared in constant time, and never printed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from sentopt.errors import ServingError

VARIABLE = "SENTOPT_DEMO_AUTH"


class Credentials:
    """Who may use the demo. Holds digests only."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._salt = os.urandom(16)
        self._known = {self._digest(name, password) for name, password in passwords.items()}

    @classmethod
    def read(cls, file: str) -> Credentials:
        """`name:password` lines of a file; of the environment variable `SENTOPT_DEMO_AUTH` where `file` is empty.

        Raises:
            ServingError: there are none, or a line is malformed. The message does not repeat its content.
        """
        where = file or f"the environment variable {VARIABLE}"
        try:
            text = Path(file).read_text(encoding="utf-8-sig") if file else os.environ.get(VARIABLE, "")
            text.encode()
        except OSError as error:
            raise ServingError(f"cannot read credentials from {where}: {error.strerror}") from None
        except UnicodeError:
            raise ServingError(f"cannot read credentials from {where}: it is not UTF-8") from None
        lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
        pairs = [line.partition(":") for line in lines]
        if not pairs or not all(name and password for name, _, password in pairs):
            raise ServingError(f"{where} must hold one name:password a line, and at least one")
        return cls({name: password for name, _, password in pairs})

    def allow(self, header: str) -> bool:
        """Whether the value of an `Authorization` header holds a known name and its password."""
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            name, separator, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return False
        given = self._digest(name, password)
        return bool(separator) and sum(hmac.compare_digest(given, known) for known in self._known) > 0

    def _digest(self, name: str, password: str) -> bytes:
        return hmac.new(self._salt, f"{name}\0{password}".encode(), hashlib.sha256).digest()
