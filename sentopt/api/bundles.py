"""What can be done with a bundle: check, tune, pack, push, serve, score the rows of a table."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sentopt import progress as progress_module
from sentopt._optional import needs_extra
from sentopt.api.arguments import StrPath
from sentopt.bundles import pack as packing
from sentopt.bundles.check import BundleCheck, check_elsewhere
from sentopt.bundles.check import check as check_bundle
from sentopt.bundles.score import TableSummary, score_table
from sentopt.data import pairs
from sentopt.data.options import TableOptions
from sentopt.data.tables import DETECTED
from sentopt.errors import BundleError, ServingError
from sentopt.progress import Choice
from sentopt.run_dir import RunDir, latest
from sentopt.runtime.arguments import path
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import DESCRIPTION_FILE, Text, read_description
from sentopt.runtime.trials import Tuned
from sentopt.runtime.trials import tune as measure
from sentopt.wording import for_python

if TYPE_CHECKING:
    from sentopt.bulk.score_files import BulkSummary, Engine
    from sentopt.demo.limits import Limits
    from sentopt.demo.proxies import Network

_OPTIONS = "options=TableOptions({}={})"


@dataclass(frozen=True)
class Demo:
    """A bundle that is served by a thread of this process."""

    address: str
    thread: threading.Thread
    end: Callable[[], None]

    @classmethod
    def start(cls, work: Callable[..., None]) -> Demo:
        """Run `work` in a thread, and wait until it serves.

        Raises:
            SentoptError: what kept it from serving.
        """
        started: queue.Queue[tuple[str, Callable[[], None]] | BaseException] = queue.Queue()

        def serve_and_tell() -> None:
            try:
                work(on_start=lambda address, end: started.put((address, end)))
                started.put(ServingError("the demo ended before it served"))
            except BaseException as error:
                started.put(error)

        thread = threading.Thread(target=serve_and_tell, name="sentopt demo", daemon=True)
        thread.start()
        told = started.get()
        if isinstance(told, BaseException):
            raise told
        return cls(told[0], thread, told[1])

    def stop(self) -> None:
        """Answer what was accepted, and end."""
        self.end()
        self.thread.join()


@for_python
def find(bundle: StrPath | None = None, run_dir: StrPath | None = None) -> Path:
    """The folder of a bundle: the one named, that of a run, or that of the newest run below `exports/` that has one.

    Raises:
        BundleError: the run has no bundle.
        RunDirError: there is no run.
    """
    if bundle is not None:
        return path("bundle", bundle).expanduser()
    if run_dir is None:
        return latest(with_bundle=True).bundle
    run = RunDir(path("run_dir", run_dir).expanduser())
    if (run.root / DESCRIPTION_FILE).is_file():
        return run.root
    if not run.bundle.is_dir():
        raise BundleError(f"{run.root} has no bundle yet: run `sentopt export`")
    return run.bundle


@for_python
def check(bundle: StrPath, *, cpu: str = "", progress: Choice = False) -> BundleCheck:
    """Whether a bundle is intact and answers its golden texts here as where it was verified.

    Args:
        bundle: the folder that holds `sentopt.json`.
        cpu: answer on this CPU model, emulated by qemu-user: one of x86-64, such as EPYC-Milan, or one of ARM64, such
            as neoverse-n1, which `sentopt.emulator` sets up once.
        progress: of an emulated check: True for bars or lines on stderr, or a function that receives lines.

    Raises:
        BundleIntegrityError: a file is missing, or is not the one that was verified.
        BundleError: it answers otherwise, or cannot be loaded.
        EmulationError: the CPU cannot be emulated here.
    """
    if cpu:
        return check_elsewhere(path("bundle", bundle), cpu, progress=progress_module.of(progress))
    return check_bundle(path("bundle", bundle))


@for_python
def tune(bundle: StrPath, texts: Sequence[Text] = ()) -> Tuned:
    """Measure which threads, workers and micro-batches run a bundle fastest here, and remember that for this machine.

    Args:
        bundle: the folder that holds `sentopt.json`.
        texts: what to measure with; by default the golden texts of the bundle.

    Raises:
        BundleError: it cannot be loaded, or has no golden texts and none are given.
    """
    return measure(path("bundle", bundle), texts)


@for_python
def pack(
    bundle: StrPath,
    output: StrPath | None = None,
    *,
    wheel: bool = False,
    self_contained: bool = False,
    name: str = "",
    version: str = "1.0",
    overwrite: bool = False,
) -> Path:
    """Write a bundle as one file, the same bytes whenever and wherever.

    Args:
        bundle: the folder that holds `sentopt.json`.
        output: the `.tar.gz` file, or the folder of the wheel; by default the current folder.
        wheel: write a wheel whose module has a `classifier`, not an archive.
        self_contained: the wheel holds the runtime, and needs numpy, onnxruntime and tokenizers alone.
        name: name of the package or archive; by default that of the run.
        version: version of the package.
        overwrite: replace a file that is there already.

    Returns:
        The file that was written.

    Raises:
        BundleError: this is no bundle, or its files are not those that were verified.
        OutputError: another file is there.
        InputError: name, version or output cannot be used.
    """
    folder = path("bundle", bundle)
    name = name or packing.plain_name(read_description(folder))
    if wheel or self_contained:
        return packing.wheel(
            folder,
            path("output", output if output is not None else "."),
            name=name,
            version=version,
            overwrite=overwrite,
            self_contained=self_contained,
        )
    return packing.archive(
        folder, path("output", output if output is not None else f"{name}.tar.gz"), overwrite=overwrite
    )


@for_python
def push(
    bundle: StrPath,
    repository: str,
    *,
    private: bool = False,
    revision: str = "main",
    license: str = "",
    message: str = "",
) -> str:
    """Check a bundle and upload it with a model card to the Hugging Face Hub, in one commit.

    Args:
        bundle: the folder that holds `sentopt.json`.
        repository: `owner/name`; made if there is none.
        private: create the repository as private.
        revision: the branch.
        license: the licence of the model, as the hub calls it.
        message: the commit message; by default run and variant.

    Returns:
        The address of the commit.

    Raises:
        BundleError: the bundle is damaged, or answers differently here.
        PublishError: the hub did not take it.
        MissingExtraError: the packages of `sentopt[hub]` are not installed.
    """
    with needs_extra("hub"):
        from sentopt.bundles import push as publishing
    return publishing.push(
        path("bundle", bundle), repository, private=private, revision=revision, license_id=license, message=message
    )


@for_python
def serve(
    bundle: StrPath | Mapping[str, StrPath],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: StrPath | None = None,
    log_texts: StrPath | None = None,
    limits: Limits | None = None,
    rate: float | None = None,
    trusted_proxies: Sequence[str | Network] = (),
    allowed_hosts: Sequence[str] = (),
    root_path: str = "",
    cors_origins: Sequence[str] = (),
    show_test_texts: bool = False,
    page: bool = True,
    processes: int | str = 1,
    say: Callable[[str], None] | None = None,
    block: bool | None = None,
) -> Demo | None:
    """Serve a bundle as a web page and as HTTP endpoints, or several as endpoints.

    Args:
        bundle: the folder that holds `sentopt.json`. Without the page also several, by the name under which each is
            served; the first answers where a client names none.
        host: address to listen on; anything but loopback can be reached from other machines.
        port: port to listen on.
        auth: file of `name:password` lines; empty for the environment variable; None asks for no password.
        log_texts: file that gets every text with its answer; None keeps no text.
        limits: other bounds than those for the host.
        rate: requests a second of one client, in the place of that of `limits`.
        trusted_proxies: addresses and CIDR networks of proxies, which are believed about their clients' addresses
            (X-Forwarded-For, Forwarded). Other senders of these headers are not.
        allowed_hosts: names that the server answers to, beside those of loopback; `*.example.com` for all below it.
            Without them, a server on loopback answers to localhost alone, another one to any name.
        root_path: the path below which a proxy shows the demo, such as `/demo`.
        cors_origins: origins whose pages may ask the endpoints from a browser, such as `https://app.example.com`; `*`
            for all, where no password is asked for. The demo's page is not shared.
        show_test_texts: list the texts of the test split, with what the variants answer, to everybody who reaches the
            demo. Without it they are listed only where no other machine reaches it.
        page: show the page, too. Without it, the packages of `sentopt[serve]` suffice.
        processes: that share the port, each with its part of the cores; "auto" for as many as the cores are enough
            for. More than one without the page alone, and not on Windows.
        say: receives the address, and warnings; by default they go to stderr.
        block: serve until interrupted; otherwise in a thread. By default it blocks, but not in notebooks, where an
            event loop is running already.

    Returns:
        The demo in its thread, with `stop()`; None after it has blocked.

    Raises:
        BundleError: a bundle cannot be loaded.
        ServingError: the port is taken, a file cannot be used, or an argument is wrong.
        MissingExtraError: the packages of `sentopt[demo]` are not installed.
    """
    with needs_extra("demo" if page else "serve"):
        from sentopt.demo import server
        from sentopt.demo.settings import Settings
    settings = Settings(
        host=host,
        port=port,
        auth=None if auth is None else str(auth),
        log_texts=None if log_texts is None else path("log_texts", log_texts),
        limits=limits,
        rate=rate,
        trusted_proxies=trusted_proxies,
        allowed_hosts=allowed_hosts,
        root_path=root_path,
        cors_origins=cors_origins,
        show_test_texts=show_test_texts,
        page=page,
        processes=processes,
    )
    several = {name: path("bundle", one) for name, one in bundle.items()} if isinstance(bundle, Mapping) else None
    folders = path("bundle", bundle) if several is None else several
    work = partial(server.serve, folders, settings, say=say or _to_stderr)
    if block if block is not None else not _has_event_loop():
        work()
        return None
    return Demo.start(work)


@for_python
def score(
    classifier: Classifier | StrPath,
    source: StrPath,
    target: StrPath,
    *,
    text_column: str = "",
    pair_column: str = "",
    options: TableOptions = DETECTED,
    overwrite: bool = False,
    progress: bool = True,
) -> TableSummary:
    """Classify every row of a table into another one, in the order of the rows and a window of them at a time.

    Args:
        classifier: a classifier, or the folder of a bundle.
        source: a table file.
        target: .csv, .tsv, .jsonl or .parquet; its columns are those of `source`, label, score and one per label.
            These are null in a row without a text.
        text_column: the column that holds the texts, or a field inside of one, such as `data.text`. By default `text`,
            or what the bundle calls the first text of a pair.
        pair_column: the column of the second texts of pairs; by default what the bundle calls them.
        options: how a delimited file is written, where that is not detected.
        overwrite: replace a file that is there already.
        progress: draw a bar on stderr.

    Raises:
        DataError: the input cannot be read, has no such column, or no columns at all.
        OutputError: `target` is there already, or is `source`.
    """
    loaded = classifier if isinstance(classifier, Classifier) else Classifier.load(classifier)
    named = loaded.description.pair if loaded.description else ("text", "pair") if loaded.encoder.pairs else None
    text_column, pair_column = (*pairs.of_bundle(named, text_column, pair_column), "")[:2]
    return score_table(
        loaded,
        path("source", source),
        path("target", target),
        text_column=text_column,
        pair_column=pair_column,
        progress=progress,
        options=replace(options, setting=_OPTIONS) if options.setting == DETECTED.setting else options,
        overwrite=overwrite,
    )


@for_python
def score_files(
    bundle: StrPath,
    inputs: StrPath | Sequence[StrPath],
    output: StrPath,
    *,
    text_column: str = "",
    pair_column: str = "",
    shard: str = "1/1",
    engine: Engine = "local",
    threads: int | None = None,
    abstain_below: float = 0.0,
    unit_rows: int = 20_000,
    options: TableOptions = DETECTED,
    progress: Choice = True,
) -> BulkSummary:
    """Classify every row of many tables into a folder, in units that are finished one by one.

    The same call continues a job that was interrupted, and adds new files to it. Several processes may share a folder.

    Args:
        bundle: the folder that holds `sentopt.json`.
        inputs: tables (Parquet, CSV, TSV, JSON Lines), patterns, folders of them, or URLs of Parquet files
            (`s3://`, `gs://`).
        output: the folder, or its URL: new, or one of this job.
        text_column: the column that holds the texts, or a field inside of one, such as `data.text`. By default `text`,
            or what the bundle calls the first text of a pair.
        pair_column: the column of the second texts of pairs; by default what the bundle calls them.
        shard: the part of the units to score, `2/8` for the second of eight.
        engine: "local" scores in this process, "ray" and "spark" on their clusters.
        threads: cores to use; None uses every core granted to this process. Engines give each of theirs one.
        abstain_below: minimum score of an answer, 0 to 1; a lower one has no label.
        unit_rows: rows of a unit; row groups of Parquet files that have fewer are put together, larger ones stay whole.
        options: how delimited files are written, where that is not detected.
        progress: True for bars or lines on stderr, or a function that receives lines.

    Raises:
        DataError: an input is not there, or cannot be read; or units failed, after all others were scored.
        OutputError: the folder belongs to another job, or cannot be written.
        BundleError: the bundle cannot be loaded.
        InputError: shard or engine is none.
        MissingExtraError: the packages of `sentopt[score]`, or of the engine, are not installed.
    """
    from sentopt.bulk import score_files as bulk
    from sentopt.bulk.work import Shard, Work

    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    work = Work.of(
        path("bundle", bundle).expanduser(),
        os.fspath(output),
        text_column=text_column,
        pair_column=pair_column,
        abstain_below=abstain_below,
        unit_rows=unit_rows,
        options=options,
        threads=threads,
    )
    return bulk.score(
        work,
        [os.fspath(one) for one in several],
        shard=Shard.read(shard),
        engine=engine,
        progress=progress_module.of(progress),
    )


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _has_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
