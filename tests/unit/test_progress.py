"""What is written while things are counted: bars for people, lines for pipes, and how much time is left."""

import io
import sys
from collections.abc import Callable, Collection
from types import SimpleNamespace

import pytest

from sentopt import progress
from sentopt.progress import Bars, Lines


class Clock:
    """A time that only this test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def counted(lines: Lines, clock: Clock, what: str, steps: list[tuple[float, int]], **options: int) -> None:
    with lines.count(what, 1_200, "texts", **options) as advance:
        for seconds, more in steps:
            clock.seconds += seconds
            advance(more)


def forecasting(seconds: dict[str, float], steady: Collection[str] = ()) -> tuple[Lines, Clock, list[str]]:
    """Lines that know a forecast, their clock, and what they say."""
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, now=clock)
    lines.expect(seconds, steady)
    return lines, clock, said


def test_lines_tell_how_far_a_count_is_and_what_time_is_left() -> None:
    said: list[str] = []
    clock = Clock()
    counted(Lines(said.append, now=clock), clock, "verify: onnx-int8", [(21.0, 420)])
    assert said == ["  verify: onnx-int8, 420 of 1,200 texts, about 40 seconds left"]


def test_lines_come_at_most_every_ten_seconds_over_all_counts() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, now=clock)
    for name in ("a", "b", "c", "d"):
        counted(lines, clock, f"verify: {name}", [(1.0, 200)] * 6)
    assert [line.split(",")[0].strip() for line in said] == ["verify: b", "verify: d"]
    assert not any("\r" in line for line in said)


def test_what_was_said_a_moment_ago_is_not_followed_by_a_count() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, now=clock)
    clock.seconds = 9.0
    lines.say("verify ...")
    counted(lines, clock, "verify: a", [(5.0, 10)])
    assert said == ["verify ..."]


def test_resumed_work_does_not_count_as_speed() -> None:
    said: list[str] = []
    clock = Clock()
    counted(Lines(said.append, now=clock), clock, "train", [(10.0, 100)], done=1_000)
    assert said == ["  train, 1,100 of 1,200 texts, about 10 seconds left"]


def test_the_time_left_in_all_adds_the_forecast_of_later_stages() -> None:
    lines, clock, said = forecasting({"train": 20.0, "export": 60.0, "verify": 240.0})
    counted(lines, clock, "train", [(10.0, 600)])
    assert said == ["  train, 600 of 1,200 texts, about 10 seconds left, about 5 minutes left in all"]


def test_a_stage_is_not_nearly_over_when_its_first_part_is() -> None:
    lines, clock, said = forecasting({"verify": 200.0})
    counted(lines, clock, "verify: a", [(15.0, 1_199)])
    assert said == ["  verify: a, 1,199 of 1,200 texts, about 1 second left, about 3 minutes left in all"]


BUSY = {"train: tokens": 50.0, "train": 100.0, "train: test split": 300.0, "verify": 600.0}


def test_a_steady_count_corrects_a_forecast_that_was_made_on_a_busy_machine() -> None:
    lines, clock, said = forecasting(BUSY, steady=["train"])
    counted(lines, clock, "train", [(10.0, 600), (10.0, 600)])  # 20 seconds, not 100: all takes a fifth
    counted(lines, clock, "train: test split", [(15.0, 300)])
    counted(lines, clock, "verify: a", [(30.0, 1_199)])
    assert said == [
        "  train, 600 of 1,200 texts, about 10 seconds left, about 3 minutes left in all",
        "  train, 1,200 of 1,200 texts, about 1 second left, about 3 minutes left in all",
        "  train: test split, 300 of 1,200 texts, about 45 seconds left, about 3 minutes left in all",
        "  verify: a, 1,199 of 1,200 texts, about 1 second left, about 2 minutes left in all",
    ]


def test_what_was_done_before_does_not_make_a_resumed_count_look_quick() -> None:
    lines, clock, said = forecasting({"train": 120.0, "verify": 600.0}, steady=["train"])
    counted(lines, clock, "train", [(20.0, 100)], done=1_000)  # 240 seconds for all, so verify takes twice as long, too
    assert said == ["  train, 1,100 of 1,200 texts, about 20 seconds left, about 20 minutes left in all"]


@pytest.mark.parametrize(
    ("forecast", "steps", "left"),
    [
        (5.0, [(10.0, 600)], "10 minutes"),  # a small count
        (100.0, [(30.0, 30)], "21 minutes"),  # few of its steps: half way from 100 seconds to its own 20 minutes
        (2_000.0, [(10.0, 600)], "70 seconds"),  # no machine is a hundred times as fast as it was
    ],
)
def test_what_may_mislead_corrects_little(forecast: float, steps: list[tuple[float, int]], left: str) -> None:
    lines, clock, said = forecasting({"train": forecast, "verify": 600.0}, steady=["train"])
    counted(lines, clock, "train", steps)
    assert said[0].endswith(f"about {left} left in all")


def test_a_slow_first_step_frightens_nobody() -> None:
    lines, clock, said = forecasting({"train": 360.0, "verify": 600.0}, steady=["train"])
    counted(lines, clock, "train", [(10.0, 1), (10.0, 33), (10.0, 40)])
    assert [line.split("about ")[1].split(" left")[0] for line in said] == ["9 minutes", "9 minutes", "8 minutes"]
    assert said[0].endswith("about 19 minutes left in all")  # 10 seconds a text would be 3.3 hours


def test_teachers_are_counted_one_after_the_other() -> None:
    lines, clock, said = forecasting({"teach: a: train": 50.0, "teach: a": 100.0, "teach: b": 200.0, "train": 300.0})
    clock.seconds += 50.0
    counted(lines, clock, "teach: a", [(50.0, 600), (50.0, 600)])
    counted(lines, clock, "teach: b", [(100.0, 600)])
    assert [line.rpartition("about ")[2] for line in said] == [
        "9 minutes left in all",
        "8 minutes left in all",
        "7 minutes left in all",
    ]


def test_another_forecast_forgets_how_wrong_the_last_one_was() -> None:
    lines, clock, said = forecasting(BUSY, steady=["train"])
    counted(lines, clock, "train", [(20.0, 1_200)])
    counted(lines, clock, "verify: a", [(100.0, 1_200)])
    lines.expect({"verify": 200.0})
    counted(lines, clock, "verify: a", [(15.0, 1_199)])
    assert said[-1] == "  verify: a, 1,199 of 1,200 texts, about 1 second left, about 3 minutes left in all"


def test_the_last_stage_has_no_time_in_all_of_its_own() -> None:
    lines, clock, said = forecasting({"bench": 15.0})
    counted(lines, clock, "bench", [(10.0, 600)])
    assert said == ["  bench, 600 of 1,200 texts, about 10 seconds left"]


def test_figures_stay_until_others_come() -> None:
    said: list[str] = []
    clock = Clock()
    with Lines(said.append, now=clock).count("train", 40, "steps") as advance:
        advance(10, "loss 0.51")
        clock.seconds += 10.0
        advance(10)
    assert said == ["  train, 20 of 40 steps, loss 0.51, about 10 seconds left"]


def test_a_pipe_gets_lines_and_a_terminal_bars() -> None:
    assert isinstance(progress.console(io.StringIO()), Lines)
    assert isinstance(progress.console(Terminal()), Bars)


def test_a_notebook_gets_bars_though_its_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert isinstance(progress.console(io.StringIO()), Bars)


def test_without_tqdm_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    assert isinstance(progress.console(Terminal()), Lines)


def test_a_bar_shows_what_is_counted_and_goes() -> None:
    stream = Terminal()
    bars = Bars(stream)
    with bars.count("verify: onnx-int8", 4, "texts") as advance:
        bars.say("note: something")
        advance(4, "loss 0.51")
    drawn = stream.getvalue()
    assert "note: something\n" in drawn
    assert "verify: onnx-int8" in drawn
    assert drawn.endswith("\r")  # nothing is left of the bar


def test_what_a_caller_may_ask_for() -> None:
    said: list[str] = []
    given: Callable[[str], None] = said.append
    progress.of(given).say("hello")
    assert said == ["hello"]
    assert progress.of(False) is progress.SILENT
    assert isinstance(progress.of(True), Lines | Bars)
    lines = Lines(given)
    assert progress.of(lines) is lines


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (7.4, "7 seconds"), (42.0, "40 seconds"), (200.0, "3 minutes"), (5600.0, "1.6 hours")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert progress.in_words(seconds) == words


def test_a_part_of_a_run_names_itself_and_forecasts_nothing() -> None:
    lines: list[str] = []
    clock = [0.0]
    whole = progress.Lines(lines.append, now=lambda: clock[0])
    whole.expect({"teach": 100.0, "train": 500.0})
    part = progress.Part("teach: mpnet", whole)
    part.expect({"train": 7.0})
    part.say("train ...")
    with part.count("train", 10, "steps") as advance:
        clock[0] = 30.0
        advance(5)
    assert lines[0] == "teach: mpnet: train ..."
    assert lines[1].startswith(
        "  teach: mpnet: train, 5 of 10 steps, about 30 seconds left, about 10 minutes left in all"
    )
