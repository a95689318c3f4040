"""The tab of the test texts in a real browser, and who may read them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mistaken_runs
import pytest
from demo_browser import Visit, needs_chromium, visiting
from demo_server import Server, ask, post, serving

STATUS = "#errors-status [role=status]"
SECRET = "the very end"  # of a text that no example shows


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = shutil.copytree(finished_run, tmp_path_factory.mktemp("mistaken") / "tiny")
    mistaken_runs.make(copied)
    return copied


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with serving("--run-dir", str(run)) as running:
        yield running


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Visit]:
    with visiting(browser, server.address) as visit:
        visit.open("Errors")
        visit.wait_for(STATUS, "texts: wrong answers of")
        yield visit


def choose(visit: Visit, field: str, value: str) -> None:
    """Choose in a dropdown as a person at a keyboard does."""
    visit.page.locator(f"#errors-{field} input").click()
    visit.page.locator(f"#errors-{field}").get_by_role("option", name=value, exact=True).click()


def shown_rows(visit: Visit) -> list[list[str]]:
    rows = visit.page.locator("#errors-table tbody tr").all()
    return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows]


def total(visit: Visit) -> int:
    """The number that the sentence begins with."""
    said = visit.text_of(STATUS).split()[0].replace(",", "")
    return 0 if said == "None" else int(said)


@needs_chromium
def test_wrong_answers_are_listed_the_surest_first(visit: Visit, run: Path) -> None:
    shipped = json.loads((run / "bundle" / "sentopt.json").read_text())["variant"]
    with (run / "variants" / shipped / "mistakes.csv").open(newline="", encoding="utf-8") as stream:
        expected = list(csv.DictReader(stream))
    assert visit.text_of(STATUS).startswith(f"{len(expected)} of 120 texts: wrong answers of {shipped}.")
    rows = shown_rows(visit)
    assert [row[7] for row in rows] == [row["row"] for row in expected]
    assert [row[2] for row in rows] == [row["answer"] for row in expected]
    assert [row[3] for row in rows] == [row["score"] for row in expected]
    assert [row[1].endswith("?") for row in rows] == [row["doubtful"] == "yes" for row in expected]


@needs_chromium
def test_nothing_of_a_text_is_markup(visit: Visit) -> None:
    texts = [row[0] for row in shown_rows(visit)]
    assert mistaken_runs.MARKUP in texts
    assert mistaken_runs.FORMULA in texts
    assert "sentopt" in visit.page.title()
    assert visit.page.locator("#errors-table img, #errors-table i, #errors-table script").count() == 0
    long = visit.page.locator("#errors-table details")
    assert SECRET not in long.inner_text()
    long.locator("summary").click()
    assert SECRET in long.inner_text()


@needs_chromium
def test_a_cell_of_the_confusions_has_what_is_listed(visit: Visit) -> None:
    cells = visit.page.locator("#errors-confusion tbody tr").first.locator("td").all_inner_texts()
    column = next(i for i, count in enumerate(cells) if int(count))
    labels = visit.page.locator("#errors-confusion thead th").all_inner_texts()[1:]
    before = total(visit)
    choose(visit, "truth", labels[0])
    visit.wait_for(STATUS, f"the label {labels[0]} in the data")
    choose(visit, "answer", labels[column])
    visit.wait_for(STATUS, f"the answer {labels[column]}")
    assert total(visit) == len(shown_rows(visit)) == int(cells[column]) < before
    assert visit.page.locator("#errors-confusion tbody tr").first.locator("td").all_inner_texts() == cells
    assert all(row[1].startswith(labels[0]) and row[2] == labels[column] for row in shown_rows(visit))


@needs_chromium
def test_every_variant_and_kind_can_be_chosen(visit: Visit) -> None:
    shipped = visit.page.locator("#errors-variant input").input_value()
    choose(visit, "kind", "lost against PyTorch")
    visit.wait_for(STATUS, "PyTorch answers correctly")
    assert total(visit) == len(mistaken_runs.LOST)
    choose(visit, "kind", "gained against PyTorch")
    visit.wait_for(STATUS, f"{shipped} answers correctly")
    assert total(visit) == len(mistaken_runs.GAINED)
    choose(visit, "kind", "likely wrong labels")
    visit.wait_for(STATUS, "likely wrong labels")
    assert all(row[1].endswith("?") and float(row[3]) >= 0.95 for row in shown_rows(visit))
    choose(visit, "variant", "PyTorch")
    choose(visit, "kind", "gained against PyTorch")
    assert "There are none among 120 texts" in visit.wait_for(STATUS, "choose a variant")
    assert visit.page.locator("#errors-table table").count() == 0
    assert visit.page.locator("#errors-download").is_disabled()


@needs_chromium
def test_pages_order_length_and_score(visit: Visit) -> None:
    choose(visit, "kind", "all")
    visit.wait_for(STATUS, "Rows 1 to 25")
    assert total(visit) == 120
    first = shown_rows(visit)
    assert visit.page.locator("#errors-previous").is_disabled()
    for start in (26, 51, 76, 101):
        visit.page.click("#errors-next")
        visit.wait_for(STATUS, f"Rows {start} to")
    assert visit.page.locator("#errors-next").is_disabled()
    assert len(shown_rows(visit)) == 20
    visit.page.click("#errors-previous")
    visit.wait_for(STATUS, "Rows 76 to 100")
    choose(visit, "order", "least sure first")
    visit.wait_for(STATUS, "Rows 1 to 25, the least sure first")
    scores = [float(row[3]) for row in shown_rows(visit)]
    assert scores == sorted(scores)
    assert scores[0] < min(float(row[3]) for row in first)
    visit.page.locator("#errors-band input").click()
    band = visit.page.locator("#errors-band").get_by_role("option").nth(2)
    least, most = (int(number) for number in band.inner_text().strip("✓ \n").split(" to "))
    band.click()
    visit.wait_for(STATUS, f"{least} to {most} tokens")
    assert all(least <= int(row[6]) <= most for row in shown_rows(visit))
    visit.page.locator("#errors-least input[type=number]").fill("0.9")
    visit.page.locator("#errors-least input[type=number]").press("Tab")
    visit.wait_for(STATUS, "a score of at least 0.90")
    assert all(float(row[3]) >= 0.9 for row in shown_rows(visit))


@needs_chromium
def test_the_download_has_all_that_is_listed(visit: Visit) -> None:
    choose(visit, "kind", "all")
    visit.wait_for(STATUS, "all answers")
    with visit.page.expect_download() as download:
        visit.page.click("#errors-download")
    assert download.value.suggested_filename == "test-texts.csv"
    content = Path(download.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(content)))
    assert len({row["row"] for row in rows}) == 120
    texts = {row["row"]: row["text"] for row in rows}
    assert texts["8"] == "'" + mistaken_runs.FORMULA
    assert texts["15"] == mistaken_runs.LONG


@needs_chromium
def test_it_can_be_read_without_seeing_and_used_without_a_mouse(visit: Visit) -> None:
    status = visit.page.locator(STATUS)
    assert "wrong answers" in status.inner_text()
    visit.page.evaluate("() => window.before = document.querySelector('#errors-status [role=status]')")
    for region in visit.page.locator("#errors-table [role=region], #errors-confusion [role=region]").all():
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("aria-label")
    for label in ("Variant", "What to show", "Order", "Label in the data", "Answer", "Tokens"):
        assert visit.page.get_by_label(label, exact=True).first.is_visible(), label
    visit.page.locator("#errors-kind input").focus()
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("Enter")
    visit.wait_for(STATUS, "PyTorch answers correctly")
    same = "() => window.before === document.querySelector('#errors-status [role=status]')"
    assert visit.page.evaluate(same), "a new element is not announced"


@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_the_tab_fits(browser: Any, server: Server, shots: Path, width: int, dark: bool) -> None:
    visit = Visit(browser, server.address, width=width, dark=dark)
    if width < 500:  # the tabs move into a menu once the page has been measured
        visit.page.locator(".overflow-menu > button").first.wait_for()
    visit.open("Errors")
    visit.wait_for(STATUS, "wrong answers")
    visit.page.wait_for_timeout(300)
    assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= width
    name = f"{'phone' if width < 500 else 'desktop'}-{'dark' if dark else 'light'}-errors.png"
    visit.page.screenshot(path=shots / name, full_page=True)
    visit.context.close()
    assert not visit.problems


@needs_chromium
def test_missing_files_are_named(browser: Any, run: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(run, tmp_path / "tiny")
    (damaged / "reference.npy").unlink()
    with serving("--run-dir", str(damaged)) as server:
        visit = Visit(browser, server.address)
        visit.open("Errors")
        said = visit.wait_for(STATUS, "reference.npy")
        assert "start the demo again" in said
        assert str(tmp_path) not in said
        assert visit.page.locator("#errors-table table").count() == 0
        visit.context.close()
        assert not visit.problems


@needs_chromium
def test_a_bundle_without_its_run_says_what_is_missing(browser: Any, run: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(run / "bundle", tmp_path / "alone")
    with serving("--bundle", str(alone)) as server:
        visit = Visit(browser, server.address)
        visit.open("Errors")
        assert "--run-dir" in visit.wait_for("#errors-missing", "without its run")
        visit.context.close()
        assert not visit.problems


def answer_of(server: Server, number: int, data: list[Any], **headers: str) -> str:
    """What Gradio's queue gives for a function that is called by its number."""
    session = f"session{number}"
    join = {"data": data, "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}
    joined = post(server.address + "/gradio_api/queue/join", join, **headers)
    if joined.status != 200:
        return joined.body.decode()
    return ask(f"{server.address}/gradio_api/queue/data?session_hash={session}").body.decode()


def told(server: Server, **headers: str) -> str:
    """All that a visitor can get: the page, and what each function says to the values that the page begins with.

    The endpoints that have names answer the texts that they are given, and no others.
    """
    config = ask(server.address + "/config")
    replies = [config.body.decode(), ask(server.address + "/gradio_api/info").body.decode()]
    values = {component["id"]: component["props"].get("value") for component in config.json["components"]}
    for function in config.json["dependencies"]:
        if function["backend_fn"] and function["api_name"] not in ("predict", "predict_batch", "explain"):
            data = [values[component] for component in function["inputs"]]
            replies.append(answer_of(server, function["id"], data, **headers))
    return "\n".join(replies)


def test_on_this_machine_the_texts_are_answered_and_not_at_the_start(server: Server) -> None:
    assert SECRET not in ask(server.address + "/config").body.decode()
    assert SECRET in told(server)


@pytest.mark.parametrize("header", ["X_Forwarded_For", "X_Real_IP", "Via", "CF_Connecting_IP"])
def test_what_a_proxy_forwards_is_refused_though_none_was_named(server: Server, header: str) -> None:
    replies = told(server, **{header: "203.0.113.9"})
    assert SECRET not in replies
    assert "a proxy forwarded this request" in replies


@pytest.mark.parametrize(
    "options",
    [
        ("--host", "0.0.0.0"),
        ("--trusted-proxy", "127.0.0.1"),
        ("--allowed-host", "example.com"),
        ("--root-path", "/demo"),
    ],
    ids=lambda options: options[0],
)
def test_where_others_are_expected_no_endpoint_gives_the_texts(run: Path, options: tuple[str, ...]) -> None:
    with serving("--run-dir", str(run), *options) as server:
        tabs = [c["props"].get("label") for c in ask(server.address + "/config").json["components"]]
        assert "Benchmarks" in tabs
        assert "Errors" not in tabs
        replies = told(server)
        assert SECRET not in replies
        assert mistaken_runs.LONG[:100] not in replies


def test_the_owner_may_show_them(run: Path) -> None:
    with serving("--run-dir", str(run), "--host", "0.0.0.0", "--show-test-texts") as server:
        assert SECRET in told(server, X_Forwarded_For="203.0.113.9")
