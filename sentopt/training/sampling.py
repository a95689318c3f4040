"""The shuffle of training texts, determined by seed and epoch alone.

The length-grouped sampler of transformers draws from the global random state. A training that is resumed within an
epoch would then see different batches than an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from sentopt.recipe import Recipe
from sentopt.training import schedule

_MEGABATCHES = 50


class EpochSampler(Sampler[int]):
    """Shuffles positions. With `group`, the texts of a batch have similar lengths, which reduces padding.

    Grouping follows transformers' `LengthGroupedSampler`: shuffle, split into mega-batches of 50 batches, sort each by
    length. All full batches are then shuffled. The batch with the longest text comes first, so that insufficient memory
    shows at once.
    """

    def __init__(self, lengths: npt.ArrayLike, *, batch_size: int, seed: int, group: bool) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.group = group
        self.epoch = 0

    @classmethod
    def of_recipe(cls, recipe: Recipe, lengths: npt.ArrayLike) -> EpochSampler:
        """The shuffle of a recipe's training."""
        train = recipe.train
        return cls(lengths, batch_size=train.batch_size, seed=schedule.seed_of(recipe), group=train.group_by_length)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the training loop calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.lengths))
        return iter((self._grouped(order, random) if self.group else order).tolist())

    def batches(self) -> list[list[int]]:
        """The positions of each batch of the epoch, in order; the last one may be smaller."""
        order = list(self)
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def _grouped(self, order: np.ndarray, random: np.random.Generator) -> np.ndarray:
        mega = self.batch_size * _MEGABATCHES
        batches: list[np.ndarray] = []
        for start in range(0, len(order), mega):
            chunk = order[start : start + mega]
            chunk = chunk[np.argsort(-self.lengths[chunk], kind="stable")]
            batches.extend(chunk[i : i + self.batch_size] for i in range(0, len(chunk), self.batch_size))
        first = max(range(len(batches)), key=lambda i: (len(batches[i]), self.lengths[batches[i]].max()))
        full = [i for i, batch in enumerate(batches) if len(batch) == self.batch_size and i != first]
        rest = [i for i, batch in enumerate(batches) if len(batch) < self.batch_size and i != first]
        return np.concatenate([batches[i] for i in [first, *random.permutation(full).tolist(), *rest]])
