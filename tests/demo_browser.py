"""The demo's page in Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the lightest first
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
PATIENCE = 60_000  # milliseconds
QUIET = ["--no-sandbox", "--disable-gpu"]  # Debian's Chromium would draw with a GPU that is not there
MAY_HANG = 2  # visits of one test process that may come at the second try only
DRAWS = """() => new Promise((answer) => {
    requestAnimationFrame(() => answer(true));
    setTimeout(() => answer(false), 5000);
})"""
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
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

    hung = 0  # pages that did not come, in this process

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
        self.unanswered: list[str] = []
        self.page.on("request", lambda r: self.unanswered.append(r.url))
        for end in ("requestfinished", "requestfailed"):
            self.page.on(end, lambda r: r.url in self.unanswered and self.unanswered.remove(r.url))
        self._arrive(address)

    def _arrive(self, address: str) -> None:
        """Open the page; one that does not come is loaded again, as a person would, and what it lacked is reported.

        In one run of all tests two pages never got to their end, and 150 visits on a busy machine did not show why.
        """
        from playwright.sync_api import TimeoutError as NotThere

        try:
            self._load(address)
        except NotThere as error:
            error.add_note(state := self._state())
            Visit.hung += 1
            if Visit.hung > MAY_HANG:
                raise
            with warnings.catch_warnings():
                warnings.simplefilter("always")  # other warnings are errors; this one is shown below the results
                warnings.warn(f"a page did not come and was loaded again: {error}\n{state}", stacklevel=2)
            self._load(address)

    def _load(self, address: str) -> None:
        self.page.goto(address)
        self.page.wait_for_selector("#label")
        self.page.wait_for_selector(".tab-container[inert]", state="attached")  # the page has connected its events

    def _state(self) -> str:
        """What a page that does not come waits for."""
        shown = self.page.locator("body").inner_text()[:500]
        return (
            f"on the page: {shown!r}; went wrong: {self.problems}; unanswered: {self.unanswered}; "
            f"frames are drawn: {self.page.evaluate(DRAWS)}"
        )

    def open(self, tab: str) -> None:
        """Choose a tab, from the overflow menu where the window is too narrow for all."""
        shown = self.page.get_by_role("tab", name=tab, exact=True)
        if shown.count() and shown.first.is_visible():
            shown.first.click()
        else:
            self.page.locator(".overflow-menu > button").first.click()
            self.page.locator(".overflow-dropdown button", has_text=tab).click()

    @contextlib.contextmanager
    def unanswered_when(self, asked: Callable[[list[Any]], bool]) -> Iterator[None]:
        """Calls of the server whose values are `asked` for reach it at the end only, as on a slow machine."""
        held: list[Any] = []

        def hold(route: Any) -> None:
            if asked(route.request.post_data_json["data"]):
                held.append(route)
            else:
                route.continue_()

        self.page.route("**/queue/join*", hold)
        yield
        assert held, "nothing was asked for that was to be held"
        for route in held:
            route.continue_()
        self.page.unroute("**/queue/join*", hold)

    def text_of(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def wait_for(self, selector: str, words: str) -> str:
        """The text of an element once it has `words` in it."""
        self.page.wait_for_function(
            "([s, w]) => (document.querySelector(s)?.innerText || '').includes(w)", arg=[selector, words]
        )
        return self.text_of(selector)
