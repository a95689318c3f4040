"""How a text is cut into words, and what leaving each of them out weighs."""

import itertools
import random

import pytest

from sentopt.demo.explanation import Span, Word, parts, phrases, spans_of, weigh, without_each
from sentopt.runtime.classifier import Prediction

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # three people, joined
THUMB = "\U0001f44d\U0001f3fd"  # with a skin tone
ALPHABET = (
    "abéZ9_'’-.,!? \t\n\u3000\u200d\ufe0f\u0301ßЖאا\u0928\u093f\u0e01のカー本語가\U00020000\x00\x85\u2028"
    + FAMILY
    + THUMB
)


def cut(text: str, most: int = 1_000) -> list[str]:
    return [text[start:end] for start, end in parts(text, most)]


def random_texts(seed: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(ALPHABET, k=chance.randrange(60))) for _ in range(200)]


def answer(label: str, **probabilities: float) -> Prediction:
    return Prediction(label, probabilities[label], probabilities, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It opens at nine.", ["It", "opens", "at", "nine", "."]),
        ("Don't, won’t!", ["Don't", ",", "won’t", "!"]),
        ("a well-made mother-in-law's chair", ["a", "well-made", "mother-in-law's", "chair"]),
        ("'quoted' - and rock-", ["'", "quoted", "'", "-", "and", "rock", "-"]),
        ("snake_case 3.5 café", ["snake_case", "3", ".", "5", "café"]),
        ("wait... what?!", ["wait", "...", "what", "?!"]),
        ("замечательно!", ["замечательно", "!"]),
        (f"us {FAMILY} {THUMB}\u2764\ufe0f yes", ["us", FAMILY, f"{THUMB}\u2764\ufe0f", "yes"]),
        ("很好。", ["很", "好", "。"]),
        ("東京タワーは", list("東京タワーは")),
        ("정말 좋아요", ["정말", "좋아요"]),
        (f"iPhone很好{FAMILY}ok", ["iPhone", "很", "好", FAMILY, "ok"]),
    ],
)
def test_words_are_what_readers_take_for_words(text: str, words: list[str]) -> None:
    assert cut(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AI-技术", ["AI", "-", "技", "术"]),
        ("it's'很好", ["it's", "'", "很", "好"]),
    ],
)
def test_han_after_a_hyphen_or_an_apostrophe_is_cut_like_any(text: str, words: list[str]) -> None:
    assert cut(text) == words


@pytest.mark.parametrize(
    "word",
    ["cafe\u0301", "ह\u093fन\u094dद\u0940", "ש\u05c1\u05b8לו\u05b9ם"],
    ids=["accent of its own", "Devanagari", "Hebrew points"],
)
def test_marks_stay_with_their_letters(word: str) -> None:
    assert cut(f"so {word} yes") == ["so", word, "yes"]


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_without_words_there_is_nothing_to_leave_out(text: str) -> None:
    assert parts(text, 5) == []
    assert without_each([text], []) == []
    assert weigh([text], [], [answer("good", good=1.0)]) == ()


def test_words_of_any_text_cover_it_once_and_in_order() -> None:
    for text in random_texts(seed=1):
        spans = parts(text, len(text) + 1)
        inside = [i for start, end in spans for i in range(start, end)]
        assert inside == sorted(set(inside))
        assert "".join(text[i] for i in inside) == "".join(text.split())
        assert all(start < end for start, end in spans)


@pytest.mark.parametrize("most", [1, 2, 7, 20])
def test_groups_cover_every_word_once_in_order_and_evenly(most: int) -> None:
    for text in random_texts(seed=most):
        words, groups = parts(text, len(text) + 1), parts(text, most)
        members = [[word for word in words if start <= word[0] and word[1] <= end] for start, end in groups]
        assert [word for group in members for word in group] == words
        assert len(groups) == min(most, len(words))
        assert [(group[0][0], group[-1][1]) for group in members] == groups
        assert not groups or max(map(len, members)) - min(map(len, members)) <= 1


