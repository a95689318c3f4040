"""`sentopt serve` with several bundles, with bundles that are replaced while it runs, and with several processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_bundles
import small_cascades
from demo_server import Reply, Server, ask, post, serving

import sentopt
from sentopt import cli
from sentopt.demo import settings
from sentopt.demo.loaded import sha256_of
from sentopt.errors import ServingError

OTHER_LABELS = ["bad", "so-so", "good"]
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")


def other_bundle(folder: Path, **facts: object) -> Path:
    """A small bundle whose labels, and thus hash, are others."""
    small_bundles.write(folder)
    return small_bundles.edit(folder, lambda known: known.update({"labels": OTHER_LABELS, "name": "other", **facts}))


def metrics(server: Server) -> dict[str, float]:
    lines = ask(server.address + "/metrics").body.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


# Several bundles


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return small_bundles.write(folder / "a=b"), small_cascades.write(folder / "cascade")


@pytest.fixture(scope="module")
def two(folders: tuple[Path, Path]) -> Iterator[Server]:
    with serving(*named("reviews", folders[0]), *named("tweets.2", folders[1]), verb="serve") as running:
        yield running


def named(name: str, folder: Path) -> tuple[str, str]:
    return "--bundle", f"{name}={folder}"


def which(reply: Reply, folders: tuple[Path, Path]) -> int:
    """The position of the bundle that answered."""
    assert reply.status == 200, reply.body
    return [sha256_of(folder)[:12] for folder in folders].index(reply.headers["Sentopt-Bundle"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"text": "great"}),
        ("/predict", {"inputs": "great"}),
        ("/predict_batch", {"texts": ["great", "the"]}),
        ("/explain", {"text": "great the"}),
        ("/classify", {"input": ["great"]}),
        ("/v1/classify", {"input": ["great"]}),
    ],
)
def test_a_request_names_the_bundle_that_answers(
    path: str, body: dict[str, Any], two: Server, folders: tuple[Path, Path]
) -> None:
    url = two.address + path
    assert which(post(url, body), folders) == which(post(url, {**body, "model": None}), folders) == 0
    assert which(post(url, {**body, "model": "reviews"}), folders) == 0
    assert which(post(url, {**body, "model": "tweets.2"}), folders) == 1
    unknown = post(url, {**body, "model": "gpt"})
    assert (unknown.status, unknown.json["detail"]) == (
        404,
        "there is no such model; this server has 'reviews', 'tweets.2'",
    )


def test_the_open_inference_protocol_names_it_in_the_path(two: Server, folders: tuple[Path, Path]) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["great"]}
    for position, name in enumerate(("reviews", "tweets.2")):
        at = f"{two.address}/v2/models/{name}"
        reply = post(f"{at}/infer", {"inputs": [tensor]})
        assert which(reply, folders) == position
        assert (reply.json["model_name"], ask(f"{at}/ready").json["name"]) == (name, name)
        sha256 = sha256_of(folders[position])
        assert reply.json["parameters"] == {"bundle_sha256": sha256}
        assert (ask(at).json["name"], ask(at).json["bundle"]["sha256"]) == (name, sha256)
    refused = post(f"{two.address}/v2/models/gpt/infer", {"inputs": [tensor]})
    assert (refused.status, "'reviews', 'tweets.2'" in refused.json["error"]) == (404, True)
    assert ask(f"{two.address}/v2/models/gpt/ready").status == 404


def test_the_bundles_are_listed(two: Server, folders: tuple[Path, Path]) -> None:
    assert ask(two.address + "/v2").json["models"] == ["reviews", "tweets.2"]
    listed = ask(two.address + "/v1/models").json
    assert (listed["object"], [one["id"] for one in listed["data"]]) == ("list", ["reviews", "tweets.2"])
    assert {one["object"] for one in listed["data"]} == {"model"}
    assert [one["bundle"]["sha256"] for one in listed["data"]] == [sha256_of(folder) for folder in folders]


def test_each_bundle_has_its_own_counts(two: Server, folders: tuple[Path, Path]) -> None:
    before, stats = metrics(two), ask(two.address + "/stats").json["models"]
    for _ in range(3):
        post(two.address + "/predict", {"text": "great", "model": "tweets.2"})
    after, now = metrics(two), ask(two.address + "/stats").json["models"]
    texts = 'sentopt_texts_total{model="%s"}'
    assert after[texts % "tweets.2"] == before[texts % "tweets.2"] + 3
    assert after[texts % "reviews"] == before[texts % "reviews"]
    assert [now[name]["texts"] - stats[name]["texts"] for name in ("reviews", "tweets.2")] == [0, 3]
    assert 'sentopt_latest_deferred_share{model="tweets.2"}' in after
    assert 'sentopt_latest_deferred_share{model="reviews"}' not in after, "it is no cascade"
    assert [now[name]["bundle"]["sha256"] for name in now] == [sha256_of(folder) for folder in folders]
    for name, folder in zip(("reviews", "tweets.2"), folders, strict=True):
        variant = json.loads((folder / "sentopt.json").read_text())["variant"]
        assert after[f'sentopt_bundle_info{{model="{name}",sha256="{sha256_of(folder)}",variant="{variant}"}}'] == 1
    assert after['sentopt_batch_texts_count{model="tweets.2"}'] > before['sentopt_batch_texts_count{model="tweets.2"}']


def test_one_bundle_needs_no_name(folders: tuple[Path, Path]) -> None:
    with serving("--bundle", str(folders[0]), verb="serve") as server:  # its folder has a "=" in its name
        assert ask(server.address + "/v2").json["models"] == ["small"]
        for path, body in (("/predict", {"inputs": "great"}), ("/v1/classify", {"input": "great"})):
            assert post(server.address + path, {**body, "model": "as they like"}).status == 200, "as other servers do"
        assert post(server.address + "/predict", {"text": "great", "model": "small"}).status == 200
        refused = post(server.address + "/predict", {"text": "great", "model": "tweets"})
        assert (refused.status, refused.json["detail"]) == (404, "there is no such model; this server has 'small'")
        found = metrics(server)
        assert found["sentopt_texts_total"] == found["sentopt_waiting_texts"] + 3
        assert [name for name in found if "model=" in name and "_bundle_info" not in name and "/" not in name] == []


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("serve", ["a={a}", "a={b}"], "--bundle a=: two bundles have this name"),
        ("serve", ["{a}", "b={b}"], "several bundles need names, such as --bundle NAME={a}"),
        ("serve", ["a b={a}"], "--bundle a b=: a name has letters"),
        ("serve", ["..={a}"], "--bundle ..=: a name has letters"),
        ("serve", ["={a}"], "--bundle =: a name has letters"),
        ("serve", [f"{'n' * 101}={{a}}"], "at most 100 of them"),
        ("serve", ["a={a}", "b={a}/onnx"], "is not a bundle: it has no sentopt.json"),
        ("serve", ["nowhere"], "nowhere is not a bundle"),
        ("demo", ["a={a}", "b={b}"], "the page shows one bundle; `sentopt serve` (page=False) serves several"),
    ],
)
def test_what_cannot_be_served_is_refused_before_the_server_listens(
    verb: str,
    options: list[str],
    said: str,
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = folders
    given = [word for option in options for word in ("--bundle", option.format(a=a, b=b))]
    with socket.create_server(("127.0.0.1", 0)) as taken:  # by which one that listens would be refused
        assert cli.main([verb, "--port", str(taken.getsockname()[1]), *given]) == 1
    assert said.format(a=a) in capsys.readouterr().err


def test_bundles_and_a_run_do_not_go_together(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", *named("a", folders[0]), "--run-dir", "exports/x"]) == 2
    assert "not both" in capsys.readouterr().err


def test_python_serves_several_bundles(folders: tuple[Path, Path]) -> None:
    demo = sentopt.serve(
        {"one": folders[0], "two": str(folders[1])}, port=0, page=False, say=lambda line: None, block=False
    )
    assert demo is not None
    assert ask(demo.address + "/v2").json["models"] == ["one", "two"]
    demo.stop()
    with pytest.raises(ServingError, match=r"^bundle= one/two=: a name has letters"):
        sentopt.serve({"one/two": folders[0]}, port=0, page=False, block=False)
    with pytest.raises(ServingError, match="there is no bundle to serve"):
        sentopt.serve({}, port=0, page=False, block=False)


# Other bundles while it runs


def by_rename(new: Path, served: Path) -> None:
    served.rename(served.with_name(f"{served.name}-{time.monotonic_ns()}"))
    new.rename(served)


def by_link(new: Path, served: Path) -> None:
    link = served.with_name("link")
    link.symlink_to(new)
    link.replace(served)


class Asking:
    """Clients that ask without a pause, and what they are answered: status, hash of the bundle, and its labels."""

    BODIES = (
        ("/predict", {"text": "great the great"}),
        ("/predict_batch", {"texts": ["great the", "terrible"] * 50}),
        ("/explain", {"text": "great the terrible " * 5}),
    )

    def __init__(self, server: Server) -> None:
        self.answers: dict[int, list[tuple[int, str | None, tuple[str, ...]]]] = {}
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(len(self.BODIES))]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        path, body = self.BODIES[number]
        told = self.answers.setdefault(number, [])
        while not self._stop.is_set():
            reply = post(self._server.address + path, body)
            first = reply.json.get("predictions", [reply.json])[0]
            told.append((reply.status, reply.headers["Sentopt-Bundle"], tuple(first.get("probabilities", ()))))

    def has_answers(self, bundle: str, count: int = 5) -> bool:
        return all(sum(one[1] == bundle for one in told) >= count for told in self.answers.values())


@needs_signals
@pytest.mark.parametrize("swap", [by_rename, by_link])
def test_a_bundle_is_replaced_under_load(swap: Callable[[Path, Path], None], tmp_path: Path) -> None:
    old = small_bundles.write(tmp_path / "old")
    served = tmp_path / "served"
    if swap is by_link:
        served.symlink_to(old)
    else:
        old.rename(served)
    new = other_bundle(tmp_path / "new")
    before, after = sha256_of(served)[:12], sha256_of(new)[:12]
    with serving("--bundle", str(served), verb="serve") as server:
        at = f"{server.address}/v2/models/small"
        with Asking(server) as asking:
            wait_until(lambda: asking.has_answers(before))
            swap(new, served)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: asking.has_answers(after))
            assert ask(at).json["bundle"]["sha256"].startswith(after), "the name stays, the bundle is another"
        for told in asking.answers.values():
            assert {one[0] for one in told} == {200}
            kinds = [one[1:] for one in told]
            switch = kinds.index((after, tuple(OTHER_LABELS)))
            assert set(kinds[:switch]) == {(before, small_bundles.LABELS)}
            assert set(kinds[switch:]) == {(after, tuple(OTHER_LABELS))}
        counts = metrics(server)
        asked = sum(len(told) * texts for told, texts in zip(asking.answers.values(), (1, 100, 1), strict=True))
        assert counts["sentopt_texts_total"] == asked, "the count does not start again"
        assert ask(server.address + "/stats").json["texts"] < asked
        assert [name for name in counts if "_bundle_info" in name and after in name]
    assert f"small: the bundle {after} answers now, in the place of {before}\n" in "".join(server.output)


def damage(folder: Path) -> None:
    (folder / small_bundles.MODEL).write_bytes(b"no model")


def answer_otherwise(folder: Path) -> None:
    small_bundles.edit(folder, lambda facts: facts["golden"][0].update(probabilities=[0.0, 0.0, 1.0]))


def be_no_bundle(folder: Path) -> None:
    (folder / "sentopt.json").unlink()


def fail_to_answer(folder: Path) -> None:
    """A graph that loads, and whose answers have another shape than there are labels."""
    small_bundles.edit(folder, lambda facts: facts.update(labels=["one", "two"]))
    small_bundles.edit(folder, lambda facts: [one.update(probabilities=[0.5, 0.5]) for one in facts["golden"]])


@needs_signals
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damage, "is damaged: - onnx/model.onnx: 8 bytes, expected"),
        (answer_otherwise, "answers the golden texts differently"),
        (be_no_bundle, "is not a bundle: it has no sentopt.json"),
        (fail_to_answer, "the model gives 3 logits for a text, and there are 2 labels"),
    ],
)
def test_a_broken_bundle_is_refused_and_the_old_one_goes_on(
    spoil: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    served, new, other = (tmp_path / name for name in ("served", "new", "other"))
    small_bundles.write(served)
    spoil(other_bundle(new))
    before = sha256_of(served)
    options = (*named("one", served), *named("two", small_bundles.write(other)))
    with serving(*options, verb="serve") as server:
        by_rename(new, served)
        by_rename(other_bundle(tmp_path / "good"), other)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: ask(f"{server.address}/v2/models/two").json["bundle"]["sha256"] == sha256_of(other))
        reply = post(server.address + "/predict", {"text": "great"})
        assert (reply.json["label"], reply.headers["Sentopt-Bundle"]) == ("positive", before[:12])
        told = post(server.address + "/reload", {})
        assert told.status == 409
        assert told.json["models"]["one"]["outcome"] == "refused"
        assert told.json["models"]["one"]["sha256"] == before
        assert told.json["models"]["two"] == {"outcome": "unchanged", "sha256": sha256_of(other)}
        assert reason in told.json["detail"]
    line = f"one: not replaced, the bundle {before[:12]} still answers: "
    refused = [one for one in "".join(server.output).splitlines() if one.startswith(line)]
    assert len(refused) == 2
    assert all(reason in one for one in refused)


def test_bundles_are_replaced_on_request_where_there_are_no_signals(tmp_path: Path) -> None:
    served = small_bundles.write(tmp_path / "served")
    before = sha256_of(served)
    with serving("--bundle", str(served), verb="serve") as server:
        by_rename(other_bundle(tmp_path / "new"), served)
        for headers in ({"X_Forwarded_For": "127.0.0.1"}, {"Via": "1.1 a"}, {"X_Real_IP": "::1"}):
            refused = post(server.address + "/reload", {}, **headers)
            assert (refused.status, "not through a proxy" in refused.json["detail"]) == (403, True)
        assert post(server.address + "/reload", {}, Origin="https://evil.example").status == 400
        assert post(server.address + "/predict", {"text": "great"}).json["label"] == "positive"
        after = sha256_of(served)
        told = post(server.address + "/reload", {}).json
        assert told == {"models": {"small": {"outcome": "replaced", "sha256": after, "before": before}}}
        assert post(server.address + "/predict", {"text": "great"}).json["label"] == "good"
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", "/reload")  # as `curl -X POST` does: without a body and its type
        assert json.loads(connection.getresponse().read())["models"]["small"]["outcome"] == "unchanged"
        connection.close()


def test_a_demo_keeps_the_bundle_of_its_page(tmp_path: Path) -> None:
    served = small_bundles.write(tmp_path / "served")
    with serving("--bundle", str(served)) as server:
        assert post(server.address + "/reload", {}).json["models"]["small"]["outcome"] == "unchanged"
        by_rename(other_bundle(tmp_path / "new"), served)
        refused = post(server.address + "/reload", {})
        assert (refused.status, "start the demo again" in refused.json["detail"]) == (409, True)
        assert post(server.address + "/predict", {"text": "great"}).json["label"] == "positive"


@needs_signals
@pytest.mark.parametrize("nohup", [False, True])
def test_a_server_ends_with_its_terminal(nohup: bool, tmp_path: Path) -> None:
    """Closing a terminal sends the same signal as a deployer; nobody could end the server afterwards."""
    import pty

    served = small_bundles.write(tmp_path / "served")
    pid, terminal = pty.fork()
    if not pid:  # the child, which the terminal controls
        # The tests themselves may run under nohup.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, "-m", "sentopt", "serve", "--port", "0", "--bundle", str(served)])
    said = b""
    while b"(Ctrl-C stops)" not in said:
        said += os.read(terminal, 1_000)
    server = said.split(b" on ")[1].split()[0].decode()
    wait_until(lambda: ask(server + "/readyz").status == 200)
    os.close(terminal)
    if nohup:
        time.sleep(1.0)
        assert ask(server + "/readyz").status == 200
        os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGTERM if nohup else 0)


# Several processes


@contextlib.contextmanager
def two_processes(folder: Path, *options: str, stop: int = signal.SIGTERM) -> Iterator[Server]:
    with serving("--bundle", str(folder), "--processes", "2", *options, verb="serve", stop=stop) as server:
        yield server


def pids(server: Server) -> dict[str, int]:
    return {number: one["pid"] for number, one in ask(server.address + "/stats").json["processes"].items()}


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc").is_dir() else True
    )


def children_of(pid: int) -> set[int]:
    """Its child processes; its only thread starts them."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@needs_signals
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_answer_and_another_one_replaces_a_killed_one(stop: int, tmp_path: Path) -> None:
    served = small_bundles.write(tmp_path / "served")
    with two_processes(served, stop=stop) as server:
        first = pids(server)
        assert len(set(first.values())) == 2
        for _ in range(40):
            assert post(server.address + "/predict", {"text": "great"}).status == 200
        assert metrics(server)["sentopt_texts_total"] == 40
        shares = [one["texts"] for one in ask(server.address + "/stats").json["processes"].values()]
        assert sum(shares) == 40
        assert min(shares) > 0, "both accept connections"
        wait_until(lambda: metrics(server)["sentopt_texts_total"] == 40)
        os.kill(first["1"], signal.SIGKILL)
        lost = 0
        for _ in range(40):
            try:
                assert post(server.address + "/predict", {"text": "great"}).status == 200
            except OSError:
                lost += 1  # what the killed process had accepted
        assert lost <= 1
        wait_until(lambda: len(pids(server)) == 2)
        second = pids(server)
        assert second["2"] == first["2"]
        assert second["1"] != first["1"]
        counts = metrics(server)
        assert counts["sentopt_texts_total"] == 80 - lost, "what the killed process answered counts on"
        assert {'sentopt_waiting_texts{process="1"}', 'sentopt_waiting_texts{process="2"}'} <= counts.keys()
    assert not any(map(is_there, second.values()))
    assert "process 1 ended with exit code -9; another one takes its place" in "".join(server.output)
    assert server.process.returncode == (-signal.SIGTERM if stop == signal.SIGTERM else 0)


