"""The tab of the test texts: who may read them, and how they are written."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")

from sentopt import cli
from sentopt.data.answered import Answered, Answers
from sentopt.demo import server
from sentopt.demo.access import Access, readers_of_test_texts
from sentopt.demo.page import answered_table
from sentopt.demo.proxies import TrustedProxies
from sentopt.demo.selection import SplitAnswers

ODD = ('<img src="x" onerror="alert(1)">', "' \" & `x`", "\u202eright to left", "=2+3", "long " * 200)


def odd_answers() -> SplitAnswers:
    """Five texts that a variant and PyTorch answer wrongly and surely, each with another odd label."""
    truth = np.arange(5)
    wrong = Answers((truth + 1) % 5, np.full(5, 0.99, dtype=np.float32))
    return SplitAnswers("<b>lean</b>", ODD, truth + 1, truth + 7, Answered(truth, wrong, wrong))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_on_loopback_this_machine_may_read_them(host: str) -> None:
    assert readers_of_test_texts(host, TrustedProxies(), (), "", "", shown=False) == "this machine"


@pytest.mark.parametrize(
    "settings",
    [
        ("0.0.0.0", TrustedProxies(), (), "", ""),
        ("192.168.1.5", TrustedProxies(), (), "", ""),
        ("a-name", TrustedProxies(), (), "", ""),
        ("127.0.0.1", TrustedProxies(["10.0.0.0/8"]), (), "", ""),
        ("127.0.0.1", TrustedProxies(), ("example.com",), "", ""),
        ("127.0.0.1", TrustedProxies(), (), "/demo", ""),
        ("127.0.0.1", TrustedProxies(), (), "", "https://huggingface.co"),
    ],
)
def test_where_others_are_expected_nobody_may_unless_the_owner_says_so(settings: Any) -> None:
    assert readers_of_test_texts(*settings, shown=False) == "nobody"
    assert readers_of_test_texts(*settings, shown=True) == "everybody"


def test_an_application_that_is_made_by_hand_shows_none() -> None:
    assert Access().test_texts == "nobody"


@pytest.mark.parametrize("option", [(), ("--show-test-texts",)])
def test_the_option_reaches_the_server(option: tuple[str, ...], bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(server, "serve", lambda folder, settings, **others: given.update(vars(settings)))
    assert cli.main(["demo", "--bundle", str(bundle), *option]) == 0
    assert given["show_test_texts"] is bool(option)


def test_nothing_in_a_text_or_a_label_is_markup() -> None:
    answers = odd_answers()
    texts = ["<script>alert(1)</script>", "</td></table>", "<details open>" * 40, "a\n\nb", "x" * 300]
    made = answered_table.rows_html(answers, np.arange(5), texts)
    tags = set(re.findall(r"</?([a-z]+)", made))
    assert tags == {
        *("div", "table", "caption", "thead", "tbody", "tr", "th", "td"),
        *("bdi", "b", "details", "summary"),
    }
    assert made.count("<details>") == 1
    assert "&lt;b&gt;lean&lt;/b&gt;" in made
    assert made.count("<tr>") == 6
    assert made.count('title="likely wrong"') == 5
    assert "\u202e" not in made, "a label cannot reorder the page"
    counts = answered_table.confusion_html(ODD, np.eye(5, dtype=int), np.ones(5, dtype=int), "<i>all</i>")
    assert set(re.findall(r"</?([a-z]+)", counts)) == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_a_long_text_is_cut_and_there_as_a_whole() -> None:
    text = "word " * 100 + "the end"
    made = answered_table.rows_html(odd_answers(), np.array([0]), [text])
    summary, whole = re.findall(r"<bdi>(.*?)</bdi>", made)
    assert summary == f"{text[:300].rstrip()} …"
    assert whole == text


def test_nothing_is_made_of_no_texts() -> None:
    none = np.array([], dtype=np.int64)
    assert answered_table.rows_html(odd_answers(), none, []) == ""


def test_the_file_has_whole_texts_and_labels_and_no_formula() -> None:
    made = answered_table.as_csv(odd_answers(), np.array([3, 4]), ["@SUM(1)", "word " * 500])
    rows = list(csv.reader(io.StringIO(made)))
    assert rows[0] == [
        *("text", "label", "answer of <b>lean</b>", "score", "pytorch", "pytorch_score", "tokens", "row", "doubtful")
    ]
    assert rows[1] == ["'@SUM(1)", "'=2+3", ODD[4], "0.9900", ODD[4], "0.9900", "10", "4", "yes"]
    assert rows[2][0] == "word " * 500


def test_of_many_labels_the_commonest_pairs_are_listed() -> None:
    counts = np.zeros((77, 77), dtype=np.int64)
    counts[3, 5], counts[70, 2] = 4, 9
    labels = [f"label {i}" for i in range(77)]
    made = answered_table.confusion_html(labels, counts, np.full(77, 40), "wrong answers")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", made)
    assert cells == ["label 70", "label 2", "9", "40", "label 3", "label 5", "4", "40"]
    assert answered_table.confusion_html(labels, counts * 0, np.full(77, 40), "wrong answers") == ""
