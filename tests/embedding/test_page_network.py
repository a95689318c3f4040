"""The page of demo/web on networks and servers as they are: slow, silent, gone, strict; in Chromium."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from demo_browser import needs_chromium

from sentopt import Classifier

PACKAGE = Path(__file__).parents[2] / "demo" / "embed" / "javascript"
NODE = shutil.which("node")
MODEL = "/bundle/onnx/model.onnx"
OFFLINE = "opens without a network"

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not on PATH"),
    needs_chromium,
    pytest.mark.skipif(
        not (PACKAGE / "node_modules/onnxruntime-web").is_dir(), reason="run `npm ci` in demo/embed/javascript"
    ),
    pytest.mark.slow,
]


class Handler(http.server.SimpleHTTPRequestHandler):
    """A static server that asks `before` about each file first."""

    server: Server

    def do_GET(self) -> None:
        """Send the file, unless `before` has sent something."""
        self.server.asked.append(self.path)
        if not self.server.before(self):
            super().do_GET()

    def end_headers(self) -> None:
        """Add the headers of the server."""
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send slowly where the server is slow."""
        while chunk := source.read(1 << 16):
            outputfile.write(chunk)
            time.sleep(self.server.pause)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """What the tests change of it."""

    daemon_threads = True
    pause = 0.0

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.before: Callable[[Handler], bool] = lambda _: False

    def handle_error(self, *_: object) -> None:
        """A browser that goes away is no error."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Server]:
    with Server(folder, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def visitor(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    context.set_default_timeout(120_000)
    yield context
    context.close()


@pytest.fixture
def page_folder(fp32_bundle: Path, tmp_path: Path) -> Path:
    return make_page(fp32_bundle, tmp_path / "page")


def make_page(bundle: Path, folder: Path) -> Path:
    command = [str(NODE), str(PACKAGE / "make-web.mjs"), str(bundle), str(folder)]
    subprocess.run(command, capture_output=True, check=True)
    return folder


def with_timeout(folder: Path, seconds: float) -> None:
    index = folder / "index.html"
    changed = index.read_text(encoding="utf-8").replace('data-timeout="30"', f'data-timeout="{seconds}"')
    assert f'data-timeout="{seconds}"' in changed
    index.write_text(changed, encoding="utf-8")


def headline(page: Any, wanted: str) -> str:
    """The headline, once it holds what is wanted."""
    page.locator("#headline", has_text=wanted).wait_for()
    return str(page.locator("#headline").text_content())


def answer(page: Any, text: str) -> str:
    headline(page, "Ready")
    page.fill("#text", text)
    page.locator("#note", has_text="Answered in").wait_for()
    return str(page.locator("#headline").text_content())


def test_the_percent_of_all_that_is_fetched_is_shown(page_folder: Path, visitor: Any) -> None:
    with serving(page_folder) as server:
        server.pause = 0.02
        page = visitor.new_page()
        page.add_init_script(
            "window.seen = []; new MutationObserver(() => window.seen.push(document.querySelector('#headline')"
            "?.textContent)).observe(document, {subtree: true, childList: true, characterData: true})"
        )
        page.goto(server.address)
        headline(page, "Ready")
        seen = [text for text in page.evaluate("window.seen") if text and text.startswith("Loading ")]
        shares = [int(text.removeprefix("Loading ").removesuffix("%")) for text in seen if text.endswith("%")]
        assert len(set(shares)) > 20
        assert shares == sorted(shares)
        assert shares[-1] == 100
        assert page.locator("#progress").is_hidden()


def test_a_transfer_that_stalls_is_given_up_by_name_and_can_be_tried_again(page_folder: Path, visitor: Any) -> None:
    with_timeout(page_folder, 0.4)
    silent = threading.Event()

    def stall(handler: Handler) -> bool:
        if handler.path != MODEL or silent.is_set():
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(b"beginning")
        silent.wait(60)
        return True

    with serving(page_folder) as server:
        server.before = stall
        page = visitor.new_page()
        page.goto(server.address)
        said = headline(page, "cannot answer")
        assert "bundle/onnx/model.onnx cannot be fetched: no byte arrived for 0.4 s" in said
        assert server.asked.count(MODEL) == 3
        assert page.locator("#text").is_disabled()
        silent.set()
        page.click("#again")
        assert answer(page, "great great day")
        assert page.locator("#again").is_hidden()


def test_a_server_that_is_busy_once_is_asked_again(page_folder: Path, visitor: Any) -> None:
    def busy_once(handler: Handler) -> bool:
        if handler.path != MODEL or handler.server.asked.count(MODEL) > 1:
            return False
        handler.send_error(503)
        return True

    with serving(page_folder) as server:
        server.before = busy_once
        page = visitor.new_page()
        page.goto(server.address)
        headline(page, "Ready")


def test_after_the_first_visit_the_page_answers_without_a_network(
    fp32_bundle: Path, page_folder: Path, visitor: Any
) -> None:
    with serving(page_folder) as server:
        page = visitor.new_page()
        page.goto(server.address)
        page.locator("#facts", has_text=OFFLINE).wait_for()
        address = server.address
    expected = Classifier.load(fp32_bundle)("great great day").label
    for place in (address, f"{address}index.html", f"{address}?utm=1"):
        later = visitor.new_page()
        later.goto(place)
        assert answer(later, "great great day") == expected


def test_another_version_takes_the_place_of_the_old_one_whole_or_not_at_all(
    fp32_bundle: Path, left_bundle: Path, page_folder: Path, visitor: Any, tmp_path: Path
) -> None:
    with serving(page_folder) as server:
        page = visitor.new_page()
        page.goto(server.address)
        page.locator("#facts", has_text=OFFLINE).wait_for()
        port = server.server_port
    description = json.loads((left_bundle / "sentopt.json").read_text(encoding="utf-8"))
    (left_bundle / "sentopt.json").write_text(json.dumps({**description, "name": "another"}), encoding="utf-8")
    other = make_page(left_bundle, tmp_path / "other")
    whole = (other / "lib/tokenizers.js").read_bytes()
    (other / "lib/tokenizers.js").write_bytes(whole + b" ")
    with serving(other, port) as server:
        damaged = visitor.new_page()
        damaged.goto(server.address)
        assert page_name(damaged) != "another"
        damaged.wait_for_timeout(3000)  # the update is tried and refused
        damaged.reload()
        assert page_name(damaged) != "another"
        (other / "lib/tokenizers.js").write_bytes(whole)
        updated = visitor.new_page()
        updated.goto(server.address)
        updated.evaluate("navigator.serviceWorker.getRegistration().then((found) => found.update()).then(() => 0)")
        updated.wait_for_timeout(5000)
        updated.reload()
        assert page_name(updated) == "another"
    kept = updated.evaluate("caches.keys()")
    assert len(kept) == 1


def page_name(page: Any) -> str:
    headline(page, "Ready")
    return str(page.locator("#name").text_content())


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("default-src 'self'; script-src 'self' 'wasm-unsafe-eval'", "Ready"),
        ("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; style-src 'self'; "
         "img-src 'self'; worker-src 'self'", "Ready"),
        ("default-src 'self'", "add 'wasm-unsafe-eval' to script-src"),
    ],
)  # fmt: skip
def test_a_content_security_policy_needs_wasm_unsafe_eval_alone(
    policy: str, said: str, page_folder: Path, visitor: Any
) -> None:
    with serving(page_folder) as server:
        server.headers["Content-Security-Policy"] = policy
        page = visitor.new_page()
        page.goto(server.address)
        headline(page, said)
