"""A bundle in Chromium, from a static server, against Python on 330 texts of many scripts:
`python benchmarks/browser.py exports/quickstart/bundle`.

It needs Node, `npm ci` in demo/embed/javascript, and Chromium on PATH. The texts are typed into the page of demo/web.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentopt import Classifier

ROOT = Path(__file__).parents[1]
TEXTS = 330
SENTENCES = (
    "The soup was cold and nobody cared",
    "A wonderful film, I would see it again tomorrow",
    "It opens at nine",
    "Not bad at all, but not good either",
    "The staff were kind, the room was a disappointment",
    "Delivery took two days",
)
SCRIPTS = (
    *((0x00C0, 0x024F), (0x0300, 0x036F), (0x0370, 0x03FF), (0x0400, 0x052F), (0x0531, 0x058F), (0x0591, 0x05F4)),
    *((0x0600, 0x06FF), (0x0700, 0x074F), (0x0780, 0x07BF), (0x0800, 0x085E), (0x08A0, 0x08FF), (0x0900, 0x097F)),
    *((0x0980, 0x09FF), (0x0A00, 0x0A7F), (0x0B80, 0x0BFF), (0x0C00, 0x0C7F), (0x0D00, 0x0D7F), (0x0D80, 0x0DFF)),
    *((0x0E00, 0x0E7F), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F)),
    *((0x13A0, 0x13FF), (0x1400, 0x167F), (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1B00, 0x1B7F), (0x1C80, 0x1CBF)),
    *((0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x20FF), (0x2100, 0x22FF), (0x2460, 0x24FF), (0x2C00, 0x2D2F)),
    *((0x2E00, 0x2E7F), (0x3000, 0x30FF), (0x3100, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA640, 0xA7FF)),
    *((0xA8E0, 0xA97F), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE20, 0xFFEF), (0x10330, 0x1034F)),
    *((0x10400, 0x1044F), (0x104B0, 0x104FF), (0x10570, 0x105BF), (0x10D00, 0x10D8F), (0x10F00, 0x10FBF)),
    *((0x11000, 0x1107F), (0x11400, 0x1145F), (0x11800, 0x1183F), (0x11A00, 0x11AAF), (0x11C00, 0x11CBF)),
    *((0x11D00, 0x11DAF), (0x11EE0, 0x11F5F), (0x16E40, 0x16E9F), (0x17000, 0x187FF), (0x1E100, 0x1E2FF)),
    *((0x1E900, 0x1E95F), (0x1F300, 0x1F6FF), (0x1F900, 0x1FAFF), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1F)),
    *((0x30000, 0x3134F),),
)
"""First and last code points of blocks. Several hold characters that Unicode got after `tokenizers` took its tables."""


@dataclass(frozen=True)
class Comparison:
    """What the page answered beside Python; milliseconds are those that the page shows."""

    texts: int
    labels_changed: int
    largest_difference: float
    first_answer_ms: float
    median_ms: float
    page: dict[str, Any]


def texts() -> list[str]:
    """330 texts: sentences with words of each script in their middle, capitals and punctuation behind letters."""
    draw = random.Random(5)
    found = []
    while len(found) < TEXTS:
        first, last = SCRIPTS[len(found) % len(SCRIPTS)]
        block = [c for c in map(chr, range(first, last + 1)) if unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp")]
        words = ["".join(draw.choices(block, k=draw.randint(1, 7))) for _ in range(draw.randint(1, 4))]
        beginning, _, end = draw.choice(SENTENCES).partition(" ")
        found.append(f"{beginning} {draw.choice(['', ' ', ', ']).join(words)} {end}{draw.choice(block)}")
    return found


def compare(bundle: Path, chromium: str, typed: list[str]) -> Comparison:
    """Make the page, visit it, type the texts, and compare with `Classifier`."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page"
        _node(ROOT / "demo/embed/javascript/make-web.mjs", str(bundle), str(page))
        found = visit(page, chromium, typed)
    expected = [Classifier.load(bundle)(text) for text in typed]
    differences = [
        abs(answer["probabilities"][label] - p)
        for answer, prediction in zip(found["answers"], expected, strict=True)
        for label, p in prediction.probabilities.items()
    ]
    return Comparison(
        texts=len(expected),
        labels_changed=sum(a["headline"] != p.label for a, p in zip(found["answers"], expected, strict=True)),
        largest_difference=max(differences),
        first_answer_ms=found["firstAnswer"],
        median_ms=statistics.median(float(a["note"].split()[2]) for a in found["answers"]),
        page=found,
    )


def visit(page: Path, chromium: str, typed: list[str]) -> dict[str, Any]:
    """What tests/embedding/use_page.mjs finds on the page."""
    handler = functools.partial(_Quiet, directory=str(page))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            asked = {"chromium": chromium, "arguments": [], "texts": typed, "screenshots": None}
            asked["url"] = f"http://127.0.0.1:{server.server_port}/"
            found: dict[str, Any] = json.loads(_node(ROOT / "tests/embedding/use_page.mjs", text=json.dumps(asked)))
            return found
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _node(script: Path, *arguments: str, text: str = "") -> str:
    command = ["node", str(script), *arguments]
    return subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=True).stdout


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    bundle = parser.parse_args().bundle
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.exit(1, "Chromium is not on PATH\n")
    found = compare(bundle, chromium, texts())
    print(f"{found.texts} texts: {found.labels_changed} labels differ from Python, a probability by at most", end=" ")
    print(f"{found.largest_difference:.4f}; first answer after {found.first_answer_ms / 1000:.1f} s,", end=" ")
    print(f"then {found.median_ms:.1f} ms a text (median)")


if __name__ == "__main__":
    main()
