"""Lean graphs of every family against the models that transformers makes of the same checkpoints."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tiny_models
import torch
from safetensors.numpy import load_file, save_file

from sentopt.errors import ExportError
from sentopt.graph import families, lean
from sentopt.graph.products import FloatProducts
from sentopt.graph.weights import ACTIVATIONS
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.tokenization import Batch

ERF_GELUS = ["bert", "distilbert", "roberta", "electra", "albert", "mpnet"]


@dataclass(frozen=True)
class Pair:
    """A transformers model and the lean graph of its checkpoint."""

    model: Any
    graph: onnx.ModelProto
    session: OnnxSession

    def pad(self, texts: list[list[int]], *, extra: int = 0, left: bool = False) -> Batch:
        width = max(map(len, texts)) + extra
        ids = np.full((len(texts), width), self.model.config.pad_token_id or 0, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            columns = slice(width - len(text), width) if left else slice(len(text))
            ids[row, columns], mask[row, columns] = text, 1
        return Batch(ids, mask, np.zeros_like(ids))

    def expected(self, batch: Batch, **inputs: object) -> FloatArray:
        ids, mask = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)
        with torch.no_grad():
            logits: FloatArray = self.model(input_ids=ids, attention_mask=mask, **inputs).logits.numpy()
        return logits

    def difference(self, batch: Batch, **inputs: object) -> float:
        return float(np.abs(self.session.run(batch) - self.expected(batch, **inputs)).max())

    @property
    def longest(self) -> int:
        return tiny_models.POSITIONS - (2 if self.model.config.model_type in ("roberta", "xlm-roberta", "mpnet") else 0)


def pair_of(family: str, folder: Path, **changes: object) -> Pair:
    model = tiny_models.save(family, folder, **changes)
    graph = lean.write(families.read(folder), FloatProducts())
    return Pair(model, graph, OnnxSession(graph.SerializeToString()))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    made: dict[str, Pair] = {}

    def get(family: str) -> Pair:
        if family not in made:
            made[family] = pair_of(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get


@pytest.fixture(params=list(tiny_models.FAMILIES))
def pair(request: pytest.FixtureRequest, pairs: Callable[[str], Pair]) -> Pair:
    return pairs(request.param)


@pytest.mark.parametrize("lengths", [[1], [17], [23, 1, 2, 16, 9], [31] * 3], ids=str)
def test_logits_are_those_of_transformers(pair: Pair, lengths: list[int]) -> None:
    assert pair.difference(pair.pad(tiny_models.texts(lengths))) < 1e-5


def test_logits_are_those_of_transformers_at_the_maximum_length(pair: Pair) -> None:
    assert pair.difference(pair.pad(tiny_models.texts([pair.longest, 5, pair.longest]))) < 1e-5


def test_the_models_tell_texts_apart(pair: Pair) -> None:
    """Or the tests above would compare constants; the order of words counts as well."""
    (text,) = tiny_models.texts([12])
    logits = pair.session.run(pair.pad([text, text[:1] + text[:0:-1], *tiny_models.texts([12] * 6, seed=1)]))
    assert logits.std(axis=0).min() > 0.05
    assert np.abs(logits[0] - logits[1]).max() > 0.01


def test_padding_columns_change_nothing(pair: Pair) -> None:
    texts = tiny_models.texts([11, 4, 1])
    plain, padded = pair.session.run(pair.pad(texts)), pair.session.run(pair.pad(texts, extra=30))
    assert np.abs(plain - padded).max() < 1e-6


def test_padding_columns_change_no_bit_where_the_hidden_size_is_large(tmp_path: Path) -> None:
    """onnxruntime cuts a sum into blocks whose length depends on the number of columns of the product."""
    sizes = {"hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 1, "max_position_embeddings": 256}
    bert = pair_of("bert", tmp_path, **sizes)
    (text,) = tiny_models.texts([20])
    alone, padded = (bert.session.run(bert.pad([text], extra=extra)) for extra in (0, 180))
    assert np.array_equal(alone, padded)


@pytest.mark.parametrize("family", ["bert", "bert-one-type", "electra"])
def test_token_type_zero_is_folded_in(family: str, pairs: Callable[[str], Pair]) -> None:
    batch = pairs(family).pad(tiny_models.texts([9, 14]))
    assert pairs(family).difference(batch, token_type_ids=torch.zeros((2, 14), dtype=torch.int64)) < 1e-5


def test_distances_of_tokens_fall_in_the_buckets_of_transformers() -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    expected = MPNetEncoder.relative_position_bucket(torch.arange(-513, 514))
    assert families.distance_buckets(514).tolist() == expected.tolist()


@pytest.mark.parametrize("sharing", [(4, 1, 1), (4, 2, 1), (5, 3, 1), (3, 1, 3), (4, 2, 2)], ids=str)
def test_albert_shares_layers_as_transformers_does(tmp_path: Path, sharing: tuple[int, int, int]) -> None:
    layers, groups, inner = sharing
    settings = {"num_hidden_layers": layers, "num_hidden_groups": groups, "inner_group_num": inner}
    albert = pair_of("albert", tmp_path, **settings)
    assert albert.difference(albert.pad(tiny_models.texts([13, 6]))) < 1e-5
    assert families.layers(tmp_path) == len(families.read(tmp_path).blocks) == layers * inner


def test_an_albert_of_the_width_of_its_embeddings_projects_them_nevertheless(tmp_path: Path) -> None:
    albert = pair_of("albert", tmp_path, embedding_size=32)
    assert albert.difference(albert.pad(tiny_models.texts([13, 6]))) < 1e-5


def test_weights_that_layers_share_are_in_the_file_once(tmp_path: Path) -> None:
    sizes = []
    for layers in (3, 4, 9):
        model = pair_of("albert", tmp_path / str(layers), num_hidden_layers=layers)
        sizes.append(sum(len(tensor.raw_data) for tensor in model.graph.graph.initializer))
    assert sizes[2] - sizes[1] == 5 * (sizes[1] - sizes[0]) < 5 * 2_000  # small vectors alone; a layer has 34,000 bytes


def test_left_padding_changes_nothing_for_gpt2(pairs: Callable[[str], Pair]) -> None:
    gpt2, texts = pairs("gpt2"), tiny_models.texts([20, 1, 7])
    alone = np.concatenate([gpt2.expected(gpt2.pad([text])) for text in texts])
    assert np.abs(gpt2.session.run(gpt2.pad(texts, left=True, extra=3)) - alone).max() < 1e-5


@pytest.mark.parametrize("changes", [{"scale_attn_by_inverse_layer_idx": True}, {"scale_attn_weights": False}], ids=str)
def test_gpt2_with_other_scales_of_its_scores_is_refused(tmp_path: Path, changes: dict[str, bool]) -> None:
    """Attention functions of transformers disagree on them: the sdpa of 4.57 takes no notice."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **changes}))
    assert f"{next(iter(changes))} = " in str(families.unsupported_reason(tmp_path))