@needs_signals
def test_both_processes_finish_what_they_accepted(tmp_path: Path) -> None:
    with two_processes(small_bundles.write(tmp_path / "served")) as server:
        children = list(pids(server).values())
        body = json.dumps({"text": "great"}).encode()
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        head += b"Content-Length: %d\r\n\r\n" % len(body)
        with contextlib.ExitStack() as stack:
            open_ones = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10)) for _ in range(24)
            ]
            for connection in open_ones:
                connection.sendall(head + body[:4])

            def in_progress() -> list[float]:
                counts = metrics(server)
                return [counts[f'sentopt_requests_in_progress{{process="{number}"}}'] for number in (1, 2)]

            wait_until(lambda: sum(in_progress()) == 25)  # with the one that asks
            assert min(in_progress()) >= 1, "both have some"
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert all(map(is_there, children))
            for connection in open_ones:
                connection.sendall(body[4:])
            answers = [connection.recv(12) for connection in open_ones]
        assert Counter(answers) == {b"HTTP/1.1 200": 24}
        server.process.wait(15)
        assert not any(map(is_there, children))


@needs_signals
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    with two_processes(small_bundles.write(tmp_path / "served")) as server:
        children = list(pids(server).values())
        server.process.kill()
        wait_until(lambda: not any(map(is_there, children)), 10)


