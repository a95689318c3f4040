"""The door to the heavy packages: each stage asks here once, and a missing package names its extra."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from sentopt.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingExtraError: the module is not installed, or one of the modules it imports is not.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if (error.name or "").startswith("sentopt"):
            raise  # a mistake of this package, not a missing one
        raise MissingExtraError(
            f"this needs the package {error.name or module!r}, which the base install leaves out.\n"
            f'Install it with: pip install -c constraints.txt "sentopt[{extra}]"'
        ) from error


def is_installed(module: str) -> bool:
    """Whether `module` could be imported, without importing it (its parent packages are)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