def test_a_checkpoint_in_several_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "in several files" in str(families.unsupported_reason(tmp_path))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_is_computed_as_in_transformers(tmp_path: Path, activation: str) -> None:
    bert = pair_of("bert", tmp_path, hidden_act=activation)
    assert bert.difference(bert.pad(tiny_models.texts([13, 6]))) < 1e-5


def test_one_layer_is_enough(tmp_path: Path) -> None:
    bert = pair_of("bert", tmp_path, num_hidden_layers=1)
    assert bert.difference(bert.pad(tiny_models.texts([13, 6]))) < 1e-5


def test_inputs_and_outputs(pair: Pair) -> None:
    assert [value.name for value in pair.graph.graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in pair.graph.graph.output] == ["logits"]


def test_onnxruntime_fuses_the_gelus_of_modernbert_but_no_residual(
    pairs: Callable[[str], Pair], tmp_path: Path
) -> None:
    found = optimized_operators(pairs("modernbert").graph, tmp_path)
    assert (found["Gelu"], found["Erf"], found["SkipLayerNormalization"]) == (4 + 1, 0, 0)
    assert found["LayerNormalization"] == 1 + 3 + 4 + 1 + 1


@pytest.mark.parametrize("family", ERF_GELUS)
def test_onnxruntime_fuses_gelu_but_no_residual(family: str, pairs: Callable[[str], Pair], tmp_path: Path) -> None:
    found = optimized_operators(pairs(family).graph, tmp_path)
    assert found["Gelu"] + found["BiasGelu"] + found["FastGelu"] == (3 if family == "electra" else 2)
    assert found["Erf"] == 0
    assert found["SkipLayerNormalization"] == 0
    assert found["LayerNormalization"] == 5


def test_onnxruntime_fuses_the_gelu_of_gpt2_but_no_residual(pairs: Callable[[str], Pair], tmp_path: Path) -> None:
    found = optimized_operators(pairs("gpt2").graph, tmp_path)
    assert (found["FastGelu"], found["Tanh"]) == (2, 0)
    assert found["SkipLayerNormalization"] == 0
    assert found["LayerNormalization"] == 5


def optimized_operators(graph: onnx.ModelProto, folder: Path) -> Counter[str]:
    """Node types that onnxruntime runs under the options that an application gets by default."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("bert", {"model_type": "big_bird"}, "architecture 'big_bird' is not one of bert, distilbert, "),
        ("bert", {"model_type": None}, "architecture None"),
        ("bert", {"hidden_act": "silu"}, "activation 'silu'"),
        ("distilbert", {"activation": "silu"}, "activation 'silu'"),
        ("gpt2", {"activation_function": "silu"}, "activation 'silu'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ("roberta", {"is_decoder": True}, "is_decoder = True"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_reason(
    tmp_path: Path, family: str, changes: dict[str, object], reason: str
) -> None:
    tiny_models.save(family, tmp_path)
    assert families.unsupported_reason(tmp_path) is None
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert reason in (families.unsupported_reason(tmp_path) or "")
    with pytest.raises(ExportError, match="no lean graph can be written"):
        families.read(tmp_path)


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    tiny_models.save("bert", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "model.safetensors" in (families.unsupported_reason(tmp_path) or "")


def test_a_checkpoint_without_a_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot read .*config\.json"):
        families.unsupported_reason(tmp_path)


@pytest.mark.parametrize(
    ("family", "missing"),
    [
        ("bert", "bert.encoder.layer.1.output.dense.weight"),
        ("roberta", "classifier.out_proj.weight"),
        ("electra", "electra.embeddings_project.weight"),
        ("gpt2", "transformer.ln_f.bias"),
    ],
)
def test_a_missing_weight_is_named(tmp_path: Path, family: str, missing: str) -> None:
    tiny_models.save(family, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[missing]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=missing):
        families.read(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_checkpoints_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    model = tiny_models.build("bert").to(dtype)
    model.save_pretrained(tmp_path)
    session = OnnxSession(lean.write(families.read(tmp_path), FloatProducts()).SerializeToString())
    pair = Pair(model.float(), onnx.ModelProto(), session)
    assert pair.difference(pair.pad(tiny_models.texts([13, 6]))) < 1e-5
