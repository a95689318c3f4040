"""Optional packages: an import that fails says which extra brings the package."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType

from sentopt.errors import MissingExtraError


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around local imports of modules that need the packages of `extra`.

    The imports stay ordinary ones, so that type checkers and the layer contract see them.

    Raises:
        MissingExtraError: a package is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("sentopt"):
            raise  # a mistake of this package, not a missing one
        raise _missing(str(error.name), extra) from error


def require(module: str, *, extra: str) -> ModuleType:
    """Import another project's `module`.

    Raises:
        MissingExtraError: the module is not installed, or one of the modules it imports is not.
    """
    with needs_extra(extra):
        return importlib.import_module(module)


def check_installed(module: str, *, extra: str) -> None:
    """That another project's `module` is there, without the time that importing it takes.

    Raises:
        MissingExtraError: the module is not installed.
    """
    if not is_installed(module):
        raise _missing(module, extra)


def is_installed(module: str) -> bool:
    """Whether `module` could be imported, without importing it (its parent packages are)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _missing(module: str, extra: str) -> MissingExtraError:
    return MissingExtraError(
        f"this needs the package {module!r}, which the base install leaves out.\n"
        f'Install it with: pip install "sentopt[{extra}]"'
    )
