"""The page of bundles of text pairs and of multi-label bundles, in a real browser."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kinds_of_bundles
import pair_data
import pytest
from demo_browser import Visit, needs_chromium, visiting
from demo_server import Server, serving

from sentopt import Classifier, cli

pytestmark = needs_chromium
TABS = ("Try it", "Compare", "Score a list", "Benchmarks", "About", "API")
THRESHOLDS = (0.6, 0.99, 0.8)  # too high for ordinary words
SIZES = [(1280, False), (390, True)]


@pytest.fixture(scope="module")
def pair_bundle(fp32_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinds_of_bundles.of_pairs(fp32_bundle, tmp_path_factory.mktemp("page") / "pairs")


@pytest.fixture(scope="module")
def set_bundle(fp32_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinds_of_bundles.multi_label(fp32_bundle, tmp_path_factory.mktemp("page") / "sets", thresholds=THRESHOLDS)


@pytest.fixture(scope="module")
def of_pairs(pair_bundle: Path) -> Iterator[Server]:
    with serving("--bundle", str(pair_bundle)) as running:
        yield running


@pytest.fixture(scope="module")
def of_sets(set_bundle: Path) -> Iterator[Server]:
    with serving("--bundle", str(set_bundle)) as running:
        yield running


@pytest.fixture
def pairs(browser: Any, of_pairs: Server) -> Iterator[Visit]:
    with visiting(browser, of_pairs.address) as visit:
        yield visit


@pytest.fixture
def sets(browser: Any, of_sets: Server) -> Iterator[Visit]:
    with visiting(browser, of_sets.address) as visit:
        yield visit


@pytest.fixture(scope="module")
def paired_run(tmp_path_factory: pytest.TempPathFactory, tiny_options: list[str]) -> Path:
    data, root = tmp_path_factory.mktemp("aspects"), tmp_path_factory.mktemp("exports") / "aspects"
    pairs = ("--set", "data.pair_column=aspect", "--set", "train.epochs=12")
    given = ["--data", str(pair_data.write(data)), *tiny_options[2:], *pairs]
    assert cli.main(["run", *given, "--run-dir", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def of_run(paired_run: Path) -> Iterator[Server]:
    with serving("--run-dir", str(paired_run)) as running:
        yield running


@pytest.fixture
def with_run(browser: Any, of_run: Server) -> Iterator[Visit]:
    with visiting(browser, of_run.address) as visit:
        yield visit


def test_the_answer_follows_both_boxes(pairs: Visit, pair_bundle: Path) -> None:
    clf = Classifier.load(pair_bundle)
    assert "Sorts a pair of texts (text and aspect) into" in pairs.text_of("header")
    assert pairs.page.locator("#text").inner_text().startswith("text")
    assert pairs.page.locator("#pair").inner_text().startswith("aspect")
    pairs.page.fill("#text textarea", "great great day")
    pairs.page.fill("#pair textarea", "great great")
    pairs.wait_for("#label p.label", clf(("great great day", "great great")).label)
    pairs.page.fill("#pair textarea", "terrible terrible terrible")
    pairs.wait_for("#label p.label", clf(("great great day", "terrible terrible terrible")).label)
    pairs.page.fill("#text textarea", "great\n" * 100)
    said = pairs.wait_for("#note", "tokens of both texts were read")
    assert "only 48 tokens of both texts were read: text up to “" in said
    assert said.rstrip().endswith("aspect as a whole")
    assert not pairs.page.locator("#split").is_visible()
    pairs.page.fill("#text textarea", "")
    pairs.page.fill("#pair textarea", " ")
    pairs.wait_for("#note", "There is no text to answer.")


def test_an_example_fills_both_boxes(pairs: Visit) -> None:
    button = pairs.page.locator("button.example").nth(1)
    first, second = button.inner_text().split(" | ")
    button.click()
    pairs.page.wait_for_function("t => document.querySelector('#text textarea').value === t", arg=first)
    assert pairs.page.input_value("#pair textarea") == second


def test_the_words_of_both_texts_are_coloured(pairs: Visit) -> None:
    pairs.page.fill("#text textarea", "great day")
    pairs.page.fill("#pair textarea", "terrible food")
    pairs.wait_for("#note", "answered in")
    pairs.page.click("#why")
    assert "Each word of both texts was left out once: 5 texts" in pairs.wait_for("#reasons", "was left out once")
    words = pairs.page.locator("#words .weighed p.words").all_inner_texts()
    assert ["great" in words[0], "terrible" in words[1], len(words)] == [True, True, 2]
    assert pairs.page.locator("#words .weighed p.of").all_inner_texts() == ["text", "aspect"]


def test_variants_are_compared_on_a_pair(pairs: Visit) -> None:
    pairs.open("Compare")
    pairs.page.fill("#compare-text textarea", "great")
    pairs.page.fill("#compare-pair textarea", "terrible")
    pairs.page.click("#compare")
    pairs.wait_for("#agreement", "loaded without its run")
    assert "onnx-fp32" in pairs.text_of("#variants")


def test_a_table_has_a_column_for_each_text(pairs: Visit, pair_bundle: Path, tmp_path: Path) -> None:
    pairs.open("Score a list")
    assert not pairs.page.locator("#kind").is_visible()
    pairs.wait_for("#found", "with the columns text, aspect")
    pairs.page.click("#score")
    pairs.wait_for("#summary", "3 texts in")
    table = tmp_path / "mine.csv"
    table.write_text("aspect,id,text,label\nfood,1,great day,positive\n,2,,\nterrible food,3,great great,negative\n")
    pairs.page.set_input_files("#upload input", table)
    pairs.wait_for("#found", "mine.csv: 3 rows with the columns aspect, id, text, label")
    assert pairs.page.input_value("#text-column input") == "text"
    assert pairs.page.input_value("#pair-column input") == "aspect"
    assert pairs.page.input_value("#label-column input") == "label"
    pairs.page.click("#score")
    pairs.wait_for("#comparison", "Against your labels")
    assert "1 row without a text is left unanswered" in pairs.text_of("#summary")
    with pairs.page.expect_download() as started:
        pairs.page.click("#download")
    rows = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8-sig"))))
    expected = Classifier.load(pair_bundle).predict([("great day", "food"), ("great great", "terrible food")])
    assert [row["predicted_label"] for row in rows] == [expected[0].label, "", expected[1].label]


def test_quotes_in_the_examples_spoil_no_table(browser: Any, pair_bundle: Path, tmp_path: Path) -> None:
    quoted = [('"great day', 'the "food"'), ("terrible\tday", '"')]
    bundle = kinds_of_bundles.of_pairs(pair_bundle, tmp_path / "quoted", texts=quoted)
    with serving("--bundle", str(bundle)) as server:
        visit = Visit(browser, server.address)
        visit.open("Score a list")
        visit.page.click("#score")
        visit.wait_for("#summary", "2 texts in")
        assert '"great day' in visit.text_of("#scored")
        visit.context.close()


def test_one_column_is_no_table_of_pairs(pairs: Visit) -> None:
    pairs.open("Score a list")
    pairs.page.fill("#list-texts textarea", "text\ngreat day\n")
    pairs.wait_for("#refusal", "expected one for each text of a pair: 'text' and 'aspect'")


def test_labels_are_chips_and_bars_have_marks(sets: Visit, set_bundle: Path) -> None:
    clf = Classifier.load(set_bundle)
    assert "any number of the labels negative, neutral, positive, or none" in sets.text_of("header")
    assert "Macro F1 is" in sets.text_of("header")
    sets.page.fill("#text textarea", "great great day")
    answer = clf("great great day")
    assert answer.labels
    sets.wait_for("#label ul.chips", answer.labels[0])
    assert sets.page.locator("#label ul.chips li").all_inner_texts() == list(answer.labels)
    bars = sets.page.locator("#label ul.bars li").all_inner_texts()
    assert len(bars) == 3
    assert sum("\N{CHECK MARK}" in bar for bar in bars) == len(answer.labels)
    assert all("counts from" in bar for bar in bars)
    style = sets.page.locator("#label ul.bars i").first.get_attribute("style")
    assert f"--mark: {clf.thresholds[clf.labels.index(answer.label)]:.4f}" in style


def test_none_of_the_labels_is_an_answer(sets: Visit, set_bundle: Path) -> None:
    clf = Classifier.load(set_bundle)
    text = next(t for t in ("the", "a", "the day", "at nine", "b c d e f") if not clf(t).labels)
    sets.page.fill("#text textarea", text)
    sets.wait_for("#label p.label", "none of the labels")
    assert f"none of the labels; the most probable one is {clf(text).label}" in sets.text_of("#note")


def test_a_label_is_chosen_to_be_explained(sets: Visit) -> None:
    sets.page.fill("#text textarea", "great terrible day")
    sets.wait_for("#note", "answered in")
    sets.page.click("#explained input")
    sets.page.get_by_role("option", name="negative").click()
    sets.page.click("#why")
    said = sets.wait_for("#reasons", "was left out once")
    assert "the probability of negative" in said


def test_a_list_is_counted_by_label_and_compared_with_sets(sets: Visit, set_bundle: Path) -> None:
    texts = ["great great day", "terrible terrible food", "the", ""]
    answers = Classifier.load(set_bundle).predict(texts)
    own = ["; ".join(answers[0].labels), "", json.dumps(["negative", "neutral"]), "positive"]
    sets.open("Score a list")
    rows = [["text", "labels"], *map(list, zip(texts, own, strict=True))]
    sets.page.fill("#list-texts textarea", "\n".join("\t".join(row) for row in rows))
    sets.wait_for("#found", "A table: 4 rows")
    assert sets.page.input_value("#label-column input") == "labels"
    sets.page.click("#score")
    said = sets.wait_for("#comparison", "with exactly your labels")
    right = sum(not one for one in (answers[1].labels,)) + 1
    assert f"{right + (set(answers[2].labels) == {'negative', 'neutral'})} of 3 texts with exactly your labels" in said
    assert "precision" in said
    assert "answer \\" not in said
    assert "none of the labels" in sets.text_of("#summary")
    with sets.page.expect_download() as started:
        sets.page.click("#download")
    rows = list(csv.reader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8-sig"))))
    assert rows[0][2:] == ["predicted_labels", "predicted_p_negative", "predicted_p_neutral", "predicted_p_positive"]
    assert [row[2] for row in rows[1:]] == [*(json.dumps(one.labels) for one in answers[:3]), ""]


def test_examples_are_pairs_of_the_test_split_with_their_labels(with_run: Visit) -> None:
    assert with_run.text_of("#examples").strip() == "Examples from the test split:"
    labels = {(text, aspect): label for text, aspect, label in pair_data.rows(120, "test")}
    for shown in with_run.page.locator("button.example").all_inner_texts():
        label, _, pair = shown.partition(" · ")
        text, aspect = pair.split(" | ")
        assert labels[text, aspect] == label
    first = with_run.page.input_value("#text textarea"), with_run.page.input_value("#pair textarea")
    with_run.wait_for("#label p.label", labels[first])
    assert "as in the data" in with_run.text_of("#note")


def test_every_variant_answers_a_pair(with_run: Visit) -> None:
    with_run.open("Compare")
    with_run.page.fill("#compare-pair textarea", "great great 7")
    with_run.page.click("#compare")
    assert "All variants agree" in with_run.wait_for("#agreement", "gree")
    assert len(with_run.page.locator("#variants tbody tr").all()) >= 4


def test_test_pairs_are_listed_with_both_texts(with_run: Visit) -> None:
    with_run.open("Errors")
    with_run.wait_for("#errors-status", "texts")
    with_run.page.click("#errors-kind input")
    with_run.page.get_by_role("option", name="all", exact=True).click()
    with_run.wait_for("#errors-table", "label in the data")
    heads = with_run.page.locator("#errors-table th").all_inner_texts()
    assert heads[:3] == ["text", "aspect", "label in the data"]
    with with_run.page.expect_download() as started:
        with_run.page.click("#errors-download")
    rows = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8-sig"))))
    given = {(text, aspect, label) for text, aspect, label in pair_data.rows(120, "test")}
    assert {(row["text"], row["pair"], row["label"]) for row in rows} == given


def use(visit: Visit, tab: str, kind: str) -> None:
    """Make a tab show what it can show."""
    visit.open(tab)
    if tab == "Try it":
        visit.page.fill("#text textarea", "great place \U0001f600 " + "terrible and " * 30)
        if kind == "pairs":
            visit.page.fill("#pair textarea", "the food")
        visit.wait_for("#note", "tokens")
        visit.page.click("#why")
        visit.wait_for("#reasons", "was left out once")
    if tab == "Compare":
        visit.page.click("#compare")
        visit.wait_for("#agreement", "without its run")
    if tab == "Score a list":
        table = "text,labels\ngreat great day,positive\nterrible food,neutral\nthe,\n"
        if kind == "pairs":
            table = "text,aspect,label\ngreat great day,day,positive\nterrible food,food,positive\n"
        visit.page.fill("#list-texts textarea", table)
        visit.wait_for("#found", "A table: ")
        visit.page.click("#score")
        visit.wait_for("#comparison", "Against your labels")
    visit.page.wait_for_timeout(300)


@pytest.mark.parametrize(("width", "dark"), SIZES)
@pytest.mark.parametrize("kind", ["pairs", "sets"])
def test_every_tab_fits_and_is_accessible(
    browser: Any, of_pairs: Server, of_sets: Server, shots: Path, kind: str, width: int, dark: bool
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visit = Visit(browser, (of_pairs if kind == "pairs" else of_sets).address, width=width, dark=dark)
    name = f"{kind}-{'phone' if width < 500 else 'desktop'}-{'dark' if dark else 'light'}"
    found = []
    for tab in TABS:
        use(visit, tab, kind)
        assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= width
        visit.page.screenshot(path=shots / f"{name}-{tab.lower().replace(' ', '-')}.png", full_page=True)
        for violation in axe.run(visit.page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found += [f"{tab}: {violation['id']}: {node['html'][:200]}" for node in violation["nodes"]]
    assert not found, "\n".join(found)
    visit.context.close()
    assert not visit.problems
