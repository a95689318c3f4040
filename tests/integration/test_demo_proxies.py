"""The demo behind real proxies, with the configurations of the documentation: nginx and Caddy of Debian."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo_browser import Visit, chromium, needs_chromium
from demo_server import Server, ask, serving
from pages import blocks
from ports import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="clients need the addresses 127.x.x.x")
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
CADDY = shutil.which("caddy")
PAGE = "docs/deploy/proxy.md"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
NAME, PREFIX, PEOPLE = "demo.localhost", "/sentiment", ("ann", "correct horse")
RIGHT = {"Authorization": "Basic " + base64.b64encode(":".join(PEOPLE).encode()).decode()}
WRONG = {"Authorization": "Basic " + base64.b64encode(b"ann:guess").decode()}


@dataclass(frozen=True)
class Proxy:
    """A running proxy: its name, and the port that takes plain HTTP or TLS."""

    program: str
    port: int
    tls: bool

    @property
    def address(self) -> str:
        return f"{'https' if self.tls else 'http'}://{NAME}:{self.port}{PREFIX}/"

    @property
    def clients(self) -> tuple[str, ...]:
        """Addresses of this machine, of which all of 127/8 are, that no other proxy here has clients at."""
        return tuple(f"127.{self.port // 256}.{self.port % 256}.{i}" for i in range(2, 6))

    def ask(
        self, path: str, body: object = None, *, client: str = "127.0.0.1", method: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request, from an address of this machine."""
        connection = self._connection(client)
        try:
            named = {"Host": f"{NAME}:{self.port}", **{n.replace("_", "-"): v for n, v in headers.items()}}
            if body is not None:
                named["Content-Type"] = "application/json"
            sent = None if body is None else json.dumps(body)
            connection.request(method or ("GET" if body is None else "POST"), PREFIX + path, sent, named)
            reply = connection.getresponse()
            return reply.status, {n.lower(): v for n, v in reply.headers.items()}, reply.read()
        finally:
            connection.close()

    def status(self, path: str, body: object = None, **options: Any) -> int:
        return self.ask(path, body, **options)[0]

    def _connection(self, client: str) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(client, 0))
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=30, source_address=(client, 0), context=unverified
        )


def block_of(language: str) -> str:
    """The one block of a language in the page about proxies."""
    (block,) = (block for block in blocks(PAGE) if block.language == language)
    return block.code


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """A program, from when its port is open."""
    with (
        (folder / "output").open("w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, env={**os.environ, "HOME": str(folder)}
        ) as process,
    ):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert process.poll() is None, (folder / "output").read_text()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@contextlib.contextmanager
def nginx(server: Server, folder: Path, *, tls: bool) -> Iterator[Proxy]:
    """nginx with the block of the documentation, as any user, in a folder."""
    assert NGINX
    port = free_port()
    location = block_of("nginx").replace("127.0.0.1:7860", f"127.0.0.1:{server.port}")
    assert f":{server.port}/" in location
    if tls:
        made = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem", "-days", "1", "-subj", f"/CN={NAME}"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made]
        subprocess.run(command, check=True, capture_output=True)
    certificate = "ssl_certificate certificate.pem; ssl_certificate_key key.pem;" if tls else ""
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in _TEMPORARY)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events {}\n"
        f"http {{ access_log {folder}/access.log; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}; server_name {NAME}; {certificate}\n{location}}}\n"
        "}\n"
    )
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with running(command, port, folder):
        yield Proxy("nginx", port, tls)


