import numpy as np
import pytest

from sentopt.training.sampling import EpochSampler

LENGTHS = np.random.default_rng(0).integers(3, 100, size=1003).tolist()


def order(epoch: int, *, seed: int = 1, group: bool = True) -> list[int]:
    sampler = EpochSampler(LENGTHS, batch_size=16, seed=seed, group=group)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("group", [True, False])
def test_every_text_once_and_only_seed_and_epoch_decide(group: bool) -> None:
    assert sorted(order(0, group=group)) == list(range(1003))
    assert order(3, group=group) == order(3, group=group)
    assert order(0, group=group) != order(1, group=group)
    assert order(0, group=group) != order(0, group=group, seed=2)


def padding(positions: list[int]) -> float:
    batches = [[LENGTHS[i] for i in positions[start : start + 16]] for start in range(0, len(positions), 16)]
    return sum(max(batch) * len(batch) for batch in batches) / sum(LENGTHS)


def test_grouping_saves_padding_and_starts_with_the_longest() -> None:
    assert padding(order(0)) < 1.1 < 1.5 < padding(order(0, group=False))
    assert max(LENGTHS) in [LENGTHS[i] for i in order(0)[:16]]


def test_fewer_texts_than_a_batch() -> None:
    assert sorted(EpochSampler([5, 3], batch_size=16, seed=0, group=True)) == [0, 1]
