"""The tabs without input: benchmarks and verdicts, the model card, the endpoints."""

from __future__ import annotations

import gradio as gr

from sentopt.bundles import card
from sentopt.bundles import facts as recorded
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service
from sentopt.report import cascades, render
from sentopt.report.markup import in_markdown
from sentopt.report.tables import counted
from sentopt.runtime.description import BundleDescription

_BENCHMARKS = ("Verdict", "Refused, what now?", "How the verdicts were made", "Speed", cascades.TITLE)


def benchmarks(description: BundleDescription, facts: RunFacts | None) -> None:
    """Tables, plots and verdicts of the run; without a run, what the bundle records."""
    if facts is None:
        gr.Markdown(_alone(description))
        return
    _show(facts, [title for title in facts.sections if title in _BENCHMARKS])
    _show(facts, [title for title, section in facts.sections.items() if title not in _BENCHMARKS and section.images])


def about(description: BundleDescription, facts: RunFacts | None) -> None:
    """The model card, and how the model was trained."""
    gr.Markdown(card.body(description), elem_classes="evidence")
    if facts is not None:
        _show(facts, [t for t, section in facts.sections.items() if t not in _BENCHMARKS and not section.images])


def endpoints(address: str, service: Service) -> None:
    """How to call the server from other software."""
    limits, one, many, asked, call = service.limits, *_requests(service.pair)
    given = "label, score, probabilities, truncated, milliseconds"
    if service.classifier.thresholds:
        given = f"labels (those that reach their thresholds), {given}; label is the most probable one"
    gr.Markdown(
        f"""
Three endpoints take and return JSON. `/openapi.json` describes them in full.

| endpoint | request | response |
|---|---|---|
| `POST /predict` | `{one}` | {given} |
| `POST /predict_batch` | `{many}` | the same for each |
| `POST /explain` | `{one}` | the same, and the weight of each word |
| `GET /healthz`, `GET /readyz` | | whether the server runs, and whether it accepts requests |
| `GET /metrics` | | counters for Prometheus: requests, errors, latency, batch sizes, waiting texts |

```sh
curl {address}/predict -H "Content-Type: application/json" -d '{asked}'
```

```python
from gradio_client import Client  # the same three, by name

Client("{address}").predict({call}, api_name="/predict")
```

At most {limits.texts:,} texts a request, {limits.characters:,} characters a text and {limits.body_bytes:,} bytes a
request (413 or 422 beyond), {limits.client_rate:,.0f} requests a second from one address (429). A request that would
wait longer than about {limits.wait_seconds:g} s is refused at once with 503 and a `Retry-After` header. Requests that
arrive together are answered in one batch.
""",
        elem_classes="evidence",
    )


def _requests(pair: tuple[str, str] | None) -> tuple[str, str, str, str]:
    """The bodies of a request for one text and for many, an example, and the arguments of Gradio's client."""
    if pair is None:
        return '{"text": "..."}', '{"texts": ["...", "..."]}', '{"text": "Lovely people!"}', '"Lovely people!"'
    return (
        '{"text": "...", "pair": "..."}',
        '{"texts": [["...", "..."], ["...", "..."]]}',
        '{"text": "Lovely people, cold soup.", "pair": "the soup"}',
        '"Lovely people, cold soup.", "the soup"',
    )


def _show(facts: RunFacts, titles: list[str]) -> None:
    gr.HTML("\n".join(render.section_html(facts.sections[title]) for title in titles), elem_classes="evidence")


def _alone(description: BundleDescription) -> str:
    verified, measured = recorded.verified(description), recorded.measured(description)
    return (
        f"## How it was verified\n\n{in_markdown(verified.reason)}.\n\n## How fast it is\n\n"
        f"{card.latency_in_words(description)} Many are answered at {measured.texts_per_second:.0f} texts/s. "
        f"Measured on {in_markdown(measured.cpu)}, {counted(measured.threads, 'thread')}.\n\n"
        "This bundle was loaded without its run; the tables and plots stay in the directory of the run."
    )
