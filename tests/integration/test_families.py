"""Every family of models, small and random, from training to verdicts; docs/tuned-models.md says what happens."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from csv_files import read_csv

from sentopt import recipe
from sentopt.backends.torch import TorchEngine
from sentopt.pipeline import Pipeline
from sentopt.report import sections
from sentopt.results import ExportResult, QuantizeResult, TrainResult, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.tokenization import Batch, TextEncoder

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script"),  # of DeBERTa, and of what ModernBERT imports
    pytest.mark.versions,
]

FAMILIES = Path(__file__).parents[2] / "docs" / "tuned-models.md"
NAMES = {
    "bert": "BERT, MiniLM",
    "distilbert": "DistilBERT",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-R",
    "electra": "ELECTRA",
    "albert": "ALBERT",
    "mpnet": "MPNet",
    "deberta-v2": "DeBERTa-v2, DeBERTa-v3",
    "modernbert": "ModernBERT",
    "gpt2": "GPT-2",
    "megatron-bert": "Megatron-BERT",
}
LEAN, TRACED = ("lean-fp32", "lean-int8"), ("onnx-fp32", "onnx-int8-calibrated")


def save_backbone(family: str, folder: Path) -> None:
    """A random model, and a byte-level BPE tokenizer that is trained here on the bundled corpus."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    from sentopt.data.sources import SAMPLE_FOLDER

    folder.mkdir()
    special = {"pad_token": "<pad>", "unk_token": "<unk>"} if family != "gpt2" else {"eos_token": "<|endoftext|>"}
    bpe = ByteLevelBPETokenizer()
    rows = read_csv(SAMPLE_FOLDER / "validation.csv")
    bpe.train_from_iterator((row["text"] for row in rows), vocab_size=400, special_tokens=list(special.values()))
    bpe.save(str(folder / "bpe.json"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "bpe.json"), model_max_length=64, **special)
    padding = {} if family == "gpt2" else {"pad_token_id": tokenizer.pad_token_id}
    model = tiny_models.save(family, folder, vocab_size=len(tokenizer), **padding)
    if family == "gpt2":
        model.config.pad_token_id = None  # as published
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module", params=NAMES)
def run(request: pytest.FixtureRequest, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A few steps of training, then export, INT8 and verdicts."""
    family: str = request.param
    root = tmp_path_factory.mktemp(family)
    save_backbone(family, root / "backbone")
    document = {
        "run": {"name": family},
        "data": {
            "dataset": "files",
            **{split: str(reviews / f"{split}.csv") for split in ("train", "validation", "test")},
        },
        "model": {"backbone": str(root / "backbone"), "max_length": 40},
        "train": {"max_steps": 12, "batch_size": 16, "eval_strategy": "steps", "eval_steps": 6, "precision": "fp32"},
        "export": {"variants": ["torch", *(LEAN if family in tiny_models.FAMILIES else TRACED)]},
        "verify": {"cpu_texts": 0},
    }
    pipeline = Pipeline(recipe.resolve(document, source="test"), RunDir(root / "run"))
    pipeline.train()
    pipeline.verify()
    return pipeline


def test_it_is_trained_exported_quantized_and_judged(run: Pipeline) -> None:
    family = run.recipe.run.name
    trained = run.manifest.result("train", TrainResult)
    assert trained.steps == 12
    assert len(trained.evals) == 2
    fp32, int8 = LEAN if family in tiny_models.FAMILIES else TRACED
    (check,) = run.manifest.result("export", ExportResult).checks
    assert check.variant == fp32
    assert check.max_logit_difference < 1e-4
    verdicts = {v.variant: v for v in run.manifest.result("verify", VerifyResult).verdicts}
    assert set(verdicts) == {"torch", fp32, int8}
    assert verdicts[fp32].agreement == 1.0
    assert verdicts[fp32].batch_flips is not None
    assert verdicts[fp32].batch_flips.changed == 0
    assert verdicts[int8].agreement > 0.7


@pytest.mark.parametrize("run", tiny_models.TRACED, indirect=True)
def test_a_traced_graph_is_calibrated_and_the_report_says_on_what(run: Pipeline) -> None:
    quantized = run.manifest.result("quantize", QuantizeResult)
    found = quantized.traced_calibration
    assert quantized.calibration is None
    assert found is not None
    assert (found.products, found.worst_error < 0.01) == (8, True)
    said = "The calibrated traced INT8 graph: 8 matrix products calibrated on "
    assert any(line.startswith(said) for line in sections.int8_checks(run.manifest))


def test_the_documentation_says_what_graph_it_gets(run: Pipeline) -> None:
    family = run.recipe.run.name
    (row,) = re.findall(
        rf"^\| {re.escape(NAMES[family])} \| (\w+) \|", FAMILIES.read_text(encoding="utf-8"), re.MULTILINE
    )
    checked = {check.variant for check in run.manifest.result("export", ExportResult).checks}
    assert row == ("lean" if checked == {"lean-fp32"} else "traced")


def test_the_documentation_names_no_other() -> None:
    (table,) = re.findall(r"^\| family \|.*\n((?:\|.*\n)+)", FAMILIES.read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) == list(NAMES.values())


@pytest.mark.parametrize("run", ["gpt2"], indirect=True)
def test_gpt2_does_not_depend_on_batch_mates_or_on_the_side_of_padding(run: Pipeline) -> None:
    """The last real token counts, in PyTorch and in the graphs; with left padding, positions are those of the text."""
    encoder = TextEncoder.load(run.run_dir.checkpoint, max_length=40)
    tokens = encoder.encode(["a", "the food was great great", "terrible terrible service and a very long wait indeed"])
    right = encoder.pad(tokens)
    left = _left(right, encoder.pad_token_id)
    reference = TorchEngine.load(run.run_dir.checkpoint)
    alone = np.concatenate([reference.run(encoder.pad([t])) for t in tokens])
    engines = [reference] + [Classifier.open(run.run_dir.model(v), encoder, ("a", "b", "c")).engine for v in LEAN]
    for engine in engines:
        separately = np.concatenate([engine.run(encoder.pad([t])) for t in tokens])
        for padded in (right, left):
            assert np.abs(engine.run(padded) - separately).max() < 1e-5
    assert np.abs(engines[1].run(right) - alone).max() < 1e-4


def _left(batch: Batch, pad_token_id: int) -> Batch:
    ids, mask = np.full_like(batch.input_ids, pad_token_id), np.zeros_like(batch.attention_mask)
    for row, length in enumerate(batch.attention_mask.sum(axis=1)):
        ids[row, -length:], mask[row, -length:] = batch.input_ids[row, :length], 1
    return Batch(ids, mask, batch.token_type_ids)


@pytest.mark.parametrize("run", ["gpt2"], indirect=True)
def test_conv1d_weights_of_a_traced_gpt2_are_quantized(run: Pipeline, tmp_path: Path) -> None:
    import onnx

    from sentopt.stages import export, quantize
    from sentopt.variants import VARIANTS

    specs = [VARIANTS["onnx-fp32"], VARIANTS["onnx-int8"]]
    export.run(run.recipe, run.run_dir, specs=specs[:1])
    quantize.run(run.recipe, run.run_dir, specs=specs[1:])
    operators = [node.op_type for node in onnx.load(run.run_dir.model("onnx-int8")).graph.node]
    assert operators.count("MatMulInteger") == 2 * 4 + 1  # four products in each of two blocks, and the head
    assert "Gemm" not in operators