def test_weighed_words_are_found_where_they_are_said_to_be() -> None:
    for text in random_texts(seed=2):
        spans = spans_of([text], 7)
        weighed = weigh([text], spans, [answer("good", good=0.5)] * (len(spans) + 1))
        assert [Span(word.start, word.end) for word in weighed] == spans
        assert all(text[word.start : word.end] == word.text for word in weighed)


def test_leaving_a_part_out_leaves_everything_else() -> None:
    for text in random_texts(seed=3):
        spans = spans_of([text], 9)
        for span, left in zip(spans, without_each([text], spans), strict=True):
            assert isinstance(left, str)
            assert left.split() == (text[: span.start] + " " + text[span.end :]).split()
            assert left == left.strip()


def test_each_text_lacks_one_word() -> None:
    text = "Cold soup, nobody cared"
    assert without_each([text], spans_of([text], 10)) == [
        "soup, nobody cared",
        "Cold , nobody cared",
        "Cold soup nobody cared",
        "Cold soup, cared",
        "Cold soup, nobody",
    ]
    assert without_each(["alone"], [Span(0, 5)]) == [""]


def test_of_a_pair_one_text_lacks_a_word_and_the_other_stays() -> None:
    pair = ("cold soup", "the soup")
    spans = spans_of(pair, 10)
    assert [(pair[span.of][span.start : span.end], span.of) for span in spans] == [
        *(("cold", 0), ("soup", 0), ("the", 1), ("soup", 1))
    ]
    assert without_each(pair, spans) == [
        ("soup", "the soup"),
        ("cold", "the soup"),
        ("cold soup", "soup"),
        ("cold soup", "the"),
    ]


@pytest.mark.parametrize(("first", "second", "parts"), [(300, 100, [15, 5]), (500, 1, [19, 1]), (0, 90, [0, 20])])
def test_both_texts_share_the_parts_by_their_words(first: int, second: int, parts: list[int]) -> None:
    spans = spans_of(("a " * first, "b " * second), 20)
    assert [sum(span.of == i for span in spans) for i in (0, 1)] == parts


def test_any_label_can_be_weighed() -> None:
    whole, without = answer("good", good=0.75, bad=0.25), answer("bad", good=0.125, bad=0.875)
    assert weigh(["not"], [Span(0, 3)], [whole, without], label="bad")[0].weight == -0.625


def test_weights_are_what_the_label_of_the_whole_text_loses() -> None:
    text = "not bad"
    whole = answer("good", good=0.75, bad=0.25)
    without_not, without_bad = answer("bad", good=0.125, bad=0.875), answer("good", good=1.0, bad=0.0)
    found = weigh([text], spans_of([text], 10), [whole, without_not, without_bad])
    assert found == (Word("not", 0, 3, 0.625), Word("bad", 4, 7, -0.25))


def test_every_part_needs_an_answer() -> None:
    with pytest.raises(ValueError, match="shorter"):
        weigh(["not bad"], [Span(0, 3), Span(4, 7)], [answer("good", good=1.0)] * 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("not at all bad, really", ["not at all", "bad", ",", "really"]),
        ("one two three four", ["one two three", "four"]),
        ("Stop! Go.", ["Stop", "!", "Go", "."]),
        ("", []),
    ],
)
def test_phrases_are_up_to_three_words_between_punctuation(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in phrases(text, 100)] == found


def test_phrases_of_any_text_cover_it_once_and_in_order_in_at_most_so_many_groups() -> None:
    for text in random_texts(seed=8):
        for most in (1, 3, 1_000):
            spans = phrases(text, most)
            assert len(spans) <= most
            assert all(a < b <= c < d for (a, b), (c, d) in itertools.pairwise(spans))
        inside = {i for start, end in phrases(text, 1_000) for i in range(start, end)}
        assert {i for start, end in parts(text, 1_000) for i in range(start, end)} <= inside
