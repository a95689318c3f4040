"""The page through its real server and client."""

import gc
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("default")  # gradio and starlette deprecate each other's calls


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """The client leaves sockets to the garbage collector: collect them here, where that is no error."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def address(finished_run: Path) -> Iterator[str]:
    """`sentopt demo` as its own process, stopped as a person stops it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sentopt", "demo", "--run-dir", str(finished_run), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_until_open(port, process)
        yield f"http://127.0.0.1:{port}/"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert "Traceback" not in output


def wait_until_open(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def client(address: str):  # type: ignore[no-untyped-def]
    from gradio_client import Client

    client = Client(address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_a_text_is_classified(client) -> None:  # type: ignore[no-untyped-def]
    label, note = client.predict("great great day", api_name="/predict")
    assert label["label"] == "positive"
    assert {c["label"] for c in label["confidences"]} == {"negative", "neutral", "positive"}
    assert "ms on this machine" in note


def test_blank_and_cut_texts_are_said_to_be(client) -> None:  # type: ignore[no-untyped-def]
    assert "empty" in client.predict("  ", api_name="/predict")[1]
    assert "only the first 48 tokens" in client.predict("terrible " * 100, api_name="/predict")[1]


def test_too_long_texts_are_refused(client) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Exception, match=r"(?i)at most 5000|error"):
        client.predict("x" * 5001, api_name="/predict")


def test_page_shows_the_comparison_and_sends_nothing_home(address: str) -> None:
    with urllib.request.urlopen(address + "config") as response:
        config = json.load(response)
    text = json.dumps(config)
    assert "How it was chosen" in text
    assert "lean-int8" in text
    assert config["analytics_enabled"] is False


def test_server_listens_on_loopback_only(address: str) -> None:
    host = socket.gethostbyname(socket.gethostname())
    if host.startswith("127."):
        pytest.skip("this machine has no other address")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(address.rsplit(":", 1)[1].strip("/")))) != 0


@pytest.mark.parametrize(
    "path", ["gradio_api/file=/etc/passwd", "file=/etc/passwd", "gradio_api/file=../../etc/passwd"]
)
def test_files_of_the_machine_are_not_served(address: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(address + path)
    assert caught.value.code in (403, 404)
    caught.value.close()


def test_the_space_uses_a_bundle_beside_it(finished_run: Path, tmp_path: Path) -> None:
    import importlib.util
    import shutil

    shutil.copy(Path(__file__).parents[2] / "demo" / "app.py", tmp_path)
    shutil.copytree(finished_run / "bundle", tmp_path / "bundle")
    spec = importlib.util.spec_from_file_location("space", tmp_path / "app.py")
    assert spec
    assert spec.loader
    space = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(space)
    assert space.bundle() == tmp_path / "bundle"
    assert "How it was verified" in json.dumps(space.build_page(space.bundle()).get_config_file())
