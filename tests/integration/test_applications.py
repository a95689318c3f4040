"""What applications do with a classifier: event loops, forked processes, bundles in memory, copies."""

import asyncio
import contextlib
import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sentopt import Classifier
from sentopt.errors import BundleError, BundleIntegrityError, InputError
from sentopt.runtime.tuning import Tuning

pytestmark = pytest.mark.versions

MANY = [f"{word} number {i}" for i in range(40) for word in ("great", "terrible", "the")]
TWO_WORKERS = Tuning(threads=2, workers=2, max_batch=8, max_tokens=512)


def files_of(bundle: Path) -> dict[str, bytes]:
    return {p.relative_to(bundle).as_posix(): p.read_bytes() for p in bundle.rglob("*") if p.is_file()}


def test_the_event_loop_goes_on_while_texts_are_answered(int8_bundle: Path) -> None:
    classifier = Classifier.load(int8_bundle, tuning=TWO_WORKERS)
    expected = classifier.predict(MANY)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def ask() -> None:
        ticking = asyncio.create_task(tick())
        answers = await asyncio.gather(*(classifier.apredict(MANY * 20) for _ in range(3)))
        ticking.cancel()
        for found in answers:
            assert [p.label for p in found] == [p.label for p in expected] * 20

    asyncio.run(ask())
    assert ticks > 10


