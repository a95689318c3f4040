"""The lean graph of ModernBERT: local attention in both of its forms, its settings, and their names by version."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.numpy import load_file, save_file

from sentopt.errors import ExportError
from sentopt.graph import families, lean
from sentopt.graph.products import FloatProducts
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import Batch

LONG = {"max_position_embeddings": 1_200}


def session_of(folder: Path) -> OnnxSession:
    return OnnxSession(lean.write(families.read(folder), FloatProducts()).SerializeToString())


def padded(lengths: list[int], width: int = 0) -> Batch:
    texts = tiny_models.texts(lengths)
    ids = np.zeros((len(texts), max(width, *lengths)), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return Batch(ids, mask, np.zeros_like(ids))


def difference(folder: Path, batches: list[Batch], **changes: object) -> float:
    """The largest difference of a logit from PyTorch's."""
    model = tiny_models.save("modernbert", folder, **changes)
    session, largest = session_of(folder), 0.0
    for batch in batches:
        with torch.no_grad():
            expected = model(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)).logits.numpy()
        largest = max(largest, float(np.abs(session.run(batch) - expected).max()))
    return largest


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("local_attention", [2, 12, 128, 129, 130, 300])
def test_long_texts_are_computed_as_transformers_does(tmp_path: Path, local_attention: int, pooling: str) -> None:
    """256 tokens are the longest batch whose scores are all computed, if the window is 64 or less on each side."""
    batches = [padded(lengths) for lengths in ([200, 256], [257], [300, 5, 256, 129], [640, 1], [1_111, 700])]
    settings = {**LONG, "local_attention": local_attention, "classifier_pooling": pooling}
    assert difference(tmp_path, batches, **settings) < 1e-5


def test_a_local_layer_at_the_end_reads_its_window_alone(tmp_path: Path) -> None:
    settings = {**LONG, "num_hidden_layers": 3, "local_attention": 12}
    assert difference(tmp_path, [padded([30, 3]), padded([300, 40])], **settings) < 1e-5


def test_the_company_of_a_long_text_changes_next_to_nothing(tmp_path: Path) -> None:
    tiny_models.save("modernbert", tmp_path, **LONG)
    session, lengths = session_of(tmp_path), [100, 7, 240]
    alone, beside = session.run(padded(lengths)), session.run(padded(lengths, width=600))
    assert np.abs(alone - beside).max() < 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), True),
        {"global_attn_every_n_layers": 1},
        {"global_attn_every_n_layers": 2, "num_hidden_layers": 5},
        {"num_hidden_layers": 1},
        {"hidden_activation": "gelu_new", "classifier_activation": "relu"},
        {"classifier_pooling": "mean", "num_hidden_layers": 1},
    ],
    ids=str,
)
def test_every_setting_is_that_of_transformers(tmp_path: Path, changes: dict[str, object]) -> None:
    assert difference(tmp_path, [padded([13, 6]), padded([40])], **changes) < 1e-5


def test_both_names_of_a_setting_are_read(tmp_path: Path) -> None:
    """transformers 5 lists the kind of each layer, and has the wavelengths by kind."""
    tiny_models.save("modernbert", tmp_path)
    path = tmp_path / "config.json"
    given = json.loads(path.read_text())
    for key in (
        "layer_types",
        "rope_parameters",
        "global_attn_every_n_layers",
        "global_rope_theta",
        "local_rope_theta",
    ):
        given.pop(key, None)
    older = {"global_attn_every_n_layers": 3, "global_rope_theta": 900.0, "local_rope_theta": 90.0}
    newer = {
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 900.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
        },
    }
    kinds = []
    for settings in (older, newer, {**older, "local_rope_theta": None}, {}):
        path.write_text(json.dumps({**given, **settings}))
        kinds.append([(block.window, block.rope) for block in families.read(tmp_path).blocks])
    assert kinds[0] == kinds[1] == [(None, 900.0), (6, 90.0), (6, 90.0), (None, 900.0)]
    assert [rope for _, rope in kinds[2]] == [900.0] * 4
    assert [rope for _, rope in kinds[3]] == [160_000.0, 10_000.0, 10_000.0, 160_000.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling with rope_type = 'linear'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_parameters with rope_type = 'yarn'"),
        (
            {"rope_parameters": {"sliding_attention": {"rope_type": "default", "partial_rotary_factor": 0.5}}},
            "rope_parameters with partial_rotary_factor = 0.5",
        ),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types with ['linear_attention']"),
        ({"hidden_activation": "silu"}, "activation 'silu'"),
        ({"classifier_activation": "silu"}, "activation 'silu'"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "modernbert", **changes}))
    assert reason in str(families.unsupported_reason(tmp_path))


def test_a_missing_bias_is_named_only_where_there_has_to_be_one(tmp_path: Path) -> None:
    tiny_models.save("modernbert", tmp_path, norm_bias=True)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.final_norm.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=r"model\.final_norm\.bias"):
        families.read(tmp_path)