@contextlib.contextmanager
def caddy(server: Server, folder: Path) -> Iterator[Proxy]:
    """Caddy with the block of the documentation, without TLS, whose certificates it would fetch."""
    assert CADDY
    port = free_port()
    site = block_of("caddyfile").replace("127.0.0.1:7860", f"127.0.0.1:{server.port}")
    site, places = re.subn(r"^example\.com \{", f"http://{NAME}:{port} {{", site)
    assert places == 1
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n}}\n\n{site}")
    command = [CADDY, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with running(command, port, folder):
        yield Proxy("Caddy", port, tls=False)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "people.txt"
    path.write_text(":".join(PEOPLE) + "\n")
    return path


@pytest.fixture(scope="module")
def server(finished_run: Path, people: Path) -> Iterator[Server]:
    """The demo, started with the options of the documentation."""
    (command,) = (block.code for block in blocks(PAGE) if block.language == "sh")
    options = command.split()[2:]
    options[options.index("people.txt")] = str(people)
    options[options.index("example.com")] = NAME
    with serving("--run-dir", str(finished_run), *options, "--rate", "5") as running:
        yield running
    assert "forwards requests" not in "".join(running.output)


@pytest.fixture(scope="module", params=["nginx", "nginx with TLS", "Caddy"])
def proxy(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = str(request.param).split()[0]
    if (NGINX if program == "nginx" else CADDY) is None:
        pytest.skip(f"no {program} on this machine (apt-get install nginx-light caddy)")
    folder = tmp_path_factory.mktemp("proxy")
    with (
        caddy(server, folder) if program == "Caddy" else nginx(server, folder, tls="TLS" in str(request.param))
    ) as running:
        yield running


def test_health_and_answers_come_through(proxy: Proxy) -> None:
    for method in ("GET", "HEAD"):
        status, headers, body = proxy.ask("/healthz", method=method)
        assert (status, headers["content-length"], body) == (
            200,
            "18",
            b'{"status":"alive"}' if method == "GET" else b"",
        )
    status, _, body = proxy.ask("/predict", {"text": "great great day"}, **RIGHT)
    assert (status, json.loads(body)["label"]) == (200, "positive")
    status, _, body = proxy.ask("/predict_batch", {"texts": ["great", "half \ud83d", "terrible food"]}, **RIGHT)
    assert [p["label"] for p in json.loads(body)["predictions"]][2] == "negative"
    described = json.loads(proxy.ask("/openapi.json", **RIGHT)[2])
    assert described["servers"] == [{"url": PREFIX}]


def test_one_visitor_is_locked_out_and_another_is_not(proxy: Proxy) -> None:
    guessing, other = proxy.clients[:2]
    for path in ("/config", "/metrics"):
        assert proxy.status(path, client=other, **RIGHT) == 200
    forged = {"X_Forwarded_For": other, "Forwarded": f"for={other}"}

    def guess() -> list[int]:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [{"X_Forwarded_For": f"203.0.113.{i}", **WRONG} for i in range(40)]
            asked += [RIGHT, {**RIGHT, **forged}]  # a right one is not told to be right
            return list(pool.map(lambda headers: proxy.status("/metrics", client=guessing, **headers), asked))

    rounds = [guess() for _ in range(3)]  # now and then a guess is free again just when the right one comes
    assert set(rounds[0][:-2]) == {401, 429}
    assert [429, 429] in [found[-2:] for found in rounds]
    assert proxy.status("/metrics", client=other, **RIGHT) == 200
    assert proxy.status("/metrics", client=other, X_Forwarded_For=guessing, **RIGHT) == 200


def test_the_rate_of_one_visitor_is_not_that_of_all(proxy: Proxy) -> None:
    fast, other = proxy.clients[2:]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: proxy.status("/predict", {"text": "a"}, client=fast, **RIGHT), range(100)))
    assert found == {200, 429}
    assert proxy.status("/predict", {"text": "a"}, client=other, **RIGHT) == 200


def test_the_prefix_alone_leads_to_the_page(proxy: Proxy) -> None:
    status, headers, _ = proxy.ask("", **RIGHT)
    assert status in (301, 302, 307)
    assert headers["location"].removeprefix(proxy.address.removesuffix(f"{PREFIX}/")) == f"{PREFIX}/"


def test_other_names_and_other_sites_are_refused(proxy: Proxy, server: Server) -> None:
    if proxy.program == "nginx":  # Caddy itself answers to no other name
        assert proxy.status("/healthz", Host="evil.example") == 400
        assert proxy.status("/healthz", X_Forwarded_Host="evil.example") == 200
    assert proxy.status("/predict", {"text": "a"}, Origin="https://evil.example", **RIGHT) == 400
    own = proxy.address.removesuffix(f"{PREFIX}/")
    assert proxy.status("/predict", {"text": "a"}, Origin=own, **RIGHT) == 200
    assert ask(server.address + "/healthz", Host="evil.example").status == 400


