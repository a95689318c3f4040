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
        self.text = self.struck = self._tag = ""
        self.marks: dict[str, dict[str, str]] = {}
        self._open: dict[str, str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        if tag == "mark":
            self._open = {name: value or "" for name, value in attrs}

    def handle_data(self, data: str) -> None:
        if self._tag == "sub" and self._open is not None:
            self._open["number"] = data
            self._open = None
            self._tag = ""
            return
        self.text += data
        self.struck += data if self._tag == "s" else ""
        if self._open is not None:
            self.marks[data] = self._open

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


def explained(text: str, *, read: tuple[int, int] | None = None, **weights: float) -> Explanation:
    words = tuple(Word(w, text.index(w), text.index(w) + len(w), weight) for w, weight in weights.items())
    prediction = Prediction("good", 0.9, {"good": 0.9, "bad": 0.1}, False)
    return Explanation(prediction, "good", words, len(words) + 1, 12.0, (read or (0, len(text)),))


def test_support_is_green_and_the_opposite_red_each_with_its_number_on_one_scale() -> None:
    text = "lovely but slow food"
    page = weighed.as_html(text, explained(text, lovely=0.6, but=0.001, slow=-0.1, food=0.25))
    marks = Marks(page).marks
    assert {word: mark["class"] for word, mark in marks.items()} == {"lovely": "for", "slow": "against", "food": "for"}
    depths = {word: float(re.findall(r"[\d.]+", mark["style"])[0]) for word, mark in marks.items()}
    assert depths == {"lovely": 1.0, "slow": 0.2, "food": 0.5}
    assert {word: mark["number"] for word, mark in marks.items()} == {
        "lovely": "+60.0",
        "slow": "\u221210.0",
        "food": "+25.0",
    }
    assert "against \u221250.0 points" in page
    assert "for +50.0 points" in page


def test_the_whole_text_is_there_and_none_of_it_is_markup() -> None:
    text = ' <b>not</b>\n"cheap" & <script>'
    page = weighed.as_html(text, explained(text, cheap=-0.3))
    assert Marks(page).text.startswith(text)
    assert "<b>" not in page
    assert "<script>" not in page


def test_what_is_not_read_is_struck_out_at_either_end() -> None:
    text = "first good last & more"
    page = weighed.as_html(text, explained(text, read=(6, 15), good=0.3, last=0.1))
    assert Marks(page).text.startswith(text)
    assert Marks(page).struck == "first  & more"
    said = weighed.in_words(explained(text, read=(6, 15), good=0.3), text)
    assert "3 words beyond the limit of the model, struck out" in said


@pytest.mark.parametrize("weights", [{}, {"day": 0.0}, {"day": 0.004}, {"day": -0.0004}])
def test_weights_of_nothing_are_said_to_be_nothing(weights: dict[str, float]) -> None:
    found = explained("a day", **weights)
    assert "<mark" not in weighed.as_html("a day", found)
    said = weighed.in_words(found, "a day")
    assert "No single word changes the probability of <b>good</b>" in said
    assert "Green" not in said
    assert "was left out once" in said


def test_the_words_say_what_the_colours_mean_and_what_it_took() -> None:
    said = weighed.in_words(explained("lovely <slow", lovely=0.4, slow=-0.123), "lovely <slow")
    assert "how much lower the probability of <b>good</b> is without the word" in said
    assert "\u201clovely\u201d +40.0, \u201cslow\u201d \u221212.3" in said
    assert "3 texts answered in 12 ms" in said
    assert "struck out" not in said
    assert "without the phrase" in weighed.in_words(explained("lovely", lovely=0.4), "lovely", by_phrase=True)


def test_both_texts_of_a_pair_stand_below_their_names() -> None:
    words = (Word("lovely", 0, 6, 0.3), Word("so<up", 4, 9, -0.2, 1))
    prediction = Prediction("good", 0.9, {"good": 0.9, "bad": 0.1}, False)
    found = Explanation(prediction, "good", words, 3, 12.0, ((0, 6), (4, 9)))
    pair = ("lovely people", "the so<up")
    page = weighed.as_html(pair, found, ("text", "<aspect>"))
    marks = Marks(page)
    assert marks.text.startswith("textlovely people<aspect>the so<up")
    assert marks.struck == " peoplethe "
    assert [mark["class"] for mark in marks.marks.values()] == ["for", "against"]
    said = weighed.in_words(found, pair)
    assert "Each word of both texts was left out once" in said
    assert "2 words beyond the limit" in said
