"""The third tab: pasted lines or a table, scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import gradio as gr
import pandas as pd

from sentopt.bundles.score import answer_columns
from sentopt.demo import pasted
from sentopt.demo.page.examples import Examples
from sentopt.demo.page.refusals import shown
from sentopt.demo.service import Service
from sentopt.report.markup import in_markdown
from sentopt.runtime.classifier import Prediction

_AT_ONCE = 100  # texts between two steps of the progress bar
_PASTED = 3
_LINES, _TABLE = "one text per line", "a table whose first line names the columns"
# The file is made in the browser from what the page holds, so that the server writes and serves none.
_DOWNLOAD = """(csv) => {
  if (!csv) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\\ufeff" + csv], {type: "text/csv"}));
  link.download = "scored.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


def build(service: Service, examples: Examples) -> None:
    """The components of the tab, and what happens when they are used."""
    limits = service.limits
    gr.Markdown(
        f"At most {limits.texts:,} texts of {limits.characters:,} characters, {limits.body_bytes // 2**20} MiB in all. "
        "For larger files, use `sentopt predict --input FILE` on your machine."
    )
    with gr.Row():
        with gr.Column():
            source = gr.Textbox(_pasted(examples), label="Texts", lines=10, max_lines=20, elem_id="many-texts")
        with gr.Column():
            kind = gr.Radio([_LINES, _TABLE], value=_LINES, label="What was pasted", elem_id="kind")
            column = gr.Textbox(
                "text", label="Column that holds the texts", visible=False, max_length=200, elem_id="column"
            )
            button = gr.Button("Score them", variant="primary", elem_id="score")
            summary = gr.Markdown(elem_id="summary")
    plot = gr.BarPlot(
        x="score",
        y="texts",
        color="label",
        title="Texts by label and score",
        x_title="score",
        height=240,
        visible=False,
        elem_id="plot",
    )
    table = gr.Dataframe(
        interactive=False, wrap=True, visible=False, buttons=["copy"], label="Scored texts", elem_id="scored"
    )
    csv = gr.Textbox(visible="hidden", elem_id="csv")
    download = gr.Button("Download as CSV", visible=False, elem_id="download")

    @shown
    async def score(source: str, kind: str, column: str, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        texts = pasted.column(source, column) if kind == _TABLE else pasted.lines(source)
        service.check(texts)
        predictions: list[Prediction] = []
        milliseconds = 0.0
        for start in range(0, len(texts), _AT_ONCE):
            progress((start, len(texts)), desc="scoring", unit="texts")
            answers = await service.answer(texts[start : start + _AT_ONCE])
            predictions += answers.predictions
            milliseconds += answers.milliseconds
        headings = ["text", *answer_columns(service.classifier.labels, taken=["text"])]
        rows = [
            [text, p.label, f"{p.score:.4f}", *(f"{x:.4f}" for x in p.probabilities.values())]
            for text, p in zip(texts, predictions, strict=True)
        ]
        visible = bool(rows)
        return (
            _in_words(predictions, milliseconds),
            gr.update(value=distribution(predictions), visible=visible),
            gr.update(value=pd.DataFrame(rows, columns=headings), visible=visible),
            pasted.to_csv(headings, rows),
            gr.update(visible=visible),
        )

    kind.change(
        lambda kind: gr.update(visible=kind == _TABLE),
        kind,
        column,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    button.click(score, [source, kind, column], [summary, plot, table, csv, download], api_visibility="private")
    download.click(None, csv, None, js=_DOWNLOAD)


def _pasted(examples: Examples) -> str:
    """A few of the examples, one in a line."""
    return "\n".join(" ".join(text.split()) for text in examples.texts[:_PASTED])


def distribution(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Texts by label and by tenth of the score: columns `score` (from), `texts` and `label`."""
    counts = Counter((p.label, min(9, int(p.score * 10))) for p in predictions)
    rows = [(f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}", count, label) for (label, tenth), count in counts.items()]
    return pd.DataFrame(sorted(rows), columns=["score", "texts", "label"])


def _in_words(predictions: Sequence[Prediction], milliseconds: float) -> str:
    if not predictions:
        return "There is no text to score."
    counts = Counter(p.label for p in predictions)
    shares = "\n".join(
        f"- {in_markdown(label)}: {count:,} ({count / len(predictions):.0%})" for label, count in counts.most_common()
    )
    cut = sum(p.truncated for p in predictions)
    ended = f"\n\n{cut:,} of them were too long for the model and were cut." if cut else ""
    return f"{len(predictions):,} texts in {milliseconds:,.0f} ms:\n\n{shares}{ended}"
