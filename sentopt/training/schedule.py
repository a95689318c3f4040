"""How long to train: epochs that fit the number of texts. And the seed."""

from __future__ import annotations

import math

from sentopt.recipe import Recipe, TrainSection

MOST_EPOCHS = 10


def epochs_for(section: TrainSection, train_texts: int) -> float:
    """The epochs to train for: `section.epochs`, or as many whole ones as `section.min_steps` takes, at most 10.

    Fine-tuning on few texts goes wrong for want of steps rather than of epochs (Mosbach et al., "On the Stability of
    Fine-tuning BERT", and Zhang et al., "Revisiting Few-sample BERT Fine-tuning", both ICLR 2021). The default aim of
    `recipe.ENOUGH_STEPS` is a choice: a little more than the 250 steps of the shortest published recipes. So is the
    bound of 10 epochs, which keeps very small data from being learnt by heart.

    For 1.5 epochs in batches of 64, and that aim: 200 texts are trained for 10 epochs (40 steps), 1,000 for 10 (160),
    5,000 for 4 (316), and 12,800 or more for 1.5.

    Args:
        section: of a checked recipe. Where it states `max_steps`, that decides, and `epochs` is returned as it is.
        train_texts: texts of the training split.
    """
    per_epoch = steps_per_epoch(section, train_texts)
    if section.max_steps or section.epochs * per_epoch >= section.min_steps:
        return section.epochs
    return max(section.epochs, float(min(math.ceil(section.min_steps / per_epoch), MOST_EPOCHS)))


def steps_for(section: TrainSection, train_texts: int) -> int:
    """Optimizer steps of the whole training."""
    epochs = epochs_for(section, train_texts)
    return section.max_steps or math.ceil(steps_per_epoch(section, train_texts) * epochs)


def steps_per_epoch(section: TrainSection, train_texts: int) -> int:
    """Optimizer steps in which every training text is seen once; an incomplete batch is a batch, too."""
    batches = math.ceil(train_texts / section.batch_size)
    return max(1, math.ceil(batches / section.gradient_accumulation))


def seed_of(recipe: Recipe) -> int:
    """The seed of everything that is random in a training."""
    return recipe.train.seed or recipe.run.seed
