"""What a person is told while a run goes on: lines, and how far the things that are counted have come.

A stage calls `say` and `count`; where it goes is decided by whoever starts the run. `of(True)` draws bars in a terminal
or a notebook and writes plain lines into a pipe.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, TextIO, TypeAlias

SECONDS_BETWEEN_LINES = 10.0
_LEAST_SECONDS = 2.0  # of work, before a rate is worth telling
_TELLING = 10.0  # forecast seconds of a count that tells how slow the machine is
_FIRST = 0.05  # of a count: its rate there says little, for the first steps of a training take longest
_MOST_SLOWNESS = 10.0


class Advance(Protocol):
    """Called with the number of things that were done since the last call, and with figures to show beside them."""

    def __call__(self, more: int, figures: str = "") -> None:
        """`figures` such as "loss 0.31" are shown until others come."""


class Progress(Protocol):
    """Where a run reports to. `advance` may be called from several threads."""

    def say(self, line: str) -> None:
        """One line worth telling."""

    def count(
        self, what: str, total: int, unit: str = "", *, done: int = 0
    ) -> contextlib.AbstractContextManager[Advance]:
        """Count up to `total`.

        Args:
            what: the stage, and what of it, such as "verify: lean-int8". The stage ends at the colon.
            total: how many there are.
            unit: what is counted, in the plural: "texts", "steps".
            done: how many are done already, for work that is resumed.

        Returns:
            A context that gives the function to call whenever more are done.
        """

    def expect(self, seconds: Mapping[str, float], steady: Collection[str] = ()) -> None:
        """What is still to come is forecast to take so many seconds: for the time left in all.

        Args:
            seconds: by stage, or by what is counted of a stage ("train: test split"), in the order in which it comes.
            steady: counts of these names go at one rate, and on them it shows how far off the whole forecast is.
        """


class Outlook:
    """How much time is left: of what is being counted by its own rate, of what follows by its forecast.

    A forecast that was measured while the machine was busy is wrong in all its parts, so it is corrected by a count
    that goes at a steady rate: if its steps take twice as long as they were to, so will what follows. Ten times at
    most, and only where a twentieth of no small count is done: a few steps, and texts of another kind, mislead. Until
    then the count's own time left leans on its forecast.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._expected: dict[str, float] = {}
        self._steady: frozenset[str] = frozenset()
        self._slowness = 1.0  # seconds in those of the forecast
        self._started: dict[str, float] = {}
        self._ends: dict[str, float] = {}  # of stages, as the rate of what is counted has it

    def expect(self, seconds: Mapping[str, float], steady: Collection[str] = ()) -> None:
        """The forecast; see `Progress.expect`."""
        self._expected, self._steady = dict(seconds), frozenset(steady)
        self._slowness = 1.0
        self._started.clear()
        self._ends.clear()

    def begin(self, what: str) -> None:
        """This is counted from now on."""
        self._started.setdefault(stage_of(what), self._now())

    def steady(self, what: str) -> float | None:
        """Seconds that a steady count was forecast to take; None for others, and for those too short to tell."""
        seconds = self._expected[what] if what in self._steady else 0.0
        return seconds if seconds >= _TELLING else None

    def in_all(self, what: str, left: float, whole: float) -> float | None:
        """Seconds until the run ends; None without a forecast.

        Args:
            what: is counted now.
            left: seconds of the count.
            whole: seconds of it from its beginning to its end, all at the rate so far.
        """
        stage, names = stage_of(what), [*self._expected]
        of_stage = [name for name in names if stage_of(name) == stage]
        if not of_stage:
            return None
        now = self._now()
        forecast = self.steady(what)
        if forecast is not None and left <= (1 - _FIRST) * whole:
            self._slowness = min(_MOST_SLOWNESS, max(1 / _MOST_SLOWNESS, whole / forecast))
        if what in self._expected:
            self._ends[stage] = now + left + self._forecast(of_stage[of_stage.index(what) + 1 :])
        end = self._ends.get(stage, self._started.get(stage, now) + self._forecast(of_stage))
        return max(left, end - now) + self._forecast(names[names.index(of_stage[-1]) + 1 :])

    def _forecast(self, names: Sequence[str]) -> float:
        """Seconds of all of these, as corrected so far."""
        return self._slowness * sum(self._expected[name] for name in names)


def stage_of(what: str) -> str:
    """The stage that a count belongs to."""
    return what.partition(":")[0]


