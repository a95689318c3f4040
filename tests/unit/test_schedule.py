import pytest

from sentopt import recipe
from sentopt.recipe import ENOUGH_STEPS, TrainSection
from sentopt.training import schedule

TEXTS = {  # of the training splits, at least
    "imdb-2k-distilbert": 2000,
    "imdb-8k-distilbert": 8000,
    "imdb-8k-minilm": 8000,
    "quickstart": 10_734,
    "sst2-distilbert": 60_000,
    "sst2-minilm": 60_000,
    "trainer-basics": 2000,
    "sst2-mpnet": 67_000,
    "tweets-gpt2": 40_000,
    "tweets-minilm": 40_000,
    "tweets-mpnet": 40_000,
    "imdb-8k-mpnet": 8_000,
}


@pytest.mark.parametrize(
    ("texts", "epochs", "steps"),
    [(50, 10.0, 10), (200, 10.0, 40), (1000, 10.0, 160), (5000, 4.0, 316), (12_800, 1.5, 300)],
)
def test_few_texts_are_trained_on_for_more_epochs(texts: int, epochs: float, steps: int) -> None:
    section = TrainSection(epochs=1.5, batch_size=64, min_steps=ENOUGH_STEPS)
    assert (schedule.epochs_for(section, texts), schedule.steps_for(section, texts)) == (epochs, steps)


def test_epochs_are_never_lowered() -> None:
    assert schedule.epochs_for(TrainSection(epochs=20, min_steps=ENOUGH_STEPS), 100) == 20
    assert schedule.epochs_for(TrainSection(epochs=0.5, min_steps=ENOUGH_STEPS), 1_000_000) == 0.5


def test_the_least_number_of_steps_is_reached_where_ten_epochs_allow_it() -> None:
    for texts in range(960, 20_000, 117):
        section = TrainSection(epochs=0.1, min_steps=ENOUGH_STEPS, gradient_accumulation=2, batch_size=16)
        assert schedule.steps_for(section, texts) >= ENOUGH_STEPS


def test_without_a_least_number_of_steps_epochs_are_what_the_recipe_says() -> None:
    assert schedule.epochs_for(TrainSection(epochs=1.5), 10) == 1.5


def test_a_stated_number_of_steps_decides() -> None:
    section = TrainSection(epochs=3, max_steps=7, min_steps=ENOUGH_STEPS)
    assert (schedule.epochs_for(section, 1000), schedule.steps_for(section, 1000)) == (3, 7)


def test_batches_and_accumulated_batches_are_rounded_up() -> None:
    assert schedule.steps_per_epoch(TrainSection(batch_size=32), 1044) == 33
    assert schedule.steps_per_epoch(TrainSection(batch_size=32, gradient_accumulation=4), 1044) == 9
    assert schedule.steps_per_epoch(TrainSection(batch_size=32), 1) == 1


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_shipped_recipes_train_for_exactly_their_epochs(name: str) -> None:
    train = recipe.load(name).train
    assert schedule.epochs_for(train, TEXTS[name]) == train.epochs
