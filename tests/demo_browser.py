"""The demo's page in Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60_000  # milliseconds
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def visiting(browser: Any, address: str, **options: Any) -> Iterator[Visit]:
    """A visit in which nothing may go wrong, and nothing may be asked for elsewhere."""
    visit = Visit(browser, address, **options)
    yield visit
    visit.context.close()
    assert not visit.problems
    assert not visit.elsewhere


class Visit:
    """One visitor's page, and everything that went wrong on it."""

    def __init__(self, browser: Any, address: str, *, width: int = 1200, dark: bool = False, **context: Any) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
            **context,
        )
        self.problems: list[str] = []
        self.elsewhere: list[str] = []
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda m: m.type == "error" and self.problems.append(m.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("response", lambda r: r.status >= 400 and self.problems.append(f"{r.status} {r.url}"))
        self.page.on(
            "request", lambda r: not r.url.startswith((address, "data:", "blob:")) and self.elsewhere.append(r.url)
        )
        self.page.goto(address)
        self.page.wait_for_selector("#label")
        self.page.wait_for_selector(".tab-container[inert]", state="attached")  # the page has connected its events

    def open(self, tab: str) -> None:
        """Choose a tab, from the overflow menu where the window is too narrow for all."""
        shown = self.page.get_by_role("tab", name=tab, exact=True)
        if shown.count() and shown.first.is_visible():
            shown.first.click()
        else:
            self.page.locator(".overflow-menu > button").first.click()
            self.page.locator(".overflow-dropdown button", has_text=tab).click()

    def text_of(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def wait_for(self, selector: str, words: str) -> str:
        """The text of an element once it has `words` in it."""
        self.page.wait_for_function(
            "([s, w]) => (document.querySelector(s)?.innerText || '').includes(w)", arg=[selector, words]
        )
        return self.text_of(selector)
