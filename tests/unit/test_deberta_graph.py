"""The lean graph of DeBERTa-v2 and -v3: its settings, and the rows of distances, against transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch

from sentopt.graph import deberta, families, lean
from sentopt.graph.products import FloatProducts
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import Batch

LENGTHS = [[1], [2], [40, 3], [300, 170]]
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script")


def difference(folder: Path, **changes: object) -> float:
    """The largest difference of a logit from PyTorch's, on padded batches."""
    model = tiny_models.save("deberta-v2", folder, **{"max_position_embeddings": 320, **changes})
    session, largest = OnnxSession(lean.write(families.read(folder), FloatProducts()).SerializeToString()), 0.0
    for lengths in LENGTHS:
        ids = torch.zeros((len(lengths), max(lengths)), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(tiny_models.texts(lengths)):
            ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), 1
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).logits.numpy()
        given = Batch(ids.numpy(), mask.numpy(), np.zeros_like(ids.numpy()))
        largest = max(largest, float(np.abs(session.run(given) - expected).max()))
    return largest


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"share_att_key": False},
        {"share_att_key": False, "pos_att_type": ["c2p"]},
        {"pos_att_type": "p2c"},
        {"pos_att_type": "c2p|p2c", "norm_rel_ebd": "none"},
        {"pos_att_type": []},
        {"pos_att_type": None, "relative_attention": False, "position_biased_input": True},
        {"relative_attention": False},
        {"position_buckets": -1},
        {"position_buckets": -1, "max_relative_positions": 20},
        {"position_buckets": 32, "max_relative_positions": 100},
        {"position_biased_input": True, "type_vocab_size": 2},
        {"type_vocab_size": 2},
        {"num_hidden_layers": 1, "hidden_act": "gelu_new", "pooler_hidden_act": "tanh"},
    ],
    ids=str,
)
def test_every_setting_is_that_of_transformers(tmp_path: Path, changes: dict[str, object]) -> None:
    assert difference(tmp_path, **changes) < 1e-5


@pytest.mark.parametrize("buckets", [-1, 16, 32, 256])
@pytest.mark.parametrize(("tokens", "longest"), [(512, -1), (70, -1), (600, 512), (512, 300)])
def test_distances_have_the_rows_of_transformers(tokens: int, longest: int, buckets: int) -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    config = {"max_position_embeddings": tokens, "max_relative_positions": longest, "position_buckets": buckets}
    longest = longest if longest > 0 else tokens
    behind = torch.arange(tokens - 1, -tokens, -1)
    if buckets > 0:
        behind = make_log_bucket_position(behind, buckets, longest).long()
    span = buckets if buckets > 0 else longest
    assert deberta.distance_rows(config).tolist() == (behind + span).clamp(0, 2 * span - 1).tolist()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size = 3: convolutions are not supported"),
        ({"attention_head_size": 16}, "attention_head_size = 16 is not supported; expected 8"),
        ({"embedding_size": 16}, "embedding_size = 16 is not supported; expected hidden_size, 32"),
        ({"pooler_hidden_act": "silu"}, "activation 'silu'"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    tiny_models.save("deberta-v2", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert reason in str(families.unsupported_reason(tmp_path))
