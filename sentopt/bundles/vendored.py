"""The runtime of sentopt inside another package: a wheel that holds it needs no sentopt to be installed."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from sentopt._version import __version__
from sentopt.errors import OutputError

PACKAGE = "_sentopt"
ROOT = Path(__file__).parents[1]
_IMPORT = re.compile(r"^(\s*(?:from|import) )sentopt\b", re.MULTILINE)

_MODULE = '''\
"""The runtime of sentopt {version}, copied; only the names of its imports are changed.

Licensed under the Apache License 2.0; its text is in the metadata of this package, licenses/sentopt/LICENSE.
"""

import os

__version__ = "{version}"

# As sentopt does: onnxruntime sends no usage data unless this is set to 0 before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from {module}.{package}.runtime.classifier import Classifier, Prediction  # noqa: E402
from {module}.{package}.runtime.deferral import Stats  # noqa: E402

__all__ = ["Classifier", "Prediction", "Stats", "__version__"]
'''


def files(module: str) -> dict[str, bytes]:
    """The modules of the runtime below the package `module`, by path, with their imports renamed to that place."""
    sources = {"errors.py": ROOT / "errors.py"}
    sources |= {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "runtime").rglob("*.py"))}
    renamed = {path: _renamed(source.read_text(encoding="utf-8"), module) for path, source in sources.items()}
    init = _MODULE.format(version=__version__, module=module, package=PACKAGE)
    return {
        f"{module}/{PACKAGE}/{path}": content.encode() for path, content in {"__init__.py": init, **renamed}.items()
    }


def _renamed(source: str, module: str) -> str:
    notice = f"# From sentopt {__version__}; only the names of its imports are changed.\n"
    return notice + _IMPORT.sub(rf"\1{module}.{PACKAGE}", source)


def requirements(engine: str) -> list[str]:
    """What the runtime needs for bundles of an `engine`, as sentopt's own metadata states it."""
    wanted = importlib.metadata.requires("sentopt") or []
    extra = 'extra == "openvino"'
    base = [need for need in wanted if "extra ==" not in need]
    more = [need.partition(";")[0].strip() for need in wanted if extra in need.replace("'", '"')]
    return base + (more if engine == "openvino" else [])


def license_text() -> bytes:
    """The licence of sentopt, from its installed metadata or from its source tree.

    Raises:
        OutputError: it is in neither; the runtime may not be passed on without it.
    """
    installed = importlib.metadata.distribution("sentopt").read_text("licenses/LICENSE")
    if installed is not None:
        return installed.encode()
    in_sources = ROOT.parent / "LICENSE"
    if in_sources.is_file():
        return in_sources.read_bytes()
    raise OutputError(
        "the licence text of sentopt is not installed with it, and a self-contained wheel must hold it: "
        "install sentopt again, or pack without the runtime"
    )
