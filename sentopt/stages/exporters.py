"""Which exporter traces a model into an ONNX graph: Optimum's, or PyTorch's for environments without Optimum."""

from __future__ import annotations

import importlib.metadata
from typing import Literal

from sentopt._optional import is_installed
from sentopt.errors import ExportError, MissingExtraError

Exporter = Literal["optimum", "torch"]
Asked = Literal["auto", "optimum", "torch"]


def choose(asked: Asked) -> tuple[Exporter, tuple[str, ...]]:
    """The exporter that traces here, and notices about the choice. "auto" takes Optimum where it can be used.

    Raises:
        MissingExtraError: Optimum is asked for, and is not installed.
        ExportError: Optimum is asked for, and does not support the installed transformers.
    """
    if asked == "torch":
        return "torch", ()
    installed = is_installed("optimum.exporters.onnx") and is_installed("optimum.onnxruntime")
    conflict = unsupported_transformers() if installed else None
    if installed and not conflict:
        return "optimum", ()
    if asked == "auto":
        return "torch", (f"{conflict}: graphs are traced by PyTorch's exporter",) if conflict else ()
    if conflict:
        raise ExportError(
            f"export.exporter is 'optimum', and {conflict}. Install both with: pip install \"sentopt[optimum]\", or "
            "trace with PyTorch's exporter: --set export.exporter=torch"
        )
    raise MissingExtraError(
        "export.exporter is 'optimum', and Optimum's ONNX exporter is not installed.\n"
        'Install it with: pip install "sentopt[optimum]", '
        "or trace with PyTorch's exporter: --set export.exporter=torch"
    )


def unsupported_transformers() -> str | None:
    """In words, that the installed Optimum does not support the installed transformers; None if it does.

    The requirement is the one that Optimum's exporter states itself. It can be imported with others, too.
    """
    from packaging.requirements import Requirement  # transformers brings it

    found = importlib.metadata.version("transformers")
    for line in importlib.metadata.requires("optimum-onnx") or ():
        requirement = Requirement(line)
        if requirement.name == "transformers" and not requirement.specifier.contains(found, prereleases=True):
            version = importlib.metadata.version("optimum-onnx")
            return f"optimum-onnx {version} needs transformers{requirement.specifier}, found {found}"
    return None
