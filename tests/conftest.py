"""Shared fixtures: a two-layer random backbone with a tokenizer trained here, small datasets, and one finished run."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import kinds_of_bundles
import pytest
from csv_files import LABELS, SAMPLE, read_csv, write_csv
from demo_browser import chromium

from sentopt._optional import is_installed
from sentopt.errors import MissingExtraError

# What only some fixtures need is imported in them: tests of the runtime also run on a machine that has nothing but its
# base install, or no `fcntl`.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Two OpenMP threads wait for each other longer than a two-layer model computes: on busy cores they take 14 times the
# CPU time of one. Tests run side by side instead (`make test`). Child processes inherit the limit.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")


# Packages of which the two environments of CI have other releases, and the fixtures that are made with them.
_DIFFERING = re.compile(
    r"\b(torch|transformers|accelerate|optimum|onnx|onnxruntime|datasets|tokenizers|gradio|huggingface_hub)\b"
    r"|\b(backbone|finished_run|\w*bundle)\b"
)


@functools.cache
def _has_to_do_with_versions(unit_tests: Path) -> bool:
    return bool(_DIFFERING.search(unit_tests.read_text(encoding="utf-8")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes come first: at the end, one process would wait for the other."""
    for item in items:
        if "unit" in item.path.parts and _has_to_do_with_versions(item.path):
            item.add_marker("versions")
    items.sort(key=lambda item: item.get_closest_marker("realdata") is None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which of several tiny graphs is the fastest is chance: tests must pass with each."""
    parser.addoption("--fastest", metavar="VARIANT", help="the variant that the runs of this process find the fastest")


@pytest.fixture(scope="session")
def fastest() -> Callable[[str], AbstractContextManager[None]]:
    """Arrange that runs of this process take a variant for a hundred times as fast as it is; the innermost counts."""
    from sentopt.pipeline import steps
    from sentopt.stages import select
    from sentopt.variants import VARIANTS

    choose, measured = steps.select, select.cost

    @contextlib.contextmanager
    def arranged(variant: str) -> Iterator[None]:
        assert variant in VARIANTS, f"{variant} is none of {', '.join(VARIANTS)}"

        def cost(row: Any, **figure: Any) -> float:
            return measured(row, **figure) / (100 if row.variant == variant else 1)

        def chosen(*given: Any) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(select, "cost", cost)
                return choose(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(steps, "select", chosen)
            yield

    return arranged


@pytest.fixture(scope="session", autouse=True)
def fastest_of_all(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ship the variant that `--fastest` names wherever it passes."""
    variant = request.config.getoption("--fastest")
    with request.getfixturevalue("fastest")(variant) if variant else contextlib.nullcontext():
        yield


def _needs_torch(error: BaseException | None) -> bool:
    """Whether PyTorch, or what comes with it, was missed."""
    missed = getattr(error, "name", None) or str(error)
    return isinstance(error, ImportError | MissingExtraError) and bool(re.search(r"\b(torch|accelerate)\b", missed))


class ModuleWithoutTorch(pytest.Module):
    """A file of tests; it is skipped if it imports PyTorch."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        """The tests, unless they need PyTorch."""
        try:
            return list(super().collect())
        except self.CollectError as error:
            if _needs_torch(error.__cause__):
                pytest.skip("PyTorch is not installed", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Without PyTorch (`make test-pythons`), what needs it is skipped; with it, nothing is."""
    return None if is_installed("torch") else ModuleWithoutTorch.from_parent(parent, path=module_path)


def _skip_without_torch() -> Iterator[None]:
    try:
        return (yield)
    except (ImportError, MissingExtraError) as error:
        if _needs_torch(error) and not is_installed("torch"):
            pytest.skip("PyTorch is not installed")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Skip a test whose fixtures need PyTorch where it is not installed."""
    return (yield from _skip_without_torch())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skip a test that needs PyTorch where it is not installed."""
    return (yield from _skip_without_torch())


def _vocabulary(size: int = 600) -> dict[str, int]:
    """Letters and the commonest words; tokenizers' own trainer breaks ties differently in every process."""
    words = Counter(re.findall(r"[a-z]+", " ".join(row["text"].lower() for row in read_csv(SAMPLE / "validation.csv"))))
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "great",
        "terrible",
        *characters,
        *(f"##{c}" for c in characters),
    ]
    pieces += [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))]
    return {piece: i for i, piece in enumerate(list(dict.fromkeys(pieces))[:size])}


