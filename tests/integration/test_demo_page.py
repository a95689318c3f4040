"""The page in a real browser: Chromium, driven by Playwright."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from csv_files import read_csv
from demo_browser import PATIENCE, Visit, needs_chromium, visiting
from demo_server import Server, ask, serving

pytestmark = needs_chromium
TABS = ("Try it", "Compare", "Score a list", "Errors", "Benchmarks", "About", "API")
_BACKGROUND = "e => getComputedStyle(e).backgroundColor"


@pytest.fixture(scope="module")
def server(finished_run: Path) -> Iterator[Server]:
    with serving("--run-dir", str(finished_run)) as running:
        yield running


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Visit]:
    with visiting(browser, server.address) as visit:
        yield visit


def test_the_answer_follows_the_typing(visit: Visit) -> None:
    assert visit.text_of("#label p.label") in ("negative", "neutral", "positive")
    visit.page.fill("#text textarea", "")
    visit.wait_for("#note", "no text to answer")
    assert not any(label in visit.text_of("#label") for label in ("negative", "neutral", "positive"))
    visit.page.locator("#text textarea").press_sequentially("great great day", delay=20)
    visit.wait_for("#note", "answered in")
    visit.wait_for("#label p.label", "positive")
    visit.page.fill("#text textarea", "terrible " * 100)
    visit.wait_for("#note", "only the first 48 tokens were read")
    visit.wait_for("#label p.label", "negative")


def test_the_examples_are_texts_of_the_test_split_one_of_each_label(visit: Visit, reviews: Path) -> None:
    assert visit.text_of("#examples").strip() == "Examples from the test split:"
    labels = {" ".join(row["text"].split()): row["label"] for row in read_csv(reviews / "test.csv")}
    shown = [" ".join(text.split()) for text in visit.page.locator("button.example").all_inner_texts()]
    assert len(shown) == len(set(shown)) == 6
    named = [button.partition(" · ") for button in shown]
    assert all(labels[text] == label for label, _, text in named)
    assert {label for label, _, _ in named} == {"negative", "neutral", "positive"}


def test_a_visitor_finds_a_right_answer(visit: Visit, reviews: Path) -> None:
    labels = {row["text"].strip(): row["label"] for row in read_csv(reviews / "test.csv")}
    truth = labels[visit.page.input_value("#text textarea").strip()]
    assert truth in visit.text_of("#note")
    assert "as in the data" in visit.text_of("#note")
    assert "Texts of another kind or language" in visit.text_of("#scope")


def test_an_example_is_one_click_away(visit: Visit) -> None:
    example = visit.page.locator("button.example").nth(1)
    words = str(example.text_content()).strip().partition(" · ")[2]
    example.click()
    visit.wait_for("#note", "answered in")
    assert visit.page.input_value("#text textarea") == words


def test_the_reasons_are_drawn_on_the_words_with_a_number_on_each(visit: Visit) -> None:
    visit.page.fill("#text textarea", "The place was great, <b>not</b> cheap")
    visit.wait_for("#note", "answered in")
    visit.page.click("#why")
    said = visit.wait_for("#reasons", "was left out once")
    assert "Green (+) supports the answer" in said
    assert "percentage points" in said
    supporting = visit.page.locator("#words mark.for").first
    assert "great" in visit.page.locator("#words mark.for > span").all_inner_texts()
    assert all(re.fullmatch(r"[+−]\d+\.\d", n) for n in visit.page.locator("#words mark sub").all_inner_texts())
    red, green, blue = (float(x) for x in re.findall(r"[\d.]+", supporting.evaluate(_BACKGROUND))[:3])
    assert green > red, "words that support the answer are green"
    assert green > blue
    assert "−50.0 points" in visit.text_of("#words"), "the scale is the same for every text"
    drawn = visit.text_of("#words")
    assert all(word in drawn for word in ("place", "great", "cheap"))
    assert visit.page.locator("#words b").count() == 0, "the text became markup"
    visit.page.fill("#text textarea", "another text")
    visit.page.wait_for_selector("#words", state="hidden")


def test_what_is_not_read_is_struck_out_and_lines_stay(visit: Visit) -> None:
    visit.page.fill("#text textarea", "great place\n" + "fine and " * 60 + "terrible")
    visit.wait_for("#note", "only the first 48 tokens were read")
    visit.page.click("#why")
    assert "struck out, had no part in it" in visit.wait_for("#reasons", "was left out once")
    assert visit.text_of("#words s").rstrip().endswith("terrible")
    assert re.search(r"place\S*\nfine", visit.text_of("#words p.words"))


def test_phrases_are_weighed_beside_words(visit: Visit) -> None:
    visit.page.fill("#text textarea", "The place was great, not at all cheap")
    visit.wait_for("#note", "answered in")
    visit.page.locator("#unit input").nth(1).check()
    visit.page.click("#why")
    assert "without the phrase" in visit.wait_for("#reasons", "Each phrase was left out once")
    marked = visit.page.locator("#words mark > span, #words p.words > span").all_inner_texts()
    assert marked == ["The place was", "great", ",", "not at all", "cheap"]


def test_what_the_model_cannot_read_is_told(visit: Visit) -> None:
    visit.page.fill("#text textarea", "great day \U0001f600\U0001f680")
    assert "of" in visit.wait_for("#note", "unknown to the model")


def test_lines_can_be_scored_separately(visit: Visit) -> None:
    visit.page.fill("#text textarea", "great day\nterrible food\n\ngreat food\n")
    visit.wait_for("#split", "3 lines: score them separately")
    visit.page.click("#split")
    visit.page.wait_for_selector("#list-texts textarea:visible")
    assert visit.page.input_value("#list-texts textarea").splitlines()[:2] == ["great day", "terrible food"]
    visit.page.click("#score")
    assert "3 texts in" in visit.wait_for("#summary", "texts in")


def test_the_variants_stand_side_by_side(visit: Visit) -> None:
    visit.open("Compare")
    visit.page.fill("#compare-text textarea", "great great day")
    visit.page.click("#compare")
    said = visit.wait_for("#agreement", "gree")
    assert "agree" in said
    table = visit.text_of("#variants")
    for name in ("torch", "onnx-fp32", "lean-int8"):
        assert name in table
    assert table.count("positive") >= 4


def downloaded(visit: Visit) -> list[dict[str, str]]:
    with visit.page.expect_download() as download:
        visit.page.click("#download")
    content = Path(download.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(content)))


def test_pasted_lines_are_scored_and_counted(visit: Visit) -> None:
    visit.open("Score a list")
    visit.page.fill("#list-texts textarea", "great great day\n\nterrible food\n=1+1 terrible\n")
    visit.wait_for("#found", "3 lines, each a text")
    visit.page.click("#score")
    said = visit.wait_for("#summary", "3 texts in")
    assert "1 row without a text is left unanswered" in said
    assert re.search(r"negative\s+2 \(67%\)", said)
    assert "terrible food" in visit.text_of("#scored")
    rows = downloaded(visit)
    assert [row["label"] for row in rows] == ["positive", "", "negative", "negative"]
    assert rows[3]["text"] == "'=1+1 terrible"
    assert float(rows[0]["p_positive"]) == float(rows[0]["score"])


def test_a_pasted_table_is_recognised_and_read_by_column(visit: Visit) -> None:
    visit.open("Score a list")
    visit.page.fill("#list-texts textarea", "id\treview\tnotes\n-1\tgreat great day\tx\n2\tterrible food\ty\n3\t\tz")
    visit.wait_for("#found", "A table: 3 rows with the columns id, review, notes.")
    assert visit.page.input_value("#text-column input") == "review"
    assert visit.page.input_value("#label-column input") == "none"
    visit.page.click("#score")
    visit.wait_for("#summary", "2 texts in")
    rows = downloaded(visit)
    assert [row["id"] for row in rows] == ["-1", "2", "3"]
    assert [row["label"] for row in rows] == ["positive", "negative", ""]
    assert [row["notes"] for row in rows] == ["x", "y", "z"]


def test_a_file_with_labels_is_compared_with_them(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "comment;sentiment;id\ngreat great day;Positive;1\nterrible terrible food;negative;2\n"
        "great great food;negative;3\nnew;?;4\n"
    )
    visit.open("Score a list")
    visit.page.set_input_files("#upload input", path)
    said = visit.wait_for("#found", "mine.csv: 4 rows with the columns comment, sentiment, id.")
    assert "separated by semicolons" in said
    assert visit.page.is_hidden("#list-texts")
    assert visit.page.input_value("#label-column input") == "sentiment"
    visit.page.click("#score")
    visit.wait_for("#comparison", "2 of 3 texts right: accuracy (95 %) 0.6667 (")
    compared = visit.text_of("#comparison")
    assert "no label of this model were not compared: “?”" in compared
    assert "Answers that differ from your labels, the surest first: 1" in compared
    assert "great food" in compared
    assert [row["id"] for row in downloaded(visit)] == ["1", "2", "3", "4"]
    visit.page.click("#remove-file")
    visit.page.wait_for_selector("#list-texts textarea:visible")


def test_a_refusal_stays_and_takes_the_old_results_away(visit: Visit, tmp_path: Path) -> None:
    visit.open("Score a list")
    visit.page.fill("#list-texts textarea", "\n".join(["great day"] * 1_000))
    visit.wait_for("#found", "1,000 lines")
    visit.page.click("#score")
    visit.wait_for("#summary", "1,000 texts in")
    assert "The first 100 of 1,000 rows" in visit.text_of("#scored")
    visit.page.fill("#list-texts textarea", "\n".join(["great day"] * 1_001))
    visit.wait_for("#found", "1,001 lines")
    visit.page.click("#score")
    visit.wait_for("#refusal", "at most 1,000 are answered")
    assert not visit.text_of("#summary").strip()
    assert not visit.text_of("#scored").strip()
    assert visit.page.is_hidden("#download")
    assert visit.page.input_value("#csv textarea, #csv input") == ""
    visit.page.wait_for_timeout(7_000)
    assert "at most 1,000 are answered" in visit.text_of("#refusal"), "a reason that goes is not read"
    large = tmp_path / "large.csv"
    large.write_text("text\n" + "great day, all of it\n" * 60_000)
    visit.page.set_input_files("#upload input", large)
    visit.wait_for("#refusal", "large.csv is too large for this page")


def test_the_results_of_another_list_go_when_a_new_one_comes(visit: Visit) -> None:
    visit.open("Score a list")
    assert "3 lines, each a text" in visit.text_of("#found")
    visit.page.click("#score")
    visit.wait_for("#summary", "3 texts in")
    visit.page.wait_for_selector("#download:visible")
    visit.page.fill("#list-texts textarea", "text,label\ngreat day,2\n")
    visit.wait_for("#found", "A table: 1 row")
    assert not visit.text_of("#summary").strip()
    assert not visit.text_of("#scored").strip()
    assert visit.page.is_hidden("#download")


def test_a_list_that_was_not_looked_at_yet_is_scored_as_the_one_it_is(visit: Visit) -> None:
    """Not by the columns of the list before it, nor line by line: on a slow machine a click comes before the answer."""
    visit.open("Score a list")
    first = "text,label\ngreat great day,positive\nterrible terrible food,negative\n"
    with visit.unanswered_when(lambda values: first in values[:2] and len(values) == 2):
        visit.page.fill("#list-texts textarea", first)
        visit.page.click("#score")
        visit.wait_for("#comparison", "2 of 2 texts right")
        assert "3 lines" in visit.text_of("#found")
    visit.wait_for("#found", "A table: 2 rows")
    second = "label,id,text\npositive,great day,terrible terrible food\n"
    with visit.unanswered_when(lambda values: second in values[:2] and len(values) == 2):
        visit.page.fill("#list-texts textarea", second)
        visit.page.click("#score")
        visit.wait_for("#comparison", "0 of 1 text right")
    visit.wait_for("#found", "A table: 1 row")


def test_a_way_of_reading_that_was_chosen_is_kept_before_its_columns_are_found(visit: Visit) -> None:
    visit.open("Score a list")
    table = "text,label\ngreat great day,positive\n"
    visit.page.fill("#list-texts textarea", table)
    visit.wait_for("#found", "A table: 1 row")
    for kind, said in (("one text per line", "2 texts in"), ("a table", "1 text in")):
        with visit.unanswered_when(lambda values: table in values and len(values) == 3):
            visit.page.locator("#kind label", has_text=kind).click()
            visit.page.click("#score")
            visit.wait_for("#summary", said)
        visit.wait_for("#found", "2 lines" if "line" in kind else "A table: 1 row")


def test_labels_that_are_numbers_are_said_to_be_positions(visit: Visit) -> None:
    visit.open("Score a list")
    visit.page.fill("#list-texts textarea", "text,label\ngreat great day,2\nterrible terrible food,0\n")
    visit.wait_for("#found", "A table: 2 rows")
    visit.page.click("#score")
    visit.wait_for("#comparison", "2 of 2 texts right")
    assert "0 = negative, 1 = neutral, 2 = positive" in visit.text_of("#comparison")


def test_what_no_page_sends_is_no_traceback(server: Server) -> None:
    """Direct calls of the page's functions without values; the server's output is checked at its end.

    Gradio itself prints a traceback for a slider without a value.
    """
    config = ask(server.address + "/config").json
    sliders = {component["id"] for component in config["components"] if component["type"] == "slider"}
    for function in config["dependencies"]:
        named = function["api_name"] in ("predict", "predict_batch", "explain")
        if function["backend_fn"] and not named and not sliders & set(function["inputs"]):
            data = [None] * len(function["inputs"])
            body = {"data": data, "fn_index": function["id"], "session_hash": "nobody"}
            assert ask(server.address + "/gradio_api/queue/join", json.dumps(body).encode()).status < 500
    time.sleep(2)


def test_from_the_list_to_the_download_with_the_keyboard_alone(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Try it", exact=True).focus()
    for _ in range(2):
        visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#list-texts textarea:visible")
    visit.page.wait_for_timeout(500)  # a tab connects its events after it is shown
    focused = "() => document.activeElement.id || document.activeElement.closest('[id]')?.id || ''"

    def go_to(name: str) -> None:
        for _ in range(25):
            visit.page.keyboard.press("Tab")
            if visit.page.evaluate(focused) == name:
                return
        raise AssertionError(f"Tab does not reach {name}")

    for _ in range(25):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("() => document.activeElement.tagName") == "TEXTAREA":
            break
    visit.page.keyboard.press("Control+A")
    visit.page.keyboard.type("great day")
    visit.wait_for("#found", "1 line, each a text")  # else the list that stood there before may be scored
    go_to("score")
    visit.page.keyboard.press("Enter")
    visit.wait_for("#summary", "1 text in")
    visit.page.keyboard.press("Shift+Tab")
    visit.page.wait_for_selector("#download:visible")
    go_to("download")
    with visit.page.expect_download() as download:
        visit.page.keyboard.press("Enter")
    assert "great day" in Path(download.value.path()).read_text(encoding="utf-8-sig")


def test_on_a_phone_the_answer_is_seen_without_scrolling(browser: Any, server: Server) -> None:
    visit = Visit(browser, server.address, width=390)
    box = visit.page.locator("#note").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 844
    visit.context.close()


def test_the_evidence_is_shown(visit: Visit) -> None:
    visit.open("Benchmarks")
    for words in ("How the verdicts were made", "lean-int8", "mean ms", "lost / gained", "Measured on"):
        visit.page.get_by_text(words).first.wait_for()
    assert visit.page.locator(".evidence img:visible").count() >= 3
    loaded = "() => [...document.querySelectorAll('.evidence img')].every(i => i.complete && i.naturalWidth > 100)"
    assert visit.page.evaluate(loaded)
    visit.open("About")
    visit.page.get_by_text("Intended use and limits").wait_for()
    visit.page.get_by_text("SHA-256").first.wait_for()
    visit.open("API")
    visit.page.get_by_text("POST /predict_batch").wait_for()


def test_everything_can_be_reached_with_the_keyboard(visit: Visit) -> None:
    visit.page.locator("#text textarea").focus()
    visit.page.keyboard.press("Control+A")
    visit.page.keyboard.type("great great day")
    visit.wait_for("#note", "answered in")
    for _ in range(12):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("() => document.activeElement.id") == "why":
            break
    assert visit.page.evaluate("() => document.activeElement.id") == "why"
    visit.page.keyboard.press("Enter")
    visit.wait_for("#reasons", "was left out once")
    visit.page.get_by_role("tab", name="Try it", exact=True).focus()
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("() => document.activeElement.innerText") == "Compare"
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#compare")


def use(visit: Visit, tab: str) -> None:
    """Make a tab show what it can show."""
    visit.open(tab)
    if tab == "Try it":
        visit.page.fill("#text textarea", "great place \U0001f600 " + "fine and " * 60)
        visit.wait_for("#note", "only the first 48 tokens were read")
        visit.page.click("#why")
        visit.wait_for("#reasons", "was left out once")
    if tab == "Compare":
        visit.page.click("#compare")
        visit.wait_for("#agreement", "gree")
    if tab == "Score a list":
        visit.page.fill(
            "#list-texts textarea", "text,label\ngreat great day,positive\nterrible terrible food,positive\n"
        )
        visit.wait_for("#found", "A table: 2 rows")
        visit.page.click("#score")
        visit.wait_for("#comparison", "1 of 2 texts right")
    visit.page.wait_for_timeout(300)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_every_tab_fits_is_painted_and_is_accessible(
    browser: Any, server: Server, shots: Path, width: int, dark: bool
) -> None:
    """WCAG 2.2 AA as far as axe-core can tell: no serious or critical violation in any tab."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visit = Visit(browser, server.address, width=width, dark=dark)
    name = f"{'phone' if width < 500 else 'desktop'}-{'dark' if dark else 'light'}"
    found = []
    for tab in TABS:
        use(visit, tab)
        assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= width
        visit.page.screenshot(path=shots / f"{name}-{tab.lower().replace(' ', '-')}.png", full_page=True)
        for violation in axe.run(visit.page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found += [f"{tab}: {violation['id']}: {node['html'][:200]}" for node in violation["nodes"]]
    assert not found, "\n".join(found)
    background = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 240) is dark, background
    visit.context.close()
    assert not visit.problems
    assert not visit.elsewhere


