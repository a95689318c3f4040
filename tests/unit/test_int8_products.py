"""INT8 products: what rounding guarantees, what calibration decides, and that no answer depends on the company."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from sentopt.graph import calibration, families, lean
from sentopt.graph.architecture import Architecture, Dense, FloatArray
from sentopt.graph.calibration import Calibration, calibrate
from sentopt.graph.products import FloatProducts, Int8Products, Site, quantize_columns
from sentopt.runtime.classifier import softmax
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import TextEncoder

IntArray = npt.NDArray[np.int32]
INT8 = [family for family in tiny_models.FAMILIES if family not in ("bert-one-type", "xlm-roberta")]  # as bert, roberta


def random_weight(kind: str, shape: tuple[int, int]) -> FloatArray:
    random = np.random.default_rng(sum(shape))
    if kind == "normal":
        return random.normal(0.0, 0.05, shape).astype(np.float32)
    if kind == "heavy-tailed":
        return (random.standard_t(2, shape) * 10.0 ** random.integers(-6, 4, shape[1])).astype(np.float32)
    if kind == "all alike":
        return np.full(shape, -0.3, np.float32)
    weight = random.uniform(0.5, 1.0, shape).astype(np.float32)
    weight[:, ::2] = 0.0
    return weight


weights = pytest.mark.parametrize(
    "weight",
    [
        pytest.param(random_weight(kind, shape), id=f"{kind} {shape}")
        for kind in ("normal", "heavy-tailed", "all alike", "positive, some columns zero")
        for shape in ((64, 48), (33, 7), (1, 5))
    ],
)


def in_pairs(rows: IntArray) -> tuple[IntArray, IntArray]:
    """Rows 0, 2, 4, ... and rows 1, 3, 5, ...; an odd last row goes with zeros."""
    if len(rows) % 2:
        rows = np.concatenate([rows, np.zeros_like(rows[:1])])
    return rows[0::2], rows[1::2]


@weights
def test_neighbouring_rows_of_equal_sign_add_up_to_at_most_128(weight: FloatArray) -> None:
    rounded, _ = quantize_columns(weight)
    first, second = in_pairs(rounded.astype(np.int32))
    assert rounded.dtype == np.int8
    assert np.abs(rounded.astype(np.int32)).max() <= 127
    assert np.abs(first + second)[first * second > 0].max(initial=0) <= 128


@weights
def test_rounding_errs_by_half_a_step_at_most(weight: FloatArray) -> None:
    rounded, scales = quantize_columns(weight)
    assert (np.abs(rounded * scales - weight) <= scales * 0.5001).all()
    assert (rounded[:, ~weight.any(axis=0)] == 0).all()


def test_no_more_is_given_up_than_must_be() -> None:
    """Without neighbours of equal sign a column uses all 127 steps, and never fewer than 64."""
    alternating = np.array([[0.5], [-1.0], [0.0], [0.25]], np.float32)
    assert np.abs(quantize_columns(alternating)[0]).max() == 127
    assert np.abs(quantize_columns(random_weight("all alike", (8, 3)))[0]).min() == 64


@weights
@pytest.mark.parametrize("activations", ["random", "all 255", "0 or 255"])
def test_sums_of_two_products_never_saturate_at_16_bits(weight: FloatArray, activations: str) -> None:
    rounded, _ = quantize_columns(weight)
    x = unsigned_bytes(activations, rows=20, columns=len(weight))
    assert np.array_equal(product_without_vnni(x, rounded), x @ rounded.astype(np.int32))


def test_ordinary_rounding_would_saturate() -> None:
    """Or the test above would show nothing."""
    weight = random_weight("all alike", (64, 48))
    ordinary = np.rint(weight / (np.abs(weight).max(axis=0) / 127)).astype(np.int8)
    x = unsigned_bytes("all 255", rows=20, columns=64)
    assert not np.array_equal(product_without_vnni(x, ordinary), x @ ordinary.astype(np.int32))


def unsigned_bytes(kind: str, *, rows: int, columns: int) -> IntArray:
    random = np.random.default_rng(3)
    drawn = {
        "random": random.integers(0, 256, (rows, columns)),
        "all 255": np.full((rows, columns), 255),
        "0 or 255": random.choice([0, 255], (rows, columns)),
    }
    return drawn[kind].astype(np.int32)


def product_without_vnni(x: IntArray, rounded: npt.NDArray[np.int8]) -> IntArray:
    """What vpmaddubsw and vpaddd compute: sums of two products clipped to 16 bits, then added in 32."""
    (x_first, x_second), (w_first, w_second) = in_pairs(x.T), in_pairs(rounded.astype(np.int32))
    pairs = x_first[:, :, None] * w_first[:, None, :] + x_second[:, :, None] * w_second[:, None, :]
    total: IntArray = np.clip(pairs, -32768, 32767).sum(axis=0)
    return total


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(tiny_models.VOCABULARY)}, unk_token="w3"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return TextEncoder(tokenizer, max_length=60, pad_token_id=0)


def texts(lengths: list[int], seed: int = 0) -> list[str]:
    return [" ".join(f"w{i}" for i in ids) for ids in tiny_models.texts(lengths, seed)]


TRAINING = texts(np.random.default_rng(5).integers(1, 60, 60).tolist(), seed=1)
TEST = texts(np.random.default_rng(6).integers(1, 40, 48).tolist(), seed=2)


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Architecture]:
    made: dict[str, Architecture] = {}

    def get(family: str) -> Architecture:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            tiny_models.save(family, folder)
            made[family] = families.read(folder)
        return made[family]

    return get


@pytest.fixture(scope="module")
def quantized(architecture: Callable[[str], Architecture], encoder: TextEncoder) -> Callable[[str], bytes]:
    made: dict[str, bytes] = {}

    def get(family: str) -> bytes:
        if family not in made:
            found = calibrate(architecture(family), encoder, TRAINING)
            made[family] = lean.write(architecture(family), Int8Products(found.sites)).SerializeToString()
        return made[family]

    return get


def test_calibration_is_deterministic(architecture: Callable[[str], Architecture], encoder: TextEncoder) -> None:
    one, other = (calibrate(architecture("bert"), encoder, TRAINING) for _ in range(2))
    assert one.errors == other.errors
    assert all(same(one.sites[name], other.sites[name]) for name in one.sites | other.sites)
    files = [lean.write(architecture("bert"), Int8Products(c.sites)).SerializeToString() for c in (one, other)]
    assert files[0] == files[1]


def same(one: Site, other: Site) -> bool:
    assert (one.smoothing is None) == (other.smoothing is None)
    equal = one.smoothing is None or np.array_equal(one.smoothing, other.smoothing)
    return equal and (one.scale, one.zero_point) == (other.scale, other.zero_point)


def test_every_product_with_a_weight_is_calibrated(
    architecture: Callable[[str], Architecture], encoder: TextEncoder
) -> None:
    found = calibrate(architecture("bert"), encoder, TRAINING)
    parts = {"layer.0": ("qkv", "o", "up", "down"), "layer.1": ("q", "o", "up", "down")}
    assert set(found.sites) == set(found.errors) == {f"{layer}.{p}" for layer, names in parts.items() for p in names}
    assert max(found.errors.values()) < 1e-3
    assert (found.texts, found.tokens) == (60, sum(len(text.split()) for text in TRAINING))


def test_calibration_stays_within_its_limits_and_takes_one_text_at_least(
    architecture: Callable[[str], Architecture], encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MAX_TEXTS", 20)
    assert calibrate(architecture("bert"), encoder, TRAINING).texts == 20
    monkeypatch.setattr(calibration, "MAX_TOKENS", 100)
    assert calibrate(architecture("bert"), encoder, TRAINING).tokens <= 100
    monkeypatch.setattr(calibration, "MAX_TOKENS", 1)
    assert calibrate(architecture("bert"), encoder, TRAINING).texts == 1


def with_outlier(architecture: Architecture) -> Architecture:
    """One channel that feeds the first feed-forward is 200 times what it was, and its weights take that back."""
    first, channel = architecture.blocks[0], 5
    scale = np.ones(architecture.hidden, np.float32)
    scale[channel] = 200.0
    norm = replace(
        first.attention_norm, scale=first.attention_norm.scale * scale, bias=first.attention_norm.bias * scale
    )
    up = Dense(first.up.weight / scale[:, None], first.up.bias)
    return replace(architecture, blocks=(replace(first, attention_norm=norm, up=up), *architecture.blocks[1:]))


def test_an_outlier_channel_is_smoothed(architecture: Callable[[str], Architecture], encoder: TextEncoder) -> None:
    spread = with_outlier(architecture("bert"))
    smoothing = calibrate(spread, encoder, TRAINING).sites["layer.0.up"].smoothing
    assert smoothing is not None
    assert smoothing.argmax() == 5
    assert smoothing[5] > 20 * np.median(smoothing)


def test_layers_that_share_weights_share_the_rounded_ones(tmp_path: Path, encoder: TextEncoder) -> None:
    """Each has a scale of its own, and all have one smoothing."""
    tiny_models.save("albert", tmp_path, num_hidden_layers=5)
    albert = families.read(tmp_path)
    spread = with_outlier(albert)
    shared = replace(spread, blocks=(spread.blocks[0],) * 5)
    strengths = (0.5,)  # at 1 the layers that have the largest values of some channels have one range, by construction
    found = calibrate(shared, encoder, TRAINING, strengths=strengths)
    sites = [found.sites[f"layer.{i}.up"] for i in range(5)]
    assert len({site.scale for site in sites}) == 5
    assert all(same(replace(sites[0], scale=site.scale, zero_point=site.zero_point), site) for site in sites)
    assert sites[0].smoothing is not None
    assert max(found.errors.values()) < 0.02
    graph = lean.write(shared, Int8Products(found.sites)).graph
    weights = [tensor for tensor in graph.initializer if list(tensor.dims) == [32, 64]]
    assert len(weights) == 1
    assert sum(weights[0].name in node.input for node in graph.node) == 5


def recorded(rows: FloatArray) -> calibration.Activations:
    return calibration.Activations(rows.min(axis=0), rows.max(axis=0), [rows])


def test_smoothing_helps_where_it_is_chosen_and_is_not_chosen_where_it_cannot() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(400, 32)).astype(np.float32)
    dense = Dense(random.normal(size=(32, 24)).astype(np.float32), np.zeros(24, np.float32))
    assert calibration.quantize_site(dense, recorded(rows))[0].smoothing is None
    rows[:, 3] *= 100.0
    dense.weight[3] /= 100.0
    site, relative = calibration.quantize_site(dense, recorded(rows))
    exact = rows @ dense.weight
    plain = calibration.output_error(dense.weight, rows, calibration.site_for(recorded(rows))) / exact.var()
    assert site.smoothing is not None
    assert relative < plain / 100
    assert relative < 1e-3


def test_scales_hold_everything_that_was_seen_and_zero() -> None:
    for low, high in ((-3.0, 5.0), (2.0, 9.0), (-8.0, -1.0), (0.0, 0.0)):
        rows = np.array([[low, high], [high, low]], np.float32)
        site = calibration.site_for(recorded(rows))
        levels = np.rint(np.array([low, 0.0, high]) / site.scale) + site.zero_point
        assert 0 <= site.zero_point <= 255
        assert levels.min() >= 0
        assert levels.max() <= 255


def test_a_site_without_calibration_stays_fp32(architecture: Callable[[str], Architecture]) -> None:
    some = Calibration({"layer.0.up": Site(0.05, 128)}, {}, 0, 0)
    graph = lean.write(architecture("bert"), Int8Products(some.sites)).graph
    assert [node.name for node in graph.node if node.op_type == "MatMulIntegerToFloat"] == ["layer.0.up"]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_operators_of_the_standard_alone_give_the_same_answers(
    family: str, architecture: Callable[[str], Architecture], encoder: TextEncoder
) -> None:
    made = architecture(family)
    sites = calibrate(made, encoder, TRAINING).sites
    assert sites
    usual, standard = (lean.write(made, Int8Products(sites, standard=only)) for only in (False, True))
    assert {node.domain for node in usual.graph.node} == {"", "com.microsoft"}
    assert {node.domain for node in standard.graph.node} == {""}
    assert [entry.domain for entry in standard.opset_import] == [""]
    assert sum(node.op_type == "MatMulInteger" for node in standard.graph.node) == len(sites)
    one, other = (logits_of(graph.SerializeToString(), encoder, [TEST]) for graph in (usual, standard))
    assert np.abs(one - other).max() < 1e-5


def logits_of(model: bytes, encoder: TextEncoder, batches: list[list[str]]) -> FloatArray:
    session = OnnxSession(model)
    return np.concatenate([session.run(encoder.pad(encoder.encode(batch))) for batch in batches])


@pytest.mark.parametrize("family", INT8)
def test_int8_answers_do_not_depend_on_the_company(
    family: str, quantized: Callable[[str], bytes], encoder: TextEncoder
) -> None:
    """Bit for bit: alone, in a batch of 32 padded to a longer text, and in any order."""
    model, mates = quantized(family), texts([60], seed=9)
    alone = logits_of(model, encoder, [[text] for text in TEST])
    order = np.random.default_rng(1).permutation(len(TEST))
    together = logits_of(model, encoder, [[*TEST[:31], *mates], [*TEST[31:], *mates]])
    shuffled = logits_of(model, encoder, [[TEST[i] for i in order]])
    assert np.array_equal(np.delete(together, [31, len(TEST) + 1], axis=0), alone)
    assert np.array_equal(shuffled, alone[order])


@pytest.mark.parametrize("family", INT8)
def test_int8_probabilities_are_close_to_fp32(
    family: str, quantized: Callable[[str], bytes], architecture: Callable[[str], Architecture], encoder: TextEncoder
) -> None:
    exact = lean.write(architecture(family), FloatProducts()).SerializeToString()
    found, expected = (logits_of(model, encoder, [TEST]) for model in (quantized(family), exact))
    spread = expected.std(axis=0).mean()  # what tells texts apart; releases of transformers make other random weights
    assert np.abs(found - expected).max() < spread
    assert (found - expected).var() < 0.03 * spread**2
    assert np.abs(softmax(found) - softmax(expected)).mean() < 0.02


def test_int8_files_are_smaller(quantized: Callable[[str], bytes], architecture: Callable[[str], Architecture]) -> None:
    assert len(quantized("bert")) < 0.7 * len(lean.write(architecture("bert"), FloatProducts()).SerializeToString())
