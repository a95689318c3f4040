"""What rank 0 of a distributed training tells the other ranks before it trains."""

from __future__ import annotations

from sentopt import backbones
from sentopt.recipe import ModelSection
from sentopt.training import distributed


def announce(key: str, model: ModelSection) -> None:
    """Tell the other ranks the fingerprint of the training to come; empty where there is nothing to train.

    The pretrained model is fetched before, once for all of them.
    """
    if distributed.world_size() == 1:
        return
    if key:
        backbones.resolve(model.backbone, model.revision)
    distributed.broadcast(key)


def announced() -> str:
    """What rank 0 announces, in the other ranks."""
    return distributed.broadcast(None) or ""