def test_errors_reach_who_awaits(fp32_bundle: Path) -> None:
    classifier = Classifier.load(fp32_bundle)
    with pytest.raises(InputError, match="found one text"):
        asyncio.run(classifier.apredict("one text"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_refused_with_advice(fp32_bundle: Path, protocol: int) -> None:
    with pytest.raises(InputError, match="path of the bundle"):
        pickle.dumps(Classifier.load(fp32_bundle), protocol)


def test_copying_is_refused(fp32_bundle: Path) -> None:
    classifier = Classifier.load(fp32_bundle)
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(InputError, match="cannot be pickled or copied"):
            copied(classifier)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_bundle_in_memory(int8_bundle: Path, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    here = Classifier.load(int8_bundle, engine=engine, tuning=TWO_WORKERS)
    there = Classifier.load(files_of(int8_bundle), engine=engine, tuning=TWO_WORKERS, check=True)
    assert np.array_equal(here.predict_proba(MANY), there.predict_proba(MANY))


def test_a_damaged_bundle_in_memory_is_refused(fp32_bundle: Path) -> None:
    files = files_of(fp32_bundle)
    damaged = {**files, "tokenizer.json": files["tokenizer.json"].replace(b"great", b"grate")}
    with pytest.raises(BundleIntegrityError, match=r"in memory is damaged:\n  - tokenizer.json: content differs"):
        Classifier.load(damaged)
    del files["config.json"]
    with pytest.raises(BundleIntegrityError, match=r"config\.json: missing"):
        Classifier.load(files)
    with pytest.raises(BundleError, match=r"in memory is not a bundle: it has no sentopt\.json"):
        Classifier.load({})


FORKED = """
import os, sys, signal, warnings
from sentopt import Classifier
from sentopt.runtime.tuning import Tuning
warnings.simplefilter("ignore")
engine, parent_asks = sys.argv[2], sys.argv[3] == "used"
clf = Classifier.load(sys.argv[1], engine=engine, tuning=Tuning(threads=2, workers=2, max_batch=8, max_tokens=512))
texts = [f"great {i}" for i in range(40)]
if parent_asks:
    before = clf.predict(texts)
child = os.fork()
if child == 0:
    signal.alarm(60)
    many, one = clf.predict(texts), clf("terrible")
    print(len(many), many[0].label, one.label, flush=True)
    sys.exit(0)
status = os.waitpid(child, 0)[1]
assert status == 0, status
assert clf("terrible").label == "negative"
if parent_asks:
    assert clf.predict(texts) == before
"""


def run_script(code: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180, check=False)


@pytest.mark.parametrize("parallelism", ["", "true", "false"])
@pytest.mark.parametrize("parent", ["used", "unused"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_forked_process_answers_and_ends(fp32_bundle: Path, engine: str, parent: str, parallelism: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    done = run_script(FORKED, fp32_bundle, engine, parent, TOKENIZERS_PARALLELISM=parallelism)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["40", "positive", "negative"]
    assert "tokenizers" not in done.stderr  # it warns of its own threads


IDLE = """
import os, signal, sys
from sentopt import Classifier
clf = Classifier.load(sys.argv[1], engine=sys.argv[2])
clf("great")
clf.predict(["great"] * 40)
for ask in (lambda: None, lambda: clf("great"), lambda: clf.predict(["great"] * 40)):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        ask()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_forked_process_ends_whatever_it_was_asked(fp32_bundle: Path, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    done = run_script(IDLE, fp32_bundle, engine)
    assert done.returncode == 0, done.stderr


SERVER = """
import os, signal, socket, sys
from sentopt import Classifier
before = dict(os.environ)
clf = Classifier.load(sys.argv[1])
clf.predict(["to warm up"] * 64)
listening = socket.create_server(("127.0.0.1", 0))
for _ in range(2):
    if os.fork() == 0:
        signal.alarm(60)
        for _ in range(2):
            connection, _ = listening.accept()
            text = connection.recv(1000).decode()
            labels = {answer.label for answer in clf.predict([text] * 40)}
            connection.sendall(f"{os.getpid()} {' '.join(labels)}".encode())
            connection.close()
        sys.exit(0)
answers = []
for text in ("great great", "terrible terrible") * 2:
    with socket.create_connection(listening.getsockname(), timeout=60) as connection:
        connection.sendall(text.encode())
        answers.append(connection.recv(1000).decode().split()[1:])
assert [os.wait()[1], os.wait()[1]] == [0, 0]
assert dict(os.environ) == before
print(answers)
"""


def test_workers_of_a_server_that_loads_before_it_forks_answer(fp32_bundle: Path) -> None:
    """As `gunicorn --preload` does it."""
    done = run_script(SERVER, fp32_bundle, TOKENIZERS_PARALLELISM="true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([["positive"], ["negative"]] * 2)


AT_THE_END = """
import asyncio, atexit, sys, threading, time
from sentopt import Classifier
from sentopt.runtime.tuning import Tuning
when, used = sys.argv[2], sys.argv[3] == "used"
clf = Classifier.load(sys.argv[1], tuning=Tuning(threads=2, workers=2, max_batch=8, max_tokens=512))
texts = ["great great " * (1 + i % 5) for i in range(1500)]
if used:
    clf.predict(texts[:40])
def answer():
    if when != "atexit":
        threading.main_thread().join()
        time.sleep(0.2)
    if when == "event loop":
        answers = asyncio.run(clf.apredict(texts))
    elif when == "stream":
        answers = list(clf.stream(iter(texts)))
    else:
        answers = clf.predict(texts)
    print(len(answers), {a.label for a in answers}, flush=True)
if when == "atexit":
    atexit.register(answer)
else:
    threading.Thread(target=answer).start()
"""


@pytest.mark.parametrize("classifier", ["used", "unused"])
@pytest.mark.parametrize("when", ["thread", "stream", "event loop", "atexit"])
def test_texts_are_answered_while_the_interpreter_ends(int8_bundle: Path, when: str, classifier: str) -> None:
    done = run_script(AT_THE_END, int8_bundle, when, classifier)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1500 {'positive'}\n"


DAEMONS = """
import sys, threading, time
from sentopt import Classifier
from sentopt.runtime.tuning import Tuning
clf = Classifier.load(sys.argv[1], tuning=Tuning(threads=1, workers=int(sys.argv[2])))
texts = ["great " * 40] * 8
answered = threading.Semaphore(0)
def answer():
    while True:
        clf(texts[0])
        clf.predict(texts)
        answered.release()
for _ in range(6):
    threading.Thread(target=answer, daemon=True).start()
for _ in range(6):
    answered.acquire()
print("the end", flush=True)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_daemon_threads_do_not_crash_the_end_of_the_interpreter(fp32_bundle: Path, workers: int) -> None:
    for _ in range(4):
        done = run_script(DAEMONS, fp32_bundle, workers)
        assert (done.returncode, done.stdout) == (0, "the end\n"), done.stderr
        assert "Fatal" not in done.stderr
        assert "terminate called" not in done.stderr


def as_a_filter(bundle: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sentopt", "predict", "--bundle", str(bundle), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_filter_answers_each_line_before_the_next_one_comes(fp32_bundle: Path, options: tuple[str, ...]) -> None:
    with as_a_filter(fp32_bundle, *options) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text, label in ((b"great great", b"positive"), (b"terrible terrible", b"negative")) * 2:
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            assert label in process.stdout.readline()  # a filter that waits for more would wait for ever
        process.stdin.close()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_filter_answers_the_lines_before_a_wrong_byte(fp32_bundle: Path, options: tuple[str, ...]) -> None:
    with as_a_filter(fp32_bundle, *options) as process:
        out, err = process.communicate(b"great great\nterrible\ncaf\xe9\ngreat\n", timeout=120)
        assert process.returncode == 1
        assert len(out.splitlines()) == 2
        assert err.startswith(b"sentopt: standard input, line 3: byte 0xe9 is not UTF-8")
        assert len(err.splitlines()) == 1


def test_a_filter_ends_quietly_when_nobody_reads_on(fp32_bundle: Path) -> None:
    with as_a_filter(fp32_bundle) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"great\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            for _ in range(2000):
                process.stdin.write(b"great " * 20 + b"\n")
                process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):  # what is still in the buffer
            process.stdin.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("asked_for", [False, True])
def test_nothing_reports_home_unless_asked_for(fp32_bundle: Path, tmp_path: Path, asked_for: bool) -> None:
    """onnxruntime's usage reports begin with an identity kept below the home folder; it keeps quiet where CI is set."""
    code = "import sys\nfrom sentopt import Classifier\nClassifier.load(sys.argv[1])('great')"
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    if asked_for:
        environment["ORT_DISABLE_TELEMETRY"] = "0"
    command = [sys.executable, "-c", code, str(fp32_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert any(path.name == "deviceid" for path in tmp_path.rglob("*")) == asked_for