@needs_signals
def test_bundles_can_be_replaced_after_a_process_has_ended(tmp_path: Path) -> None:
    served = small_bundles.write(tmp_path / "served")
    with two_processes(served) as server:
        os.kill(pids(server)["1"], signal.SIGKILL)
        time.sleep(0.15)  # it is gone, and none has taken its place
        by_rename(other_bundle(tmp_path / "new"), served)
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: len(hashes(server)) == 1 and len(pids(server)) == 2)
        by_rename(small_bundles.write(tmp_path / "third"), served)
        before = hashes(server)
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: hashes(server) != before and len(hashes(server)) == 1)


def hashes(server: Server) -> set[str]:
    """Those of the bundles that answer."""
    return {name.partition('sha256="')[2][:64] for name in metrics(server) if name.startswith("sentopt_bundle_info")}


@needs_signals
def test_processes_import_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orjson.py").write_text("raise SystemExit('a file of the user was run')")
    served = small_bundles.write(tmp_path / "served")
    monkeypatch.chdir(tmp_path)
    with two_processes(served) as server:
        assert post(server.address + "/predict", {"text": "great"}).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="it looks for child processes in /proc")
def test_all_processes_replace_their_bundles_and_a_broken_one_is_refused_by_all(tmp_path: Path) -> None:
    served = small_bundles.write(tmp_path / "served")
    with two_processes(served) as server:

        def hashes() -> set[str]:
            reports = ask(server.address + "/stats").json["processes"].values()
            return {one["bundle"]["sha256"] for one in reports}

        refused = post(server.address + "/reload", {})
        assert (refused.status, str(server.process.pid) in refused.json["detail"]) == (409, True)
        by_rename(other_bundle(tmp_path / "new"), served)
        good = sha256_of(served)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: hashes() == {good})
        bad = other_bundle(tmp_path / "bad", name="bad")
        answer_otherwise(bad)
        by_rename(bad, served)
        server.process.send_signal(signal.SIGHUP)
        time.sleep(1.5)
        seen = {killed := pids(server)["2"]}
        os.kill(killed, signal.SIGKILL)  # another one would start with what is there now

        def attempts() -> int:
            seen.update(children_of(server.process.pid))
            return len(seen)

        wait_until(lambda: attempts() >= 4)  # the killed one, the other, and two that could not serve
        for _ in range(20):
            assert post(server.address + "/predict", {"text": "great"}).json["label"] == "good"
        shutil.rmtree(served)
        last = other_bundle(served, name="last")
        wait_until(lambda: len(hashes()) == 2)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: hashes() == {sha256_of(last)})
    output = "".join(server.output)
    for number in (1, 2):
        assert f"process {number}: small: the bundle {good[:12]} answers now" in output
        assert f"process {number}: small: not replaced, the bundle {good[:12]} still answers" in output
    assert "process 2 cannot serve: this machine answers the golden texts differently" in output
    assert "process 2 answers with another bundle than those before it" in output


