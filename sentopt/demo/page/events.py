"""How events of the page are connected, and what the browser does in one by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of an event whose result is its only sign, and which is no endpoint for others."""

_DOWNLOAD = Path(__file__).with_name("download.js").read_text(encoding="utf-8")


def download(name: str) -> str:
    """JavaScript of a function that saves its argument, a CSV, as the file `name`.

    The file is made in the browser from what the page holds, so that the server writes and serves none.
    """
    return _DOWNLOAD.replace("NAME", name)
