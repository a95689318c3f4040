import itertools

import numpy as np
import pytest

from sentopt.errors import InputError
from sentopt.runtime import batching


@pytest.mark.parametrize("seed", range(3))
def test_length_sorted_batches_hold_every_text_within_both_bounds(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 600, size=257).tolist()
    batches = batching.by_length(lengths, max_batch=8, max_tokens=1024)
    assert sorted(np.concatenate(batches).tolist()) == list(range(257))
    widths = [max(lengths[i] for i in batch) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    assert all(
        len(batch) <= 8 and (len(batch) == 1 or len(batch) * width <= 1024)
        for batch, width in zip(batches, widths, strict=True)
    )


def test_no_texts() -> None:
    assert batching.by_length([], max_batch=8, max_tokens=64) == []
    assert batching.in_order(0, 4) == []


def test_in_order() -> None:
    assert [batch.tolist() for batch in batching.in_order(5, 2)] == [[0, 1], [2, 3], [4]]


def test_a_batch_ends_where_padding_costs_more_than_another_call() -> None:
    lengths = [40, 12, 39, 12, 38, 11]
    batches = batching.by_length(lengths, max_batch=6, max_tokens=512)
    assert [[lengths[i] for i in batch] for batch in batches] == [[40, 39, 38], [12, 12, 11]]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (3, [3]), (7, [3, 3, 1])])
def test_batched_keeps_every_item_in_order(count: int, sizes: list[int]) -> None:
    batches = list(batching.batched(range(count), 3))
    assert [len(batch) for batch in batches] == sizes
    assert [item for batch in batches for item in batch] == list(range(count))


def test_batched_reads_an_endless_iterable_lazily() -> None:
    numbers = itertools.count()
    assert next(batching.batched(numbers, 4)) == [0, 1, 2, 3]
    assert next(numbers) == 4


def test_batches_of_no_items_are_refused() -> None:
    with pytest.raises(InputError, match="size must be at least 1, found 0"):
        next(batching.batched([1], 0))