@needs_signals
def test_processes_that_cannot_serve_are_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = small_bundles.write(tmp_path / "served")
    damage(folder)
    assert cli.main(["serve", "--port", "0", "--bundle", str(folder), "--processes", "2"]) == 1
    error = capfd.readouterr().err
    assert error.count("is damaged:") == 1
    assert "Traceback" not in error


@needs_signals
def test_python_serves_with_several_processes(tmp_path: Path) -> None:
    said: list[str] = []
    log = tmp_path / "texts.jsonl"
    demo = sentopt.serve(
        small_bundles.write(tmp_path / "served"),
        port=0,
        page=False,
        processes=2,
        log_texts=log,
        trusted_proxies="10.0.0.0/8",
        say=said.append,
        block=False,
    )
    assert demo is not None
    assert post(demo.address + "/predict", {"text": "great"}).json["label"] == "positive"
    demo.stop()
    assert json.loads(log.read_text())["label"] == "positive"
    assert said[0].endswith("with 2 processes (Ctrl-C stops)")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"processes": 2}, "the page keeps its visitors in one process"),
        ({"processes": 0, "page": False}, "expected a number from 1 to 1,024, or auto"),
        ({"processes": "many", "page": False}, "expected a number from 1 to 1,024, or auto"),
    ],
)
def test_processes_that_cannot_be_are_refused(arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"^processes= .*" + said):
        sentopt.serve(small_bundles.write(tmp_path / "served"), port=0, block=False, **arguments)


