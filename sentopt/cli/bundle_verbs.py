"""The verbs that use bundles: predict, score, demo, serve, check, tune, pack, push."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sentopt
from sentopt.cli.printing import EXIT_USAGE, WrongUsage, as_json, fail, note, print_json

if TYPE_CHECKING:
    from sentopt.data.options import TableOptions
    from sentopt.runtime.classifier import Classifier


def predict(arguments: argparse.Namespace) -> int:
    """Classify texts from the command line, from stdin, or from a table file.

    e.g. sentopt predict 'The soup was cold.' 'Lovely people!'
         tail -f comments.log | sentopt predict --json
         sentopt predict --input reviews.csv --text-column review --output scored.csv
    A model of pairs takes both texts in turn, or with a tab between them from stdin.
    """
    from sentopt.bundles import words
    from sentopt.data import piped
    from sentopt.files import outputs
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
    if not arguments.texts and sys.stdin and sys.stdin.isatty():
        end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
        tab = "with a tab between both texts; " if classifier.encoder.pairs else ""
        print(f"reading texts from the terminal, one a line; {tab}{end} ends", file=sys.stderr)
    truncated = 0
    lines = [arguments.texts] if arguments.texts else piped.windows(sys.stdin, encoding=arguments.encoding)
    for window in piped.paired(lines, given=bool(arguments.texts)) if classifier.encoder.pairs else lines:
        for text, answer in zip(window, classifier.predict(window), strict=True):
            truncated += answer.truncated
            print(words.of_answer(text, answer, sets=bool(classifier.thresholds), as_json=arguments.json))
        print(end="", flush=True)  # who gave these lines may wait for the answers before giving more
    if truncated:
        note(f"{truncated} text(s) were longer than {classifier.encoder.max_length} tokens and were cut")
    return 0


def _predict_table(classifier: Classifier, arguments: argparse.Namespace) -> int:
    from sentopt.bundles import words

    summary = sentopt.score(
        classifier,
        arguments.input,
        arguments.output,
        text_column=arguments.text_column,
        pair_column=arguments.pair_column,
        options=_table_options(arguments),
        overwrite=arguments.overwrite,
        progress=not arguments.no_progress,
    )
    note(*words.of_scored_rows(summary, arguments.input, classifier))
    if arguments.json:
        return print_json(as_json(summary))
    print(f"{summary.rows} rows scored in {summary.seconds:.1f} s: {arguments.output}")
    print(*words.of_counts(summary), sep="\n")
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Classify the rows of many files into a folder; what is interrupted goes on with the same command.

    e.g. sentopt score reviews/ --output scored --text-column review
         sentopt score 'logs/2026-*.parquet' --output scored --shard 2/8
    """
    from sentopt.bulk import words

    summary = sentopt.score_files(
        _bundle(arguments),
        arguments.inputs,
        arguments.output,
        text_column=arguments.text_column,
        pair_column=arguments.pair_column,
        shard=arguments.shard,
        engine=arguments.engine,
        threads=arguments.threads,
        abstain_below=arguments.abstain_below,
        unit_rows=arguments.unit_rows,
        options=_table_options(arguments),
        progress=not arguments.no_progress,
    )
    note(*summary.notices)
    if arguments.json:
        return print_json(as_json(summary))
    print(*words.of(summary, arguments.output), sep="\n")
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Serve the selected bundle as a web page, and as HTTP endpoints.

    e.g. sentopt demo --bundle exports/quickstart/bundle --port 8000
         sentopt demo --host 0.0.0.0 --auth people.txt
         sentopt demo --trusted-proxy 127.0.0.1 --allowed-host example.com --root-path /demo
    """
    return _serve(arguments, show_test_texts=arguments.show_test_texts)


def serve(arguments: argparse.Namespace) -> int:
    """Serve the selected bundle as HTTP endpoints, without the page.

    e.g. sentopt serve --bundle exports/quickstart/bundle --host 0.0.0.0 --auth people.txt
         sentopt serve --bundle reviews=exports/reviews/bundle --bundle tweets=exports/tweets/bundle
         sentopt serve --processes auto
    """
    return _serve(arguments, page=False, processes=arguments.processes)


def _serve(arguments: argparse.Namespace, **of_verb: Any) -> int:
    from sentopt.demo.bundle_names import read_bundles

    named = read_bundles(arguments.bundle)
    arguments.bundle = named.pop("", None)
    if named and arguments.run_dir:
        raise WrongUsage(f"give bundles with --bundle or a run with --run-dir ({arguments.run_dir}), not both")
    sentopt.serve(
        named or _bundle(arguments),
        host=arguments.host,
        port=arguments.port,
        auth=arguments.auth,
        rate=arguments.rate,
        trusted_proxies=arguments.trusted_proxy,
        allowed_hosts=arguments.allowed_host,
        root_path=arguments.root_path,
        cors_origins=arguments.cors_origin,
        log_texts=arguments.log_texts,
        **of_verb,
    )
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Compare a bundle's files with their SHA-256, and its answers here with the verified ones.

    e.g. sentopt check exports/quickstart/bundle --json
         sentopt check --cpu EPYC-Milan
         sentopt check --cpu neoverse-n1
    """
    from sentopt.bundles import words

    folder = _bundle(arguments)
    checked = sentopt.check(folder, cpu=arguments.cpu or "", progress=True)
    if arguments.json:
        return print_json({"bundle": str(folder), **as_json(checked)})
    print(*words.of_check(folder, checked), sep="\n")
    return 0