@pytest.mark.parametrize("element", ["#note", "#summary", "#found", "#reasons", "#agreement"])
def test_answers_are_announced(visit: Visit, element: str) -> None:
    """By an element that was there before its content changed."""
    visit.open({"#agreement": "Compare", "#summary": "Score a list", "#found": "Score a list"}.get(element, "Try it"))
    before = visit.page.wait_for_selector(f"{element} [role=status]", state="attached")
    said = before.inner_text()
    use(visit, {"#agreement": "Compare", "#summary": "Score a list", "#found": "Score a list"}.get(element, "Try it"))
    assert before.evaluate("e => e.isConnected")
    assert before.inner_text().strip() not in ("", said.strip())


@pytest.fixture
def emptiest_page() -> Iterator[str]:
    """The address of a page of Gradio's that holds one empty field."""
    script = (
        "import gradio as gr\n"
        "with gr.Blocks(analytics_enabled=False) as page: gr.Textbox(elem_id='label')\n"
        "print(page.launch(server_name='127.0.0.1', prevent_thread_lock=True, quiet=True)[1], flush=True)\n"
        "input()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()


def test_the_first_screen_comes_little_later_than_that_of_an_empty_page(
    browser: Any, server: Server, emptiest_page: str
) -> None:
    """By the best of four each, with the browser's cache as a visitor has it the second time.

    On a quiet machine it is there within a second; busy and slow ones differ too much for a limit in seconds.
    """
    seconds: dict[str, list[float]] = {server.address: [], emptiest_page: []}
    context = browser.new_context()
    for _ in range(4):
        for address, taken in seconds.items():
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            started = time.perf_counter()
            page.goto(address)
            page.wait_for_selector("#label")
            taken.append(time.perf_counter() - started)
            page.close()
    context.close()
    print("first screen after", {address: [round(s, 2) for s in taken] for address, taken in seconds.items()}, "s")
    ours, emptiest = map(min, seconds.values())
    assert ours < 5 * emptiest, "twice the 2.4 that was measured"


def test_a_page_that_is_left_open_does_not_keep_the_server(browser: Any, finished_run: Path) -> None:
    with serving("--run-dir", str(finished_run)) as server:
        visit = Visit(browser, server.address)
        visit.wait_for("#note", "%")
        started = time.perf_counter()
        assert ask(server.address + "/readyz").status == 200
    assert time.perf_counter() - started < 10
    visit.context.close()
