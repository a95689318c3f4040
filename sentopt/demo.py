"""The web page of a bundle: a text in, probabilities and latency out, and how the bundle came to be chosen.

It serves one bundle, opens no path and no address that a visitor names, and keeps nothing of what is typed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr

from sentopt.errors import BundleError
from sentopt.recipe import SAMPLE_TEXTS
from sentopt.runtime.classifier import Classifier

MAX_CHARACTERS = 5_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def build_page(bundle: Path) -> gr.Blocks:
    """The page for one bundle, not yet served. Its API endpoint is `/predict`.

    Raises:
        BundleError: the bundle cannot be loaded.
    """
    classifier = Classifier.load(bundle)
    classifier("warm up")

    def answer(text: str) -> tuple[dict[str, float], str]:
        return _answer(classifier, text)

    with gr.Blocks(title="sentopt", analytics_enabled=False) as page:
        gr.Markdown(_heading(classifier))
        with gr.Row():
            with gr.Column():
                text = gr.Textbox(
                    label="Text",
                    lines=4,
                    max_length=MAX_CHARACTERS,
                    placeholder="Type or paste a sentence, then press Enter",
                )
                button = gr.Button("Classify", variant="primary")
                gr.Examples([[sample] for sample in SAMPLE_TEXTS], inputs=text)
            with gr.Column():
                label = gr.Label(label="Probabilities", num_top_classes=min(10, len(classifier.labels)))
                note = gr.Markdown()
        gr.Markdown(_how_chosen(classifier, bundle))
        gr.on(
            [button.click, text.submit],
            answer,
            inputs=text,
            outputs=[label, note],
            api_name="predict",
            show_progress="hidden",
        )
    return page


def serve(bundle: Path, *, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until interrupted.

    Raises:
        BundleError: the bundle cannot be loaded, or the port is taken.
    """
    if host not in _LOOPBACK:
        print(f"warning: {host} can be reached from other machines, and the page asks for no password", file=sys.stderr)
    page = build_page(bundle)
    print(f"serving {bundle} on http://{host}:{port} (Ctrl-C stops)", file=sys.stderr)
    try:
        launch(page, host=host, port=port)
    except OSError as error:
        raise BundleError(f"cannot serve on {host}:{port}: {error}. Choose another port with --port") from error


def launch(page: gr.Blocks, *, host: str, port: int, block: bool = True) -> Any:
    """Start gradio's server with everything off that a local page does not need."""
    return page.queue(max_size=64, default_concurrency_limit=4).launch(
        server_name=host,
        server_port=port,
        share=False,
        show_error=False,
        allowed_paths=[],
        blocked_paths=["/"],
        max_file_size=1,
        enable_monitoring=False,
        prevent_thread_lock=not block,
        quiet=True,
    )


def _answer(classifier: Classifier, text: str) -> tuple[dict[str, float], str]:
    if not isinstance(text, str):
        raise gr.Error("a text is expected", print_exception=False)
    if len(text) > MAX_CHARACTERS:  # the text box stops at this length, a client of the API need not
        raise gr.Error(
            f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are accepted", print_exception=False
        )
    start = time.perf_counter()
    prediction = classifier(text)
    milliseconds = (time.perf_counter() - start) * 1e3
    note = f"**{prediction.label}** in {milliseconds:.1f} ms on this machine's CPU"
    if not text.strip():
        note += "; the text is empty, so this is the model's answer to nothing"
    if prediction.truncated:
        note += f"; only the first {classifier.encoder.max_length} tokens were read"
    return prediction.probabilities, note


def _heading(classifier: Classifier) -> str:
    description = _description(classifier)
    verified = description["verified"]
    return (
        f"# {description['name']}\n\n{', '.join(classifier.labels)}: variant `{description['variant']}`, test accuracy "
        f"{verified['accuracy']:.4f} on {verified['test_texts']} texts, "
        f"the same label as PyTorch on {verified['agreement_with_pytorch']:.2%} of them."
    )


def _how_chosen(classifier: Classifier, bundle: Path) -> str:
    """The run's comparison table, where the bundle still lies in its run directory; else what the bundle records."""
    from sentopt import manifest, report, text_tables
    from sentopt.results import BenchResult, Selection, VerifyResult
    from sentopt.run_dir import RunDir

    run_dir = RunDir(bundle.resolve().parent)
    found = manifest.read(run_dir.manifest)
    if {"select", "bench", "verify"} <= found.stages.keys():
        selection, bench = found.result("select", Selection), found.result("bench", BenchResult)
        table = report.comparison(found.result("verify", VerifyResult).verdicts, bench, selection)
        return (
            f"## How it was chosen\n\n{selection.reason}\n\n{text_tables.as_markdown(table)}\n\n"
            f"Measured on {bench.hardware.cpu}, {bench.threads} threads."
        )
    description = _description(classifier)
    row = description["measured"]["row"]
    return (
        f"## How it was verified\n\n{description['verified']['reason']}. "
        f"Measured on {description['measured']['hardware']['cpu']}: "
        f"{row['latency']['p50']:.2f} ms per text (median), {row['texts_per_second']:.0f} texts/s."
    )


def _description(classifier: Classifier) -> Any:
    if classifier.description is None:
        raise BundleError("the page needs a classifier that was loaded from a bundle")
    return classifier.description.facts
