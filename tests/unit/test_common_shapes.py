"""Batches padded to few shapes, as compiled models want them, are answered as the batches themselves."""

import numpy as np
import pytest
import tiny_models

from sentopt.backends.torch import TorchEngine, to_common_shape
from sentopt.runtime.tokenization import Batch


def batch_of(texts: list[list[int]], padding_id: int) -> Batch:
    ids = np.full((len(texts), max(map(len, texts))), padding_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return Batch(ids, mask, np.zeros_like(ids))


@pytest.mark.parametrize(
    ("texts", "width", "longest", "expected"),
    [(1, 7, 512, (1, 16)), (3, 16, 512, (4, 16)), (5, 17, 512, (8, 32)), (8, 70, 70, (8, 70)), (2, 9, 0, (2, 16))],
)
def test_few_shapes(texts: int, width: int, longest: int, expected: tuple[int, int]) -> None:
    batch = to_common_shape(batch_of(tiny_models.texts([width] * texts), 0), longest, 0)
    assert batch.input_ids.shape == batch.attention_mask.shape == batch.token_type_ids.shape == expected
    assert batch.attention_mask[:, width:].sum() == 0


@pytest.mark.parametrize(
    ("family", "lengths"),
    [
        ("bert", [13, 6, 9]),
        ("distilbert", [70, 3]),
        ("roberta", [13, 6, 9]),
        ("roberta", [68, 3]),
        ("electra", [13, 6, 9]),
        ("gpt2", [13, 6, 9]),
    ],
)
def test_a_common_shape_changes_no_answer(family: str, lengths: list[int]) -> None:
    engine = TorchEngine(tiny_models.build(family))
    batch = batch_of(tiny_models.texts(lengths), engine.module.config.pad_token_id or 0)
    padded = engine.run(to_common_shape(batch, engine.longest, engine.pad_token_id))[: len(lengths)]
    assert np.abs(padded - engine.run(batch)).max() < 1e-5
