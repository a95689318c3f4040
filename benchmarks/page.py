"""The demo's page in Chromium: `python benchmarks/page.py exports/quickstart/bundle [--visits 5] [--answers 100]`.

The first screen of a visitor who was here before and of one who was not, from the address to the answer of the first
example; the live answer behind the last key; and the memory of the server after that, with a list of 1,000 texts
scored. Prints one JSON object. It needs Chromium on PATH, and psutil.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright
from serving import server, short_texts

from sentopt.measure.timing import summarize

_READY = ".tab-container[inert]"
_ANSWERED = """([text]) => {
  const note = document.querySelector("#note").innerText;
  const typed = document.querySelector("#text textarea").value;
  return typed === text && note.includes("answered in") && note !== window.before;
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--answers", type=int, default=100)
    arguments = parser.parse_args()
    texts = short_texts()
    with server(arguments.bundle) as (process, port), sync_playwright() as playwright:
        memory = {"at_start": _mebibytes(process.pid)}
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        address = f"http://127.0.0.1:{port}"
        first = [_first_screen(browser.new_context(), address) for _ in range(arguments.visits)]
        context = browser.new_context()
        again = [_first_screen(context, address) for _ in range(arguments.visits + 1)][1:]
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(_READY, state="attached")
        answers = summarize([_answer(page, text) for text in texts[: arguments.answers]])
        memory["after_answers"] = _mebibytes(process.pid)
        _score(page, texts, 1_000)
        memory["after_a_list"] = _mebibytes(process.pid)
        browser.close()
    print(
        json.dumps(
            {
                "first_screen_seconds": {"first_visit": statistics.median(first), "again": statistics.median(again)},
                "live_answer_ms": {"p50": answers.p50, "p95": answers.p95, "texts": answers.samples},
                "server_mib": memory,
            },
            indent=1,
        )
    )


def _first_screen(context: Any, address: str) -> float:
    page = context.new_page()
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#note p")
    seconds = time.perf_counter() - started
    page.close()
    return seconds


def _answer(page: Any, text: str) -> float:
    """Milliseconds from the last key to the answer on the screen; the others are typed before."""
    field = page.locator("#text textarea")
    field.fill(text[:-1])
    page.wait_for_timeout(400)
    page.evaluate("() => { window.before = document.querySelector('#note').innerText; }")
    field.press("End")
    started = time.perf_counter()
    page.keyboard.insert_text(text[-1])
    page.wait_for_function(_ANSWERED, arg=[text], polling=5)
    return (time.perf_counter() - started) * 1e3


def _score(page: Any, texts: list[str], count: int) -> None:
    page.get_by_role("tab", name="Score a list", exact=True).click()
    page.fill("#list-texts textarea", "\n".join(texts[i % len(texts)] for i in range(count)))
    page.wait_for_timeout(1_000)
    page.click("#score")
    page.wait_for_function("() => document.querySelector('#summary').innerText.includes('texts in')")


def _mebibytes(pid: int) -> float:
    return round(psutil.Process(pid).memory_info().rss / 2**20, 1)


if __name__ == "__main__":
    main()
