"""Which test texts the page lists, how they are counted, and what it says of them."""

import itertools

import numpy as np
import pytest

from sentopt.data.answered import Answered, Answers
from sentopt.demo import selection
from sentopt.demo.selection import KINDS, Filters, SplitAnswers

LABELS = ("bad", "so so", "good")


def answers(texts: int = 240, variant: str = "lean-int8") -> SplitAnswers:
    """Random answers that are mostly right."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, texts)

    def model() -> Answers:
        labels = np.where(random.random(texts) < 0.7, truth, random.integers(0, 3, texts))
        return Answers(labels, (0.34 + 0.66 * random.random(texts) ** 0.2).astype(np.float32))

    tokens = random.integers(3, 40, texts)
    return SplitAnswers(variant, LABELS, np.arange(texts) + 1, tokens, Answered(truth, model(), model()))


def test_the_kinds_are_those_of_the_answers() -> None:
    given, own = answers(), answers().answered
    listed = {kind: set(selection.select(given, Filters(kind)).tolist()) for _, kind in KINDS}
    assert listed["all"] == set(range(240))
    assert listed["wrong"] == set(np.flatnonzero(~own.right).tolist())
    for kind in ("lost", "gained", "doubtful"):
        assert listed[kind] == set(np.flatnonzero(getattr(own, kind)).tolist())
        assert listed[kind], "the example has some of each"
    assert listed["lost"] | listed["doubtful"] <= listed["wrong"]
    assert not listed["gained"] & listed["wrong"]


@pytest.mark.parametrize("kind", [kind for _, kind in KINDS])
@pytest.mark.parametrize(
    "others", [{}, {"tokens": (10, 20)}, {"least_score": 0.9}, {"tokens": (3, 9), "least_score": 0.8}]
)
def test_a_cell_counts_what_is_listed_where_it_is_chosen(kind: selection.Kind, others: dict) -> None:
    given = answers()
    counts, of = selection.confusion(given, Filters(kind, truth=0, answer=2, **others))
    for truth, answer in itertools.product(range(3), range(3)):
        listed = selection.select(given, Filters(kind, truth, answer, **others))
        assert counts[truth, answer] == len(listed)
    assert counts.sum() == len(selection.select(given, Filters(kind, **others)))
    everything = Filters("all", **others)
    assert of.tolist() == [len(selection.select(given, Filters("all", truth, **others))) for truth in range(3)]
    assert of.sum() == len(selection.select(given, everything))


def test_the_limits_of_length_and_score_are_within() -> None:
    given = answers()
    listed = selection.select(given, Filters("all", tokens=(10, 12)))
    assert set(given.tokens[listed].tolist()) == {10, 11, 12}
    edge = float(np.float32(given.answered.own.scores[7]))
    assert 7 in selection.select(given, Filters("all", least_score=edge)).tolist()
    assert selection.select(given, Filters("all", least_score=1.0)).tolist() == []


def test_the_surest_stand_first_or_last() -> None:
    given = answers()
    scores = given.answered.own.scores[selection.select(given, Filters("all"))]
    assert (np.diff(scores) <= 0).all()
    assert (np.diff(given.answered.own.scores[selection.select(given, Filters("all", surest_first=False))]) >= 0).all()


def test_pages_hold_every_text_once() -> None:
    listed = selection.select(answers(), Filters("all"))
    pages = [selection.page(listed, number) for number in range(10)]
    assert [len(page.texts) for page in pages] == [25] * 9 + [15]
    assert np.array_equal(np.concatenate([page.texts for page in pages]), listed)
    assert [page.is_first for page in pages] == [True] + [False] * 9
    assert [page.is_last for page in pages] == [False] * 9 + [True]


@pytest.mark.parametrize(("total", "number", "expected"), [(0, 0, 0), (0, 3, 0), (25, 1, 0), (26, 9, 1), (26, -1, 0)])
def test_there_is_always_a_page(total: int, number: int, expected: int) -> None:
    page = selection.page(np.arange(total), number)
    assert page.number == expected
    assert page.total == total
    assert len(page.texts) == min(25, total - 25 * expected)


def said(filters: Filters, variant: str = "lean-int8", number: int = 0) -> str:
    given = answers(variant=variant)
    return selection.in_words(given, filters, selection.page(selection.select(given, filters), number))


def test_a_sentence_says_what_is_listed() -> None:
    wrong = len(selection.select(answers(), Filters()))
    assert said(Filters()).startswith(
        f"{wrong} of 240 texts: wrong answers of lean-int8. Rows 1 to 25, the surest first."
    )
    narrow = Filters("all", truth=0, answer=1, tokens=(3, 30), least_score=0.4, surest_first=False)
    assert (
        "all answers of lean-int8, with the label bad in the data, the answer so so, 3 to 30 tokens and a score of at "
        "least 0.40. Rows 1 to" in said(narrow)
    )
    assert "the least sure first" in said(narrow)
    assert "Rows 226 to 240" in said(Filters("all"), number=9)
    assert "all answers of PyTorch." in said(Filters("all"), "torch")
    assert "PyTorch answers correctly and lean-int8 does not" in said(Filters("lost"))


def test_an_empty_list_says_so_and_what_to_do() -> None:
    assert said(Filters(least_score=1.0)) == (
        "There are none among 240 texts: wrong answers of lean-int8, with a score of at least 1.00. "
        "Choose any label, answer and length, and a lower score."
    )
    reference = answers(variant="torch")
    same = SplitAnswers(
        "torch",
        LABELS,
        reference.rows,
        reference.tokens,
        Answered(reference.answered.truth, reference.answered.reference, reference.answered.reference),
    )
    for kind in ("lost", "gained"):
        nothing = selection.page(selection.select(same, Filters(kind)), 0)
        assert "PyTorch is what the variants are compared with" in selection.in_words(same, Filters(kind), nothing)


def test_labels_are_cut_in_the_sentence() -> None:
    assert selection.short_label("x" * 200) == "x" * 59 + "…"
    assert selection.short_label("a\u202eb") == "a�b"


def test_sets_of_labels_are_restricted_by_each_of_them() -> None:
    truth, own = np.array([0b000, 0b011, 0b100, 0b001]), np.array([0b000, 0b011, 0b101, 0b010])
    scores = np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32)
    both = Answered(truth, Answers(own, scores), Answers(truth, scores))
    given = SplitAnswers("lean-int8", LABELS, np.arange(4) + 1, np.full(4, 5), both, sets=True)
    assert [given.name(int(code)) for code in truth] == ["none of the labels", "bad, so so", "good", "bad"]

    def listed(**filters: int) -> list[int]:
        return sorted(selection.select(given, Filters("all", **filters)).tolist())

    assert listed(truth=0) == [1, 3]
    assert listed(answer=0) == [1, 2]
    assert listed(truth=0, answer=1) == [1, 3]
    assert sorted(selection.select(given, Filters("wrong")).tolist()) == [2, 3]