def tune(arguments: argparse.Namespace) -> int:
    """Measure which threads, workers and micro-batches run a bundle fastest here, and keep that for this machine.

    e.g. sentopt tune exports/quickstart/bundle
    """
    from sentopt.bundles import words

    folder = _bundle(arguments)
    print("trying threads, workers and micro-batches; leave the machine alone meanwhile", file=sys.stderr)
    tuned = sentopt.tune(folder)
    if arguments.json:
        return print_json({"tuning": asdict(tuned.tuning), "trials": [asdict(trial) for trial in tuned.trials]})
    print(*words.of_tuning(tuned), sep="\n")
    return 0


def pack(arguments: argparse.Namespace) -> int:
    """Write a bundle as one file: a .tar.gz archive, or with --wheel a Python package.

    e.g. sentopt pack exports/quickstart/bundle --wheel --name my-sentiment --version 1.0
    """
    from sentopt.bundles.pack import install_hint
    from sentopt.runtime.description import sha256_file

    bundle = _bundle(arguments)
    written = sentopt.pack(
        bundle,
        arguments.output,
        wheel=arguments.wheel,
        self_contained=arguments.self_contained,
        name=arguments.name,
        version=arguments.version,
        overwrite=arguments.overwrite,
    )
    size, digest = written.stat().st_size, sha256_file(written)
    if arguments.json:
        return print_json({"file": str(written), "bytes": size, "sha256": digest})
    print(f"{written}: {size / 1e6:.1f} MB, SHA-256 {digest}\n{install_hint(written)}")
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Upload a bundle with a model card to a repository of the Hugging Face Hub.

    e.g. sentopt push me/my-sentiment --private --license apache-2.0
         sentopt push me/my-sentiment --card-only
    """
    from sentopt.bundles import card
    from sentopt.runtime.description import read_description

    bundle = _bundle(arguments)
    if arguments.card_only:
        print(card.write(read_description(bundle), license_id=arguments.license), end="")
        return 0
    address = sentopt.push(
        bundle,
        arguments.repository,
        private=arguments.private,
        revision=arguments.revision,
        license=arguments.license,
        message=arguments.message,
    )
    if arguments.json:
        return print_json({"commit": address})
    print(address)
    return 0


def _table_options(arguments: argparse.Namespace) -> TableOptions:
    from sentopt.data.options import TableOptions

    return TableOptions(arguments.encoding, arguments.delimiter, arguments.quote, setting="--{} {}")


def _bundle(arguments: argparse.Namespace) -> Path:
    """The bundle that is named, else that of the newest run that has one."""
    from sentopt.api.bundles import find
    from sentopt.run_dir import RunDir, newer_than

    if arguments.bundle and arguments.run_dir:
        raise WrongUsage(f"give a bundle ({arguments.bundle}) or a run with --run-dir ({arguments.run_dir}), not both")
    folder = find(arguments.bundle, arguments.run_dir)
    if not arguments.bundle and not arguments.run_dir:
        note(*(f"{run.root} is newer and has no bundle: {folder} is used" for run in newer_than(RunDir(folder.parent))))
    return folder
