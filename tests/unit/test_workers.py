"""What is made once for each process."""

import os
import threading
import weakref

import pytest

from sentopt.runtime.workers import PerProcess, Started, thread_pool

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # Python 3.12 on fork, rightly


class Made:
    """Something that must not be released in a process that did not make it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        weakref.finalize(self, lambda pid=self.pid: os._exit(7) if pid != os.getpid() else None).atexit = False


def in_child(check: object) -> int:
    child = os.fork()
    if child == 0:
        threading.Timer(20, os._exit, (9,)).start()
        os._exit(0 if check() else 1)  # type: ignore[operator]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_it_is_made_once() -> None:
    made: list[int] = []
    one = PerProcess(lambda: made.append(1) or object())
    barrier, found = threading.Barrier(8), []

    def get() -> None:
        barrier.wait()
        found.append(one.get())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert len(set(map(id, found))) == 1


def test_a_child_makes_its_own_and_leaves_that_of_its_parent_alone() -> None:
    one = PerProcess(Made, Made())

    def check() -> bool:
        return one.get() is one.get() and one.get().pid == os.getpid()

    assert in_child(check) == 0
    assert one.get().pid == os.getpid()


def test_a_child_that_asks_for_nothing_leaves_that_of_its_parent_alone() -> None:
    one = PerProcess(Made, Made())

    def check() -> bool:
        vars(one).clear()  # as at the end of the interpreter
        return True

    assert in_child(check) == 0
    assert one.get().pid == os.getpid()


def test_a_child_does_not_wait_for_a_thread_that_was_making_it() -> None:
    entered, leave = threading.Event(), threading.Event()

    def make() -> object:
        if threading.current_thread().name == "maker":
            entered.set()
            leave.wait()
        return object()

    one = PerProcess(make)
    maker = threading.Thread(target=one.get, name="maker")
    maker.start()
    entered.wait()
    try:
        assert in_child(lambda: one.get() is not None) == 0
    finally:
        leave.set()
        maker.join()


def test_threads_of_a_child_share_what_one_of_them_makes() -> None:
    made: list[int] = []
    one = PerProcess(lambda: made.append(1) or object())
    one.get()

    def check() -> bool:
        barrier, found = threading.Barrier(8), []

        def get() -> None:
            barrier.wait()
            found.append(one.get())

        threads = [threading.Thread(target=get) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return made == [1, 1] and len(set(map(id, found))) == 1

    assert in_child(check) == 0


def test_threads_of_a_pool_do_all_items() -> None:
    done: list[int] = []
    Started(thread_pool(2).get(), 2, done.append, range(5)).finish()
    assert sorted(done) == list(range(5))


def test_errors_of_threads_are_raised_and_the_rest_is_left() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise RuntimeError("out of luck")
        done.append(item)

    with pytest.raises(RuntimeError, match="out of luck"):
        Started(thread_pool(1).get(), 1, work, range(100)).finish()
    assert done == [0, 1, 2]


@pytest.mark.parametrize("pool", ["none", "shut down"])
def test_without_a_thread_the_caller_does_all(pool: str) -> None:
    threads = None
    if pool == "shut down":  # as at the end of the interpreter
        threads = thread_pool(2).get()
        threads.shutdown()
    done: list[str] = []
    started = Started(threads, 2, lambda item: done.append(threading.current_thread().name), range(5))
    assert done == []
    started.finish()
    assert done == [threading.current_thread().name] * 5


def test_one_thread_of_two_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the operating system, or the end of the interpreter between the two."""
    pool, done = thread_pool(2).get(), []
    start, starts = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        starts.append(thread)
        if len(starts) > 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    Started(pool, 2, done.append, range(50)).finish()
    assert sorted(done) == list(range(50))