class Count:
    """How far one count has come. Times are those of `now`, in seconds."""

    def __init__(
        self, what: str, total: int, unit: str, done: int, outlook: Outlook, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.figures = ""
        self._outlook, self._now = outlook, now
        self._first, self._start = done, now()
        outlook.begin(what)

    def add(self, more: int, figures: str) -> None:
        """`more` are done."""
        self.done = min(self.total, self.done + more)
        self.figures = figures or self.figures

    @property
    def left(self) -> float | None:
        """Seconds left at the rate so far; None while that says nothing."""
        pace = self._pace
        return None if pace is None else pace * (self.total - self.done)

    @property
    def _pace(self) -> float | None:
        """Seconds for each thing, by those that were done and at first by the forecast; None while they say nothing."""
        elapsed, done = self._now() - self._start, self.done - self._first
        if done <= 0 or elapsed < _LEAST_SECONDS:
            return None
        pace, forecast = elapsed / done, self._outlook.steady(self.what)
        if forecast is None:
            return pace
        telling = min(1.0, done / (_FIRST * self.total))
        return telling * pace + (1 - telling) * forecast / self.total

    def in_all(self) -> str:
        """The time until the run ends, in words; empty where it is not known or no other than that of this stage."""
        left, pace = self.left, self._pace
        if left is None or pace is None:
            return ""
        everything = self._outlook.in_all(self.what, left, pace * self.total)
        if everything is None or in_words(everything) == in_words(left):
            return ""
        return f"about {in_words(everything)} left in all"

    def __str__(self) -> str:
        left = self.left
        parts = [
            f"{self.what}, {self.done:,} of {self.total:,}{f' {self.unit}' if self.unit else ''}",
            self.figures,
            "" if left is None else f"about {in_words(left)} left",
            self.in_all(),
        ]
        return ", ".join(part for part in parts if part)


class Lines:
    """Progress as lines that go to `write`: what is said, and at most every ten seconds how far a count has come."""

    def __init__(
        self,
        write: Callable[[str], None] = lambda line: None,
        *,
        now: Callable[[], float] = time.monotonic,
        outlook: Outlook | None = None,
    ) -> None:
        self.write = write
        self._now = now
        self._outlook = outlook or Outlook(now)
        self._last = now()
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Write the line."""
        self._last = self._now()
        self.write(line)

    @contextlib.contextmanager
    def count(self, what: str, total: int, unit: str = "", *, done: int = 0) -> Iterator[Advance]:
        """Write lines such as "verify: onnx-int8, 420 of 1,200 texts, about 40 seconds left"."""
        count = Count(what, total, unit, done, self._outlook, self._now)

        def advance(more: int, figures: str = "") -> None:
            with self._lock:
                count.add(more, figures)
                if self._now() - self._last >= SECONDS_BETWEEN_LINES:
                    self.say(f"  {count}")

        yield advance

    def expect(self, seconds: Mapping[str, float], steady: Collection[str] = ()) -> None:
        """For the time left in all."""
        self._outlook.expect(seconds, steady)


class Bars:
    """Progress as bars of tqdm, drawn on `stream` or as widgets in a notebook; lines are written above them."""

    def __init__(self, stream: TextIO, outlook: Outlook | None = None) -> None:
        self._stream = stream
        self._outlook = outlook or Outlook()
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Write the line above the bar."""
        from tqdm.auto import tqdm

        tqdm.write(line, file=self._stream)

    @contextlib.contextmanager
    def count(self, what: str, total: int, unit: str = "", *, done: int = 0) -> Iterator[Advance]:
        """Draw a bar that goes when the context ends."""
        from tqdm.auto import tqdm

        count = Count(what, total, unit, done, self._outlook)
        bar: Any = tqdm(
            total=total, initial=done, desc=what, unit=f" {unit}" if unit else "it", file=self._stream, leave=False
        )

        def advance(more: int, figures: str = "") -> None:
            with self._lock:
                count.add(more, figures)
                if shown := ", ".join(part for part in (count.figures, count.in_all()) if part):
                    bar.set_postfix_str(shown, refresh=False)
                bar.update(more)

        try:
            yield advance
        finally:
            bar.close()

    def expect(self, seconds: Mapping[str, float], steady: Collection[str] = ()) -> None:
        """For the time left in all."""
        self._outlook.expect(seconds, steady)


class Part:
    """The progress of a run that is a part of another one: `name` stands before each line and each count.

    Times left in all are those of the whole, so what the part forecasts is not told.
    """

    def __init__(self, name: str, whole: Progress) -> None:
        self.name, self._whole = name, whole

    def say(self, line: str) -> None:
        """The line, with the name before it."""
        self._whole.say(f"{self.name}: {line}")

    def count(
        self, what: str, total: int, unit: str = "", *, done: int = 0
    ) -> contextlib.AbstractContextManager[Advance]:
        """As part of the stage `name` of the whole."""
        return self._whole.count(f"{self.name}: {what}", total, unit, done=done)

    def expect(self, seconds: Mapping[str, float], steady: Collection[str] = ()) -> None:
        """Nothing."""


SILENT: Progress = Lines()
_OF_THIS_PROCESS = Outlook()  # a training and what follows it are two calls: the forecast is for both
Choice: TypeAlias = "bool | Callable[[str], None] | Progress | None"


def console(stream: TextIO | None = None) -> Progress:
    """Bars where a person looks at `stream` (by default stderr) or at a notebook, else lines. Bars need tqdm."""
    stream = stream or sys.stderr
    is_seen = stream.isatty() or _in_notebook()
    if is_seen and importlib.util.find_spec("tqdm") is not None:
        return Bars(stream, _OF_THIS_PROCESS)
    return Lines(lambda line: print(line, file=stream, flush=True), outlook=_OF_THIS_PROCESS)


def of(choice: Choice) -> Progress:
    """The progress that a caller asks for.

    Args:
        choice: True for bars or lines on stderr, False for nothing, or a function that receives each line.
    """
    if choice is None or isinstance(choice, int):
        return console() if choice else SILENT
    if callable(choice):
        return Lines(choice)
    return choice


def in_words(seconds: float) -> str:
    """A duration as a person says it: 40 seconds, 6 minutes, 1.5 hours."""
    if seconds < 90:
        rounded = max(1, round(seconds)) if seconds < 10 else 5 * round(seconds / 5)
        return f"{rounded} second{'s' if rounded != 1 else ''}"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
