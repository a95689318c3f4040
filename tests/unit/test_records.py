from dataclasses import dataclass, field

import pytest

from sentopt import records
from sentopt.measure.scores import Scores


@dataclass(frozen=True)
class Inner:
    numbers: tuple[float, ...]
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    table: dict[str, Inner] = field(default_factory=dict)
    pair: tuple[int, int] = (1, 2)


def test_round_trip() -> None:
    record = Outer(Inner((1.0, 2.5), None), {"a": Inner((), "x")}, (3, 4))
    assert records.from_json(Outer, records.to_json(record)) == record


def test_whole_numbers_are_numbers() -> None:
    assert records.from_json(Inner, {"numbers": [1, 2]}).numbers == (1.0, 2.0)


def test_every_problem_has_its_path() -> None:
    with pytest.raises(ValueError, match=r"inner\.numbers") as caught:
        records.from_json(Outer, {"inner": {"numbers": [1, "x", True]}, "table": {"k": []}, "pair": [1]})
    message = str(caught.value)
    for part in (
        "inner.numbers[1]: expected a number",
        "inner.numbers[2]",
        "table.k: expected a table",
        "pair: expected 2 values",
    ):
        assert part in message


def test_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match="inner: missing"):
        records.from_json(Outer, {})


@dataclass(frozen=True)
class Renamed:
    mode: str = field(metadata={records.FORMERLY: "way"})


def test_records_of_earlier_versions_are_read() -> None:
    assert records.from_json(Renamed, {"way": "x"}) == records.from_json(Renamed, {"mode": "x"}) == Renamed("x")
    assert records.to_json(Renamed("x")) == {"mode": "x"}


@dataclass(frozen=True)
class Listed:
    items: tuple[Inner, ...] = field(default=(), metadata={records.ONE_OR_MANY: True})


@pytest.mark.parametrize(
    ("items", "written"),
    [
        ((), None),
        ((Inner((1.0,)),), {"numbers": [1.0], "name": None}),
        ((Inner(()), Inner(())), [{"numbers": [], "name": None}, {"numbers": [], "name": None}]),
    ],
)
def test_one_item_is_written_as_it_was_before_there_could_be_many(items: tuple[Inner, ...], written: object) -> None:
    assert records.to_json(Listed(items)) == {"items": written}
    assert records.from_json(Listed, {"items": written}) == Listed(items)
    assert records.from_json(Listed, {"items": records.to_json(list(items))}) == Listed(items)
    with pytest.raises(ValueError, match=r"items\[0\]: expected a table"):
        records.from_json(Listed, {"items": 3})


@dataclass(frozen=True)
class Grown:
    name: str
    further: Inner | None = field(default=None, metadata={records.ADDED_LATER: True})


def test_a_field_that_was_added_later_is_written_where_it_says_something() -> None:
    assert records.to_json(Grown("a")) == {"name": "a"}
    more = Grown("a", Inner((1.0,)))
    assert records.to_json(more) == {"name": "a", "further": {"numbers": [1.0], "name": None}}
    assert [records.from_json(Grown, records.to_json(one)) for one in (Grown("a"), more)] == [Grown("a"), more]


def test_scores_of_single_labels_are_written_as_by_earlier_versions() -> None:
    """They are in the fingerprints of bundles."""
    assert list(records.to_json(Scores(0.5, 0.5, 0.5, 0.5, (), ()))) == [
        "accuracy",
        "macro_precision",
        "macro_recall",
        "macro_f1",
        "per_class",
        "confusion",
    ]