def _save_backbone(kind: str, folder: Path, **settings: object) -> Path:
    """A random model of the class `kind` with two layers, 32 dimensions and a 600-word vocabulary."""
    import torch
    import transformers
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    BertWordPieceTokenizer(vocab=_vocabulary()).save(str(folder / "tokenizer.json"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=3,
        **settings,
    )
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT, as from_pretrained loads it."""
    return _save_backbone("Bert", tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def backbone_without_lean_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Megatron-BERT of the same size."""
    return _save_backbone("MegatronBert", tmp_path_factory.mktemp("megatron-bert"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small splits whose labels a tiny model can learn: a telling word in ordinary sentences."""
    folder = tmp_path_factory.mktemp("reviews")
    telling = {"negative": "terrible", "neutral": "the", "positive": "great"}
    for split, count in (("train", 240), ("validation", 60), ("test", 120)):
        rows = []
        for i, row in enumerate(read_csv(SAMPLE / "train.csv")[: count * 4 : 4]):
            label = LABELS[i % 3]
            rows.append((f"{telling[label]} {telling[label]} {row['text'][:25]} {split} {i}", label))
        write_csv(folder / f"{split}.csv", rows)
    return folder


@pytest.fixture(scope="session")
def tiny_options(backbone: Path, reviews: Path) -> list[str]:
    """Command-line options under which a whole run takes seconds."""
    values = (
        "train.epochs=3",
        "train.learning_rate=0.003",
        "train.ema_decay=0.9",
        "train.precision=fp32",
        "train.batch_size=8",
        "model.max_length=48",
        "verify.margin=5",
        "verify.recall_margin=15",
        "verify.max_changed=15",
        "bench.rounds=2",
        "bench.texts=5",
        "bench.throughput_texts=20",
        "bench.grid=[[1, 8], [2, 16]]",
        "export.variants=['torch', 'onnx-fp32', 'onnx-int8', 'lean-fp32', 'lean-int8']",
        "verify.cpu_texts=0",
    )
    settings = [argument for value in values for argument in ("--set", value)]
    return ["--data", str(reviews), "--model", str(backbone), *settings]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_options: list[str]) -> Path:
    """The directory of one complete `sentopt run`. Do not change it: copy it with `run_copy`."""
    import contenders

    from sentopt import cli

    root = tmp_path_factory.mktemp("exports") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sentopt.backends.worker.start", contenders.PROCESS)
        assert cli.main(["run", *tiny_options, "--run-dir", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of one file."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: SENTOPT_SCREENSHOTS, to be looked at, or a temporary folder."""
    folder = Path(os.environ.get("SENTOPT_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def optimum() -> None:
    """Skip the test where Optimum is not installed, or does not support the installed transformers."""
    from sentopt.stages import exporters

    if exporters.choose("auto")[0] != "optimum":
        conflict = exporters.unsupported_transformers() if is_installed("optimum.exporters.onnx") else ""
        pytest.skip(conflict or "Optimum's ONNX exporter is not installed (extra: optimum)")


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may damage."""
    return shutil.copytree(finished_run, tmp_path / "tiny")


@pytest.fixture(scope="session")
def fp32_bundle(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the FP32 graph, whichever variant was the fastest: its answers do not depend on batch-mates."""
    from sentopt import cli

    root = shutil.copytree(finished_run, tmp_path_factory.mktemp("fp32") / "tiny")
    code = cli.main(["export", "--run-dir", str(root), "--set", "export.variants=['onnx-fp32']"])
    assert code == 0
    return root / "bundle"


@pytest.fixture(scope="session")
def int8_run(
    finished_run: Path,
    fastest: Callable[[str], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The finished run as where lean INT8 is the fastest. Its answers do not depend on batch-mates, either."""
    from sentopt import cli

    root = shutil.copytree(finished_run, tmp_path_factory.mktemp("int8") / "tiny")
    with fastest("lean-int8"):
        assert cli.main(["export", "--run-dir", str(root), "--set", "select.tie=0"]) == 0  # chosen anew
    assert json.loads((root / "bundle" / "sentopt.json").read_text())["variant"] == "lean-int8"
    return root


@pytest.fixture(scope="session")
def int8_bundle(int8_run: Path) -> Path:
    """A bundle of the lean INT8 graph, whichever variant was the fastest."""
    return int8_run / "bundle"


@pytest.fixture
def bundle(fp32_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the FP32 bundle, away from its run directory, that a test may damage."""
    return shutil.copytree(fp32_bundle, tmp_path / "bundle")


@pytest.fixture
def left_bundle(fp32_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the FP32 bundle that reads the end of a long text."""
    folder = shutil.copytree(fp32_bundle, tmp_path / "left")
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "truncation_side": "left"}))
    facts = json.loads((folder / "sentopt.json").read_text())
    digest = hashlib.sha256(settings.read_bytes()).hexdigest()
    facts["files"][settings.name] = {"bytes": settings.stat().st_size, "sha256": digest}
    (folder / "sentopt.json").write_text(json.dumps({**facts, "truncation_side": "left", "schema_version": 2}))
    return folder


@pytest.fixture(scope="session")
def label_sets_bundle(fp32_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The FP32 bundle as one that gives a text any number of labels."""
    return kinds_of_bundles.with_label_sets(fp32_bundle, tmp_path_factory.mktemp("label-sets") / "bundle")


@pytest.fixture(scope="session")
def int8_label_sets_bundle(int8_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lean INT8 bundle as one that gives a text any number of labels."""
    return kinds_of_bundles.with_label_sets(int8_bundle, tmp_path_factory.mktemp("label-sets") / "bundle")


@pytest.fixture(scope="session")
def pair_bundle(fp32_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is given two texts, in FP32; the types of tokens matter."""
    return kinds_of_bundles.with_pairs(fp32_bundle, tmp_path_factory.mktemp("pairs") / "bundle")


@pytest.fixture(scope="session")
def left_pair_sets_bundle(fp32_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is given two texts, reads the ends of long ones, and gives any number of labels."""
    folder = tmp_path_factory.mktemp("pairs") / "bundle"
    return kinds_of_bundles.with_pairs(fp32_bundle, folder, label_sets=True, side="left")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C example, compiled."""
    import c_program

    return c_program.compiled(tmp_path_factory.mktemp("c"))


@pytest.fixture
def edit_description(bundle: Path) -> Callable[..., None]:
    """Change top-level keys of the bundle's sentopt.json."""

    def edit(**changes: object) -> None:
        path = bundle / "sentopt.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


@pytest.fixture
def in_folder(tmp_path: Path) -> Iterator[Path]:
    """Run the test with an empty current folder."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)
