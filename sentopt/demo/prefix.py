"""The path below which a proxy shows the demo."""

from __future__ import annotations

import re

from sentopt.demo.routes import FIRST_FOLDERS
from sentopt.errors import ServingError

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*\Z")


def read_prefix(text: str) -> str:
    """A path without a slash at its end; empty for the root.

    Raises:
        ServingError: it is no plain path, or begins as a route of the demo.
    """
    said = f"--root-path {text}"
    prefix = text.strip().rstrip("/")
    if not _PATH.match(prefix) or {".", ".."} & set(prefix.split("/")):
        raise ServingError(f"{said}: expected a path that begins with a slash, such as /demo")
    if prefix and prefix.split("/")[1] in FIRST_FOLDERS:
        raise ServingError(f"{said}: the demo has a route of that name; choose another path")
    return prefix


def below(path: str, prefix: str) -> str:
    """`path` without the prefix, which some proxies remove and others leave."""
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path
