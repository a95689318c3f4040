"""The page of demo/web: made of a bundle, served, and used in Chromium; and what a script of Node prints."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo_browser import CHROMIUM

from sentopt.runtime.description import Text

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "demo" / "embed" / "javascript"
NODE = shutil.which("node")
INSTALLED = (PACKAGE / "node_modules" / "onnxruntime-node").is_dir()


def node(script: Path, *arguments: object, stdin: object) -> Any:
    """What a script of Node prints, given JSON on stdin."""
    command = [str(NODE), str(script), *map(str, arguments)]
    done = subprocess.run(command, input=json.dumps(stdin), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def make_page(bundle: Path, folder: Path) -> Path:
    """Made as a developer makes it, less npm."""
    command = [str(NODE), str(PACKAGE / "make-web.mjs"), str(bundle), str(folder)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    return folder


def use_page(
    folder: Path,
    *arguments: str,
    texts: Sequence[Text] = (),
    screenshots: Path | None = None,
    host: str = "127.0.0.1",
) -> Any:
    """What `use_page.mjs` found; whatever the page fetched came from its own server."""
    with served(folder) as port:
        asked = {
            "chromium": CHROMIUM,
            "arguments": arguments,
            "url": f"http://{host}:{port}/",
            "texts": texts,
            "screenshots": screenshots and str(screenshots),
        }
        found = node(ROOT / "tests" / "embedding" / "use_page.mjs", stdin=asked)
    assert all(address.startswith(asked["url"]) for address in found["requests"])
    return found


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[int]:
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def screenshots(name: str) -> Path | None:
    """A folder for pictures of the page, below the one that SENTOPT_ARTEFACTS names."""
    root = os.environ.get("SENTOPT_ARTEFACTS")
    if root is None:
        return None
    folder = Path(root) / f"page-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
