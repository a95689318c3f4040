"""Calibrated INT8 of traced graphs: what becomes INT8, how near it is to FP32; no answer depends on the company."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_models
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from sentopt.graph import calibration, families, lean, traced
from sentopt.graph.products import Int8Products
from sentopt.runtime.classifier import softmax
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.tokenization import TextEncoder
from sentopt.stages import exporters, tracing
from sentopt.stages.silence import silenced

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script"),  # of DeBERTa, and of what ModernBERT imports
    pytest.mark.versions,
]
FAMILIES = [
    *(family for family in tiny_models.FAMILIES if family not in ("bert-one-type", "xlm-roberta")),  # as bert, roberta
    *tiny_models.TRACED,
]
Export = Callable[..., onnx.ModelProto]


def texts(lengths: list[int], seed: int) -> list[str]:
    return [" ".join(f"w{i}" for i in ids) for ids in tiny_models.texts(lengths, seed)]


TRAINING = texts(np.random.default_rng(5).integers(1, 60, 60).tolist(), seed=1)
TEST = texts(np.random.default_rng(6).integers(1, 40, 48).tolist(), seed=2)


def encoder_of(family: str) -> TextEncoder:
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(tiny_models.VOCABULARY)}, unk_token="w3"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return TextEncoder(tokenizer, max_length=60, pad_token_id=1 if family in ("roberta", "mpnet") else 0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            tiny_models.save(family, made[family])
        return made[family]

    return get


@pytest.fixture(scope="module")
def exported(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Export:
    made: dict[tuple[str, str, int], onnx.ModelProto] = {}

    def get(family: str, *, exporter: exporters.Asked = "auto", opset: int = 17) -> onnx.ModelProto:
        chosen, _ = exporters.choose(exporter)
        key = family, chosen, opset
        if key not in made:
            model = tmp_path_factory.mktemp("traced") / "model.onnx"
            trace = tracing.trace_with_optimum if chosen == "optimum" else tracing.trace_with_torch
            with silenced():
                trace(checkpoint(family), model, opset=opset)
            made[key] = onnx.load(model)
        return made[key]

    return get


def quantize(model: onnx.ModelProto, family: str, *, standard: bool = False) -> onnx.ModelProto:
    graph = traced.TracedGraph(model)
    found = traced.calibrate(graph, encoder_of(family), TRAINING)
    return traced.write(graph, found, Int8Products(found.calibration.sites, standard=standard))


@pytest.fixture(scope="module")
def quantized(exported: Export) -> Callable[[str], onnx.ModelProto]:
    made: dict[str, onnx.ModelProto] = {}

    def get(family: str) -> onnx.ModelProto:
        if family not in made:
            made[family] = quantize(exported(family), family)
        return made[family]

    return get


def logits_of(model: onnx.ModelProto, family: str, batches: list[list[str]]) -> FloatArray:
    session, encoder = OnnxSession(model.SerializeToString()), encoder_of(family)
    return np.concatenate([session.run(encoder.pad(encoder.encode(batch))) for batch in batches])


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_do_not_depend_on_the_company(family: str, quantized: Callable[[str], onnx.ModelProto]) -> None:
    """Bit for bit: alone, in a batch of 32 padded to a longer text, and in any order."""
    model, mates = quantized(family), texts([60], seed=9)
    alone = logits_of(model, family, [[text] for text in TEST])
    order = np.random.default_rng(1).permutation(len(TEST))
    together = logits_of(model, family, [[*TEST[:31], *mates], [*TEST[31:], *mates]])
    shuffled = logits_of(model, family, [[TEST[i] for i in order]])
    assert np.array_equal(np.delete(together, [31, len(TEST) + 1], axis=0), alone)
    assert np.array_equal(shuffled, alone[order])


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_are_close_to_fp32(
    family: str, quantized: Callable[[str], onnx.ModelProto], exported: Export
) -> None:
    found, expected = (logits_of(model, family, [TEST]) for model in (quantized(family), exported(family)))
    spread = expected.std(axis=0).mean()  # what tells texts apart; releases of transformers make other random weights
    assert np.abs(found - expected).max() < spread
    assert (found - expected).var() < 0.03 * spread**2
    expected = softmax(expected)  # as its random weights come out, ModernBERT's differ by 0.06 or 0.09 of their spread
    assert np.abs(softmax(found) - expected).mean() < 0.1 * expected.std(axis=0).mean()


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in tiny_models.TRACED])
def test_they_are_as_close_as_those_of_the_lean_graph(
    family: str,
    quantized: Callable[[str], onnx.ModelProto],
    exported: Export,
    checkpoint: Callable[[str], Path],
) -> None:
    architecture = families.read(checkpoint(family))
    sites = calibration.calibrate(architecture, encoder_of(family), TRAINING).sites
    lean_int8 = lean.write(architecture, Int8Products(sites))
    exact, of_lean, of_traced = (
        softmax(logits_of(model, family, [TEST])) for model in (exported(family), lean_int8, quantized(family))
    )
    assert np.abs(of_traced - exact).mean() < 1.5 * np.abs(of_lean - exact).mean()


@pytest.mark.parametrize("family", FAMILIES)
def test_files_are_smaller_and_every_product_of_tokens_is_int8(
    family: str, quantized: Callable[[str], onnx.ModelProto], exported: Export
) -> None:
    model = quantized(family)
    assert model.ByteSize() < 0.8 * exported(family).ByteSize()
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    kept = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm") and weights.intersection(n.input)]
    assert len(kept) <= 3  # of the head, and a small projection
    per_layer = {"modernbert": 4, "gpt2": 4}.get(family, 6)  # query, key and value are one product in some
    layers = 4 if family == "modernbert" else 2
    assert sum(n.op_type == "MatMulIntegerToFloat" for n in model.graph.node) == per_layer * layers


def smoothings(model: onnx.ModelProto) -> int:
    """Additional nodes that divide an activation."""
    return sum(node.op_type == "Mul" and node.name.startswith("int8.") for node in model.graph.node)


def test_both_exporters_and_an_older_opset_give_the_same_answers(exported: Export) -> None:
    """Before opset 17 a normalization is nine nodes; smoothing is divided out of them, too."""
    usual = quantize(exported("megatron-bert"), "megatron-bert")
    expected = logits_of(usual, "megatron-bert", [TEST])
    for made in ({"exporter": "torch"}, {"opset": 14}):
        found = quantize(exported("megatron-bert", **made), "megatron-bert")
        assert ("LayerNormalization" in {n.op_type for n in found.graph.node}) == ("exporter" in made)
        assert smoothings(found) == smoothings(usual)
        assert np.abs(logits_of(found, "megatron-bert", [TEST]) - expected).max() < 1e-3


def test_operators_of_the_standard_alone_give_the_same_answers(exported: Export) -> None:
    usual, standard = (quantize(exported("megatron-bert"), "megatron-bert", standard=only) for only in (False, True))
    assert {node.domain for node in usual.graph.node} == {"", "com.microsoft"}
    assert {node.domain for node in standard.graph.node} == {""}
    assert [entry.domain for entry in standard.opset_import] == [""]
    one, other = (logits_of(model, "megatron-bert", [TEST]) for model in (usual, standard))
    assert np.abs(one - other).max() < 1e-5


def test_the_result_is_deterministic(exported: Export) -> None:
    one, other = (quantize(exported("megatron-bert"), "megatron-bert") for _ in range(2))
    assert one.SerializeToString() == other.SerializeToString()


def test_a_graph_of_two_gigabytes_is_calibrated_from_a_file(
    exported: Export, quantized: Callable[[str], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traced, "LARGEST_MESSAGE", 1)
    found = quantize(exported("megatron-bert"), "megatron-bert")
    assert found.SerializeToString() == quantized("megatron-bert").SerializeToString()


def test_what_does_not_depend_on_the_text_is_computed_once(quantized: Callable[[str], onnx.ModelProto]) -> None:
    """DeBERTa's vectors of distances: two products in each of two layers."""
    model = quantized("deberta-v2")
    stored = [t for t in model.graph.initializer if t.data_type == TensorProto.INT8 and list(t.dims) == [1, 32, 32]]
    assert len(stored) == 4


