"""How the page colours the words of an explanation, and what it says of them."""

import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("gradio")

from sentopt.demo.explanation import Explanation, Word
from sentopt.demo.page import weighed
from sentopt.runtime.classifier import Prediction


class Marks(HTMLParser):
    """The text of a piece of HTML, and its coloured parts with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.marks: dict[str, dict[str, str]] = {}
        self._open: dict[str, str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = {name: value or "" for name, value in attrs} if tag == "mark" else None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open is not None:
            self.marks[data] = self._open
        self._open = None


def explained(text: str, **weights: float) -> Explanation:
    words = tuple(Word(w, text.index(w), text.index(w) + len(w), weight) for w, weight in weights.items())
    return Explanation(Prediction("good", 0.9, {"good": 0.9, "bad": 0.1}, False), words, len(words) + 1, 12.0)


def test_support_is_green_and_the_opposite_red_by_their_strength() -> None:
    text = "lovely but slow food"
    found = explained(text, lovely=0.4, but=0.001, slow=-0.1, food=0.2)
    page = weighed.as_html(text, found)
    marks = Marks(page).marks
    assert {word: mark["class"] for word, mark in marks.items()} == {"lovely": "for", "slow": "against", "food": "for"}
    depths = {word: float(re.findall(r"[\d.]+", mark["style"])[0]) for word, mark in marks.items()}
    assert depths == {"lovely": 1.0, "slow": 0.25, "food": 0.5}
    assert marks["slow"]["title"] == "\u221210.0"
    assert "against \u221240.0" in page
    assert "for +40.0 points" in page


def test_the_whole_text_is_there_and_none_of_it_is_markup() -> None:
    text = ' <b>not</b>\n"cheap" & <script>'
    page = weighed.as_html(text, explained(text, cheap=-0.3))
    assert Marks(page).text.startswith(text)
    assert "<b>" not in page
    assert "<script>" not in page


@pytest.mark.parametrize("weights", [{}, {"day": 0.0}, {"day": 0.004}])
def test_weights_of_nothing_are_said_to_be_nothing(weights: dict[str, float]) -> None:
    page = weighed.as_html("a day", explained("a day", **weights))
    assert "No single word changes the answer" in page
    assert "<mark" not in page


def test_the_words_say_what_the_colours_mean_and_what_it_took() -> None:
    said = weighed.in_words(explained("lovely slow", lovely=0.4, slow=-0.123), "`good`")
    assert said.startswith("**Green** words support `good`")
    assert "**Red** (underlined) words speak against it" in said
    assert "`` lovely `` +40.0, `` slow `` \u221212.3" in said
    assert "3 texts in 12 ms" in said


@pytest.mark.parametrize(("text", "weights"), [("", {}), ("a day", {"day": -0.0004})])
def test_colours_are_not_explained_where_there_are_none(text: str, weights: dict[str, float]) -> None:
    said = weighed.in_words(explained(text, **weights), "`good`")
    assert said.startswith("The answer does not depend on any single word.")
    assert "Green" not in said
    assert "was left out once" in said