def test_gradios_client_works_below_the_prefix(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio_client import Client

    resolve = socket.getaddrinfo  # the C library knows no names below localhost; browsers do
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: resolve("127.0.0.1" if host == NAME else host, *a, **k)
    )
    client = Client(proxy.address, verbose=False, analytics_enabled=False, headers=RIGHT, ssl_verify=False)
    try:
        assert client.predict("great great day", api_name="/predict")["label"] == "positive"
    finally:
        client.close()
    status, _, body = proxy.ask("/gradio_api/run/predict", {"data": ["half \ud83d pair"]}, **RIGHT)
    assert (status, "label" in json.loads(body)["data"][0]) == (200, True)


@needs_chromium
def test_the_page_is_styled_and_works_below_the_prefix(proxy: Proxy) -> None:
    with chromium() as browser:
        who = {"username": PEOPLE[0], "password": PEOPLE[1]}
        visit = Visit(browser, proxy.address, http_credentials=who, ignore_https_errors=True)
        style = "selector => getComputedStyle(document.querySelector(selector))"
        assert visit.page.evaluate(f"({style})('.gradio-container').maxWidth") == "1100px"
        assert visit.page.evaluate(f"({style})('#why').backgroundColor") == "rgb(15, 118, 110)"
        visit.page.locator("#text textarea").fill("great great day")
        visit.wait_for("#note", "answered in")
        visit.wait_for("#label p.label", "positive")
        visit.page.click("#why")
        visit.wait_for("#reasons", "was left out once")
        visit.open("Score a list")
        visit.page.fill("#list-texts textarea", "great great day\nterrible food")
        visit.page.click("#score")
        visit.wait_for("#summary", "2 texts in")
        visit.open("API")
        visit.page.get_by_text(f"https://{NAME}{PREFIX}/predict").first.wait_for()
        linked = visit.page.evaluate("() => [...document.querySelectorAll('link[href]')].map(l => l.href)")
        visit.context.close()
    assert not visit.problems
    assert not visit.elsewhere, "the page asked for something outside of its prefix"
    assert linked
    for path in ("/manifest.json", "/favicon.ico", "/theme.css"):
        assert proxy.status(path, **RIGHT) == 200
    assert all(link.startswith(proxy.address) for link in linked)


@needs_chromium
def test_the_page_asks_for_the_password_and_stays_shut_without(proxy: Proxy) -> None:
    PlaywrightError = pytest.importorskip("playwright.sync_api").Error  # noqa: N806

    with chromium() as browser:
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        asked = []
        page.on("response", lambda reply: asked.append((reply.status, reply.headers.get("www-authenticate", ""))))
        with contextlib.suppress(PlaywrightError):  # where there are windows, it has none to ask in
            page.goto(proxy.address)
        assert [status for status, _ in asked] == [401]
        assert asked[0][1].startswith("Basic ")
        assert page.locator("#label").count() == 0
        context.close()


def test_an_accepted_request_is_finished_through_the_proxy_when_the_server_stops(
    finished_run: Path, people: Path, tmp_path: Path
) -> None:
    if NGINX is None:
        pytest.skip("no nginx on this machine (apt-get install nginx-light)")
    options = ["--trusted-proxy", "127.0.0.0/8", "--allowed-host", NAME, "--root-path", PREFIX, "--auth", str(people)]
    with (
        serving("--run-dir", str(finished_run), *options, stop=signal.SIGTERM) as server,
        nginx(server, tmp_path, tls=False) as proxy,
    ):
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        body = json.dumps({"texts": ["terrible " * 40] * 1_000})
        named = {"Host": f"{NAME}:{proxy.port}", "Content-Type": "application/json", **RIGHT}
        connection.request("POST", f"{PREFIX}/predict_batch", body, named)
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        reply = connection.getresponse()
        assert reply.status == 200
        assert len(json.loads(reply.read())["predictions"]) == 1_000
        connection.close()
        server.process.wait(20)


def test_the_configuration_for_traefik_names_what_it_defines() -> None:
    """Traefik is in none of the registries that the tests use, so it is not run."""
    yaml = pytest.importorskip("yaml")
    http = yaml.safe_load(block_of("yaml"))["http"]
    (router,) = http["routers"].values()
    assert router["service"] in http["services"]
    assert set(router["middlewares"]) <= http["middlewares"].keys()
    assert f"PathPrefix(`{PREFIX}`)" in router["rule"]
    (server,) = http["services"][router["service"]]["loadBalancer"]["servers"]
    assert server == {"url": "http://127.0.0.1:7860"}