def test_windows_has_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "sys", type("Windows", (), {"platform": "win32"}))
    with pytest.raises(ServingError, match="on Windows, processes cannot share a port"):
        sentopt.serve(small_bundles.write(tmp_path / "served"), port=0, page=False, processes=2, block=False)


def test_the_cores_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentopt.runtime import tuning
    from sentopt.runtime.description import read_description

    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    for module in (settings, tuning):
        monkeypatch.setattr(module, "available_cores", lambda: 8)
    bundle = read_description(small_bundles.write(tmp_path / "served"))

    def split(processes: int | str, *, page: bool = False) -> tuple[int, int | None]:
        return settings.Settings(processes=processes, page=page).split(bundle)

    assert [split(n) for n in (1, 2, 3, 16)] == [(1, None), (2, 4), (3, 2), (16, 1)]
    assert split("auto") == (1, None), "a bundle uses all cores unless it was tuned"
    tuning.save(bundle.files[bundle.model_file][1], bundle.engine, tuning.Tuning(threads=2, workers=3))
    assert split("auto") == (2, None)
    assert split("auto", page=True) == (1, None)


# Routes and bounds


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/nowhere", "/v1/model", "/assets/x.js"])
def test_an_unknown_route_tells_what_endpoints_there_are(path: str, two: Server) -> None:
    for reply in (ask(two.address + path), post(two.address + path, {})):
        assert reply.status == 404
        assert list(reply.json) == ["detail"]
        assert reply.json["detail"].startswith("there is nothing here; the endpoints are: POST /predict, ")
        assert "/v1/models" in reply.json["detail"]


MANY = ["the"] * 1_001


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"inputs": [[text] for text in MANY]}),
        ("/predict_batch", {"texts": MANY}),
        ("/classify", {"input": MANY}),
        ("/v1/classify", {"input": MANY}),
        (
            "/v2/models/reviews/infer",
            {"inputs": [{"name": "text", "shape": [1_001], "datatype": "BYTES", "data": MANY}]},
        ),
    ],
)
def test_too_many_texts_have_one_status_everywhere(path: str, body: dict[str, Any], two: Server) -> None:
    reply = post(two.address + path, body)
    assert (reply.status, reply.json["detail"]) == (413, "1,001 texts in one request; at most 1,000 are answered")


def test_a_text_that_is_too_long_has_the_same(two: Server) -> None:
    reply = post(two.address + "/predict", {"text": "x" * 20_001})
    assert (reply.status, "at most 20,000" in reply.json["detail"]) == (413, True)
    described = ask(two.address + "/openapi.json").json["components"]["schemas"]
    assert described["Text"]["properties"]["text"]["maxLength"] == 20_000
    assert described["Texts"]["properties"]["texts"]["maxItems"] == 1_000
