"""The page as a whole: heading, tabs, theme, and the endpoints that Gradio's own client calls by name."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from sentopt.bundles import facts as recorded
from sentopt.demo.access import Readers
from sentopt.demo.api import explanation_json, label_json
from sentopt.demo.page import compare, evidence, examples
from sentopt.demo.page.below import PageBelow
from sentopt.demo.page.errors import ErrorsTab
from sentopt.demo.page.events import QUIET
from sentopt.demo.page.refusals import shown
from sentopt.demo.page.score_list import ScoreList
from sentopt.demo.page.try_it import TryIt
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service
from sentopt.errors import BundleError
from sentopt.runtime.description import BundleDescription

_QUEUE_POLL = 0.02  # seconds; Gradio looks a thousand times a second, which costs a few percent of a core
_WAITING = 64  # events of all visitors
_LIST = "list"  # the tab to which other tabs send texts
_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_STYLE = Path(__file__).with_name("style.css")
_REPAIRS = Path(__file__).with_name("repairs.js").read_text(encoding="utf-8")


def mount(
    app: FastAPI, service: Service, bundle: Path, address: str, prefix: str = "", readers: Readers = "nobody"
) -> None:
    """Put the page at the root of `app`, with everything off that it does not need.

    Args:
        app: gets the page.
        service: answers.
        bundle: the folder of the bundle.
        address: what the page calls the server.
        prefix: the path below which a proxy shows the page.
        readers: who may read the test texts.
    """
    page = build(service, bundle, address, readers)
    page.queue(max_size=_WAITING, default_concurrency_limit=8)
    page._queue.sleep_when_free = _QUEUE_POLL
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        root_path=prefix,
        footer_links=[],
        allowed_paths=[],
        blocked_paths=["/"],
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        css_paths=_STYLE,
    )
    if prefix:
        app.add_middleware(PageBelow, prefix=prefix)


def _theme() -> gr.themes.Base:
    """Gradio's, with colours that keep a contrast of 4.5 to their ground (WCAG 2.2, 1.4.3), light and dark."""
    theme = gr.themes.Soft(primary_hue="teal", font=_FONTS, font_mono=("ui-monospace", "monospace"))
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        block_info_text_color="*neutral_600",
        block_label_text_color="*neutral_800",
        block_label_text_color_dark="*neutral_100",
        block_title_background_fill_dark="*primary_800",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
    )


def build(service: Service, bundle: Path, address: str, readers: Readers = "nobody") -> gr.Blocks:
    """The page for one bundle, not yet served.

    Raises:
        BundleError: the classifier was not loaded from a bundle.
    """
    description = service.classifier.description
    if description is None:
        raise BundleError("the page needs a classifier that was loaded from a bundle")
    facts = RunFacts.of(bundle, description.variant)
    chosen = examples.choose(service, facts)
    with gr.Blocks(title=f"{description.name} · sentopt", analytics_enabled=False) as page:
        gr.HTML(_heading(description), padding=False)
        with gr.Tabs() as tabs:
            with gr.Tab("Try it"):
                try_it = TryIt(service, chosen)
            with _tab("Compare"):
                compare.build(service, facts, chosen)
            with _tab("Score a list", id=_LIST):
                score_list = ScoreList(service, chosen)
            if readers != "nobody":
                with _tab("Errors") as errors:
                    ErrorsTab(errors, service, facts, readers)
            with _tab("Benchmarks"):
                evidence.benchmarks(description, facts)
            with _tab("About"):
                evidence.about(description, facts)
            with _tab("API"):
                evidence.endpoints(address, service)
        try_it.split.click(
            lambda text, *others: (text, gr.update(selected=_LIST)),
            try_it.texts,
            [score_list.source, tabs],
            **QUIET,
        )
        _named_endpoints(service)
        page.load(None, js=_REPAIRS)
    return page


@contextlib.contextmanager
def _tab(name: str, **options: Any) -> Iterator[gr.Tab]:
    """A tab that says its name, too, where its button is in the menu of those that do not fit."""
    with gr.Tab(name, **options) as tab:
        gr.HTML(f"<h2 class=tab-name>{name}</h2>", padding=False)
        yield tab


def _named_endpoints(service: Service) -> None:
    for endpoint in _of_pairs(service) if service.pair else _of_texts(service):
        gr.api(endpoint, api_name=endpoint.__name__)


def _of_texts(service: Service) -> Sequence[Callable[..., Any]]:
    @shown
    async def predict(text: str) -> dict[str, Any]:
        """Classify one text."""
        return label_json(await service.answer([text]))

    @shown
    async def predict_batch(texts: list[str]) -> dict[str, Any]:
        """Classify several texts."""
        return label_json(await service.answer(texts), many=True)

    @shown
    async def explain(text: str) -> dict[str, Any]:
        """Classify one text and weigh its words."""
        return explanation_json(await service.explain(text), sets=bool(service.classifier.thresholds))

    return predict, predict_batch, explain


def _of_pairs(service: Service) -> Sequence[Callable[..., Any]]:
    @shown
    async def predict(text: str, pair: str) -> dict[str, Any]:
        """Classify one pair of texts."""
        return label_json(await service.answer([(text, pair)]))

    @shown
    async def predict_batch(texts: list[list[str]]) -> dict[str, Any]:
        """Classify several pairs of texts, each a list of two."""
        return label_json(await service.answer(texts), many=True)  # type: ignore[arg-type]

    @shown
    async def explain(text: str, pair: str) -> dict[str, Any]:
        """Classify one pair of texts and weigh the words of both."""
        return explanation_json(await service.explain((text, pair)), sets=bool(service.classifier.thresholds))

    return predict, predict_batch, explain


def _heading(description: BundleDescription) -> str:
    verified = recorded.verified(description)
    labels = f"<b>{html.escape(', '.join(description.labels))}</b>"
    what = "a text"
    if description.pair:
        what = f"a pair of texts ({html.escape(' and '.join(description.pair))})"
    if description.thresholds:
        told = (
            f"Gives {what} any number of the labels {labels}, or none. Macro F1 is {verified.macro_f1:.3f} on "
            f"{verified.test_texts:,} test texts; {verified.agreement:.1%} of them get the labels"
        )
    else:
        told = (
            f"Sorts {what} into {labels}. {verified.accuracy:.1%} of {verified.test_texts:,} test texts get the right "
            f"one, {verified.agreement:.1%} the one"
        )
    return (
        f"<header><h1>{html.escape(description.name)}</h1>"
        f"<p>{told} that the PyTorch model gives. Variant: {html.escape(description.variant)}.</p></header>"
    )
