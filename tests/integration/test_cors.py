"""`sentopt serve --cors-origin`: pages of named origins ask the endpoints; others cannot, and by default none can."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import small_bundles
from demo_browser import needs_chromium
from demo_server import Reply, Server, ask, post, serving

from sentopt import cli
from sentopt.demo import cors
from sentopt.errors import ServingError

APP, OTHER = "https://app.example", "https://other.example"
ALLOWED = "Access-Control-Allow-Origin"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundles.write(tmp_path_factory.mktemp("cors") / "bundle")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("people") / "people.txt"
    file.write_text("ada:secret\n")
    return file


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Server]:
    with serving(
        "--bundle", str(folder), "--cors-origin", APP, "--cors-origin", "http://127.0.0.1:80", verb="serve"
    ) as s:
        yield s


def preflight(server: Server, path: str, origin: str, method: str = "POST", headers: str = "content-type") -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    connection.request("OPTIONS", path, headers=asked)
    response = connection.getresponse()
    reply = Reply(response.status, response.headers, response.read())
    connection.close()
    return reply


@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/v2/models/any/infer", "/stats"])
def test_a_preflight_of_a_named_origin_is_granted(shared: Server, path: str) -> None:
    reply = preflight(shared, path, APP, headers="authorization,content-type,traceparent")
    assert reply.status == 200
    assert reply.headers[ALLOWED] == APP
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in reply.headers["Access-Control-Allow-Headers"]
    assert "Origin" in reply.headers["Vary"]
    assert reply.headers["Access-Control-Allow-Credentials"] is None


def test_a_preflight_of_another_origin_is_refused(shared: Server) -> None:
    for origin in (OTHER, "null", "https://app.example.evil", "http://app.example", "https://app.example:8443"):
        reply = preflight(shared, "/predict", origin)
        assert (reply.status, reply.headers[ALLOWED]) == (400, None)
    assert preflight(shared, "/predict", APP, method="DELETE").status == 400
    assert preflight(shared, "/predict", APP, headers="x-anything").status == 400


def test_answers_and_refusals_can_be_read_by_the_named_origin(shared: Server) -> None:
    answered = post(shared.address + "/predict", {"text": "great"}, Origin=APP)
    large = ask(shared.address + "/predict", b"x" * (2**20 + 1), Origin=APP)
    wrong = post(shared.address + "/predict", {"txt": "a"}, Origin=APP)
    form = post(shared.address + "/predict", {"text": "a"}, Origin=APP, Content_Type="text/plain")
    read = ask(shared.address + "/stats", Origin=APP)
    method = ask(shared.address + "/predict", Origin=APP)
    replies = (answered, large, wrong, form, read, method)
    assert [reply.status for reply in replies] == [200, 413, 422, 415, 200, 405]
    for reply in replies:
        assert reply.headers[ALLOWED] == APP
        assert "Origin" in reply.headers["Vary"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert post(shared.address + "/predict", {"text": "great"}, Origin="http://127.0.0.1").headers[ALLOWED]


def test_another_origin_gets_no_answer(shared: Server) -> None:
    refused = post(shared.address + "/predict", {"text": "great"}, Origin=OTHER)
    assert (refused.status, refused.headers[ALLOWED]) == (400, None)
    assert ask(shared.address + "/stats", Origin=OTHER).headers[ALLOWED] is None
    assert post(shared.address + "/predict", {"text": "great"}).headers[ALLOWED] is None


def test_what_is_too_fast_or_without_a_password_is_told_to_the_page(folder: Path, people: Path) -> None:
    options = ("--bundle", str(folder), "--cors-origin", APP, "--auth", str(people), "--rate", "0.5")
    with serving(*options, verb="serve") as server:
        nobody = post(server.address + "/predict", {"text": "great"}, Origin=APP)
        assert (nobody.status, nobody.headers[ALLOWED]) == (401, APP)
        assert preflight(server, "/predict", APP, headers="authorization, content-type").status == 200
        known = {"Origin": APP, "Authorization": "Basic YWRhOnNlY3JldA=="}
        replies = [post(server.address + "/predict", {"text": "great"}, **known) for _ in range(3)]
        assert {reply.status for reply in replies} == {200, 429}
        assert {reply.headers[ALLOWED] for reply in replies} == {APP}
        assert "Retry-After" in replies[-1].headers["Access-Control-Expose-Headers"]
        assert {reply.headers["Access-Control-Allow-Credentials"] for reply in replies} == {None}


def test_by_default_no_page_elsewhere_is_served(folder: Path) -> None:
    with serving("--bundle", str(folder), verb="serve") as server:
        assert preflight(server, "/predict", APP).status == 405
        replies = [
            post(server.address + "/predict", {"text": "great"}, Origin=APP),
            ask(server.address + "/stats", Origin=APP),
        ]
        assert [reply.status for reply in replies] == [400, 200]
        for reply in replies:
            assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def test_a_star_shares_the_endpoints_and_never_the_page(folder: Path) -> None:
    pytest.importorskip("gradio")
    with serving("--bundle", str(folder), "--cors-origin", "*", "--root-path", "/demo") as server:
        assert post(server.address + "/demo/predict", {"text": "great"}, Origin=OTHER).headers[ALLOWED] == "*"
        assert ask(server.address + "/demo/", Origin=OTHER).headers[ALLOWED] is None
        joined = post(server.address + "/gradio_api/queue/join", {}, Origin=OTHER)
        assert (joined.status, joined.headers[ALLOWED]) == (400, None)


def test_a_star_with_a_password_is_refused(folder: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["serve", "--bundle", str(folder), "--port", "0", "--cors-origin", "*", "--auth", str(people)]
    assert cli.main(command) == 1
    assert "--cors-origin *: with --auth" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value",
    [
        "app.example",
        "https://app.example/",
        "https://app.example/path",
        "https://a@app.example",
        "https://*.example",
        "null",
        "https://",
        "://x",
        "https://app.example:port",
        "https://a..b",
        "https://a?b",
        "https://a b",
        "https://ä",
    ],
)
def test_what_is_no_origin_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--cors-origin", value])
    assert ended.value.code == 2
    assert "expected an origin" in capsys.readouterr().err
    with pytest.raises(ServingError, match="expected an origin"):
        cors.read_origin(value)


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (" HTTPS://App.Example:443 ", "https://app.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://app.example:80", "http://app.example"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://app.example:80", "https://app.example:80"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_is_read_as_browsers_write_it(value: str, origin: str) -> None:
    assert cors.read_origin(value) == origin


@needs_chromium
def test_a_browser_lets_the_named_page_read_the_answer(folder: Path, tmp_path: Path, browser: Any) -> None:
    """Two origins on this machine: the page of one asks, that of the other is kept off by the browser."""
    (tmp_path / "index.html").write_text("<title>a page</title>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        named = f"http://127.0.0.1:{pages.server_port}"
        with serving("--bundle", str(folder), "--cors-origin", named, verb="serve") as server:
            asks = """async address => {
                const headers = {'Content-Type': 'application/json'};
                const asked = {method: 'POST', headers, body: '{"text": "great"}'};
                try { return (await (await fetch(address, asked)).json()).label } catch (error) { return error.name }
            }"""
            said = []
            for origin in (named, f"http://localhost:{pages.server_port}"):
                page = browser.new_page()
                page.goto(origin)
                said.append(page.evaluate(asks, server.address + "/predict"))
                page.close()
        pages.shutdown()
    assert said[0] not in ("", "TypeError", None)
    assert said[1] == "TypeError"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass
