"""The verbs that use bundles: predict, demo, check, tune, pack, push."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentopt.cli.printing import EXIT_USAGE, as_json, fail, print_json
from sentopt.errors import BundleError
from sentopt.files import outputs

if TYPE_CHECKING:
    from sentopt.runtime.classifier import Classifier, Prediction


def predict(arguments: argparse.Namespace) -> int:
    """Classify texts from the command line, from stdin, or from a table file."""
    from sentopt.runtime.classifier import Classifier

    if arguments.input and arguments.texts:
        return fail("give texts or --input FILE, not both", EXIT_USAGE)
    if arguments.input and not arguments.output:
        return fail("--input needs --output FILE (.csv, .jsonl or .parquet) for the scored rows", EXIT_USAGE)
    if arguments.output and not arguments.input:
        return fail("--output goes with --input; for texts and stdin, redirect stdout", EXIT_USAGE)
    if arguments.input:
        outputs.check(Path(arguments.output), overwrite=arguments.overwrite, inputs=[Path(arguments.input)])
    classifier = Classifier.load(_bundle(arguments), threads=arguments.threads, abstain_below=arguments.abstain_below)
    if arguments.input:
        return _predict_table(classifier, arguments)
    if not arguments.texts and sys.stdin.isatty():
        print("reading texts from the terminal, one a line; Ctrl-D ends", file=sys.stderr)
    texts = arguments.texts or (line.rstrip("\r\n") for line in sys.stdin)
    truncated = 0
    for text, answer in _answered(classifier, texts):
        truncated += answer.truncated
        print(_as_line(text, answer, json_line=arguments.json))
    if truncated:
        print(
            f"note: {truncated} text(s) were longer than {classifier.encoder.max_length} tokens and were cut",
            file=sys.stderr,
        )
    return 0


def _as_line(text: str, answer: Prediction, *, json_line: bool) -> str:
    if json_line:
        return json.dumps({"text": text, **asdict(answer)})
    return f"{'?' if answer.abstained else answer.label}\t{answer.score:.4f}\t{text}"


def _answered(classifier: Classifier, texts: Iterable[str]) -> Iterator[tuple[str, Prediction]]:
    """Texts with their answers. A person at a terminal is answered line by line, a pipe in windows."""
    seen: list[str] = []

    def remembered() -> Iterator[str]:
        for text in texts:
            seen.append(text)
            yield text

    window = 1 if sys.stdin.isatty() else 256
    for position, answer in enumerate(classifier.stream(remembered(), window=window)):
        yield seen[position % window], answer
        if (position + 1) % window == 0:
            seen.clear()


def _predict_table(classifier: Any, arguments: argparse.Namespace) -> int:
    from sentopt.bundles.score import score_table
    from sentopt.data.options import TableOptions

    summary = score_table(
        classifier,
        Path(arguments.input),
        Path(arguments.output),
        text_column=arguments.text_column,
        progress=not arguments.no_progress,
        options=TableOptions(arguments.encoding, arguments.delimiter, arguments.quote, setting="--{} {}"),
        overwrite=arguments.overwrite,
    )
    for notice in summary.notices:
        print(f"note: {notice}", file=sys.stderr)
    if summary.columns[0] != "label":
        print(
            f"note: {arguments.input} has columns of such names already; the answers are in "
            f"{', '.join(summary.columns)}",
            file=sys.stderr,
        )
    if arguments.json:
        return print_json(as_json(summary))
    print(f"{summary.rows} rows scored in {summary.seconds:.1f} s: {arguments.output}")
    for label, count in summary.labels.items():
        print(f"  {label}: {count}")
    for count, what in (
        (summary.empty, "had no text (answered as the empty text)"),
        (summary.truncated, f"were cut at {classifier.encoder.max_length} tokens"),
        (summary.abstained, f"scored below {classifier.abstain_below:g} and got no label"),
    ):
        if count:
            print(f"note: {count} row(s) {what}", file=sys.stderr)
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Serve the selected bundle as a web page."""
    from sentopt._optional import require

    bundle = _bundle(arguments)
    server = require("sentopt.demo.server", extra="demo")
    server.serve(
        bundle,
        say=lambda line: print(line, file=sys.stderr),
        host=arguments.host,
        port=arguments.port,
        auth=arguments.auth,
        log_texts=arguments.log_texts,
    )
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Whether a bundle is what was verified, and answers here as it did there."""
    from sentopt.bundles import check

    folder = _bundle(arguments)
    if arguments.cpu:
        return _check_elsewhere(folder, arguments.cpu, as_json=arguments.json)
    found = check.check(folder)
    if arguments.json:
        return print_json({"bundle": str(folder), **as_json(found)})
    print(f"{folder}: {found.variant}, labels {', '.join(found.labels)}")
    print(f"files:   {found.files} intact (size and SHA-256)")
    print(
        f"golden:  {found.golden_texts} texts answered as verified, "
        f"largest probability difference {found.largest_difference:.4f} (allowed {found.tolerance:.4f})"
    )
    print(f"machine: {check.machine_in_words(found)}")
    print(f"runtime: {check.runtime_in_words(found)}")
    return 0


def _check_elsewhere(folder: Path, cpu: str, *, as_json: bool) -> int:
    from sentopt.backends import emulation

    arguments = ["-m", "sentopt", "check", str(folder), *(["--json"] if as_json else [])]
    print(f"on an emulated {cpu}; this takes a fraction of a second per golden text", file=sys.stderr)
    said = emulation.python(cpu, *arguments)
    if as_json:
        found = {**json.loads(said), "emulated_cpu": cpu}
        for of_host in ("here", "same_instruction_set"):  # the emulated process reads the host's description
            found.pop(of_host)
        return print_json(found)
    print("".join(line for line in said.splitlines(keepends=True) if not line.startswith("machine:")), end="")
    print(f"machine: an emulated {cpu}")
    return 0


def tune(arguments: argparse.Namespace) -> int:
    """Measure which threads, workers and micro-batches run a bundle fastest here, and keep that for this machine."""
    from sentopt.runtime.trials import tune as measure

    folder = _bundle(arguments)
    print("trying threads, workers and micro-batches; leave the machine alone meanwhile", file=sys.stderr)
    tuned = measure(folder)
    if arguments.json:
        return print_json({"tuning": asdict(tuned.tuning), "trials": [asdict(t) for t in tuned.trials]})
    for trial in tuned.trials:
        way = trial.tuning
        if trial.milliseconds is not None:
            print(f"  one text, {way.threads} thread{'s' if way.threads > 1 else ''}: {trial.milliseconds:.2f} ms")
        else:
            print(
                f"  many, {way.workers} worker{'s' if way.workers > 1 else ''}, "
                f"{_micro_batch(way)}: {trial.texts_per_second:.0f} texts/s"
            )
    chosen = tuned.tuning
    print(
        f"kept for this machine: {chosen.threads} thread{'s' if chosen.threads > 1 else ''} for one text; "
        f"{chosen.workers} worker{'s' if chosen.workers > 1 else ''}, {_micro_batch(chosen)}, for many "
        f"({tuned.path})"
    )
    return 0


def _micro_batch(way: Any) -> str:
    return "one text at a time" if way.max_batch == 1 else f"up to {way.max_batch} texts of {way.max_tokens} tokens"


def pack(arguments: argparse.Namespace) -> int:
    """Write a bundle as one file: a .tar.gz archive, or with --wheel a Python package."""
    from sentopt.bundles import pack
    from sentopt.runtime.description import read_description, sha256_file

    bundle = _bundle(arguments)
    name = arguments.name or pack.plain_name(read_description(bundle))
    overwrite = arguments.overwrite
    if arguments.wheel:
        folder = Path(arguments.output or ".")
        written = pack.wheel(bundle, folder, name=name, version=arguments.version, overwrite=overwrite)
    else:
        written = pack.archive(bundle, Path(arguments.output or f"{name}.tar.gz"), overwrite=overwrite)
    if arguments.json:
        return print_json({"file": str(written), "bytes": written.stat().st_size, "sha256": sha256_file(written)})
    print(f"{written}: {written.stat().st_size / 1e6:.1f} MB, SHA-256 {sha256_file(written)}")
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Upload a bundle with a model card to a repository of the Hugging Face Hub."""
    from sentopt._optional import require
    from sentopt.bundles import card
    from sentopt.runtime.description import read_description

    bundle = _bundle(arguments)
    if arguments.card_only:
        print(card.write(read_description(bundle), license_id=arguments.license), end="")
        return 0
    address = require("sentopt.bundles.push", extra="hub").push(
        bundle,
        arguments.repository,
        private=arguments.private,
        revision=arguments.revision,
        license_id=arguments.license,
        message=arguments.message,
    )
    if arguments.json:
        return print_json({"commit": address})
    print(address)
    return 0


def _bundle(arguments: argparse.Namespace) -> Path:
    from sentopt.run_dir import RunDir, latest
    from sentopt.runtime.description import DESCRIPTION_FILE

    if arguments.bundle:
        return Path(arguments.bundle)
    run_dir = RunDir(Path(arguments.run_dir)) if arguments.run_dir else latest()
    if (run_dir.root / DESCRIPTION_FILE).is_file():
        return run_dir.root
    if not run_dir.bundle.is_dir():
        raise BundleError(f"{run_dir.root} has no bundle yet: run `sentopt export`")
    return run_dir.bundle