def normalized_then(*readers: onnx.NodeProto, width: int = 40) -> onnx.ModelProto:
    """Embeddings, a normalization with one channel that is large, a product of every token, a head of one token."""
    random = np.random.default_rng(0)
    scale = np.ones(width, np.float32)
    scale[5] = 300.0
    weight = random.normal(size=(width, width)).astype(np.float32) / scale[:, None]
    weights = {
        "table": random.normal(size=(tiny_models.VOCABULARY, width)).astype(np.float32),
        "scale": scale,
        "shift": random.normal(size=width).astype(np.float32) * scale,
        "weight": weight,
        "bias": random.normal(size=width).astype(np.float32),
        "head": random.normal(size=(width, 3)).astype(np.float32),
        "first": np.array(0),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"]),
        helper.make_node("LayerNormalization", ["e", "scale", "shift"], ["x"], axis=-1),
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="up"),
        helper.make_node("Add", ["product", "bias"], ["y"]),
        *readers,
        helper.make_node("Gather", [readers[-1].output[0] if readers else "y", "first"], ["token"], axis=1),
        helper.make_node("MatMul", ["token", "head"], ["logits"]),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", [ids], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


RESIDUAL = helper.make_node("Add", ["y", "x"], ["z"])


@pytest.mark.parametrize(("readers", "nodes"), [((), 0), ((RESIDUAL,), 1)], ids=["norm", "residual"])
def test_smoothing_is_divided_out_of_a_normalization_that_nothing_else_reads(
    readers: tuple[onnx.NodeProto, ...], nodes: int
) -> None:
    model = normalized_then(*readers)
    found = quantize(model, "bert")
    before = next(node for node in found.graph.node if node.op_type == "QuantizeLinear").input[0]
    producer = next(node for node in found.graph.node if before in node.output)
    assert producer.op_type == ("Mul" if nodes else "LayerNormalization")
    expected, got = (logits_of(each, "bert", [TEST]) for each in (model, found))
    assert (got - expected).var() < 1e-3 * expected.var(axis=0).mean()


def test_a_product_that_others_read_before_its_bias_keeps_the_addition() -> None:
    both = helper.make_node("Add", ["y", "product"], ["z"])
    model = normalized_then(both)
    found = quantize(model, "bert")
    assert sum(node.op_type == "Add" for node in found.graph.node) == 2
    expected, got = (logits_of(each, "bert", [TEST]) for each in (model, found))
    assert (got - expected).var() < 1e-3 * expected.var(axis=0).mean()


def test_a_graph_without_large_products_keeps_them() -> None:
    model = normalized_then(width=8)
    found = quantize(model, "bert")
    assert not any("Integer" in node.op_type for node in found.graph.node)
    expected, got = (logits_of(each, "bert", [TEST]) for each in (model, found))
    assert (got - expected).var() < 1e-3 * expected.var(axis=0).mean()
