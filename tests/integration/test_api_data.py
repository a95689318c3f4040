"""Labels and columns of data in memory, from what a caller gives to what a tuned model is asked."""

from collections import Counter

import datasets
import pandas
import pytest

from sentopt import recipe as recipes
from sentopt.api import arguments
from sentopt.data import sources, splits
from sentopt.data.splits import CleanData
from sentopt.errors import DataError
from sentopt.stages import prepare

TEXTS = [f"text number {i} of all" for i in range(300)]
NAMES = list("abcdef")


def for_an_unnamed_model(data: object, outputs: int) -> CleanData:
    """The data as `optimize` gives it to a model whose outputs are LABEL_0, LABEL_1, ..."""
    given = arguments.data_of(data, {}, labels=[str(i) for i in range(outputs)], tuned=True)
    section = recipes.resolve({"run": {"name": "x"}}, given.overrides, source="test").data
    cleaned = splits.clean(sources.load(section, given.rows), section, seed=1, tuned=True)
    unnamed = [f"LABEL_{i}" for i in range(outputs)]
    return prepare.in_order_of_model(cleaned, prepare.named_by_user(unnamed, section.labels), counted=True)


def used(data: CleanData) -> list[int]:
    return sorted(Counter(example.label for example in data.splits["test"]))


@pytest.mark.parametrize("numbers", [[0, 1, 2, 4, 5], [0, 1, 2, 3, 4], [1, 2]])
def test_numbers_and_names_of_a_dataset_are_outputs_by_position(numbers: list[int]) -> None:
    labels = [numbers[i % len(numbers)] for i in range(300)]
    assert used(for_an_unnamed_model((TEXTS, labels), 6)) == numbers
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=NAMES)})
    table = datasets.Dataset.from_dict({"text": TEXTS, "label": labels}, features=features)
    found = for_an_unnamed_model(table, 6)
    assert (used(found), found.labels) == (numbers, tuple(NAMES))


def test_a_number_that_no_output_has_is_refused() -> None:
    with pytest.raises(DataError, match="a label that is not one of 0, 1, 2: train row 3: '3'"):
        for_an_unnamed_model((TEXTS, [1 + i % 3 for i in range(300)]), 3)


def test_numbers_in_files_that_lack_0_may_count_from_1() -> None:
    cleaned = splits.clean(
        arguments.data_of((TEXTS, [1 + i % 2 for i in range(300)]), {}).rows or pytest.fail("no rows"),
        recipes.DataSection(),
        seed=1,
        tuned=True,
    )
    with pytest.raises(DataError, match="3 outputs without names, the data has 2 labels: 1, 2"):
        prepare.in_order_of_model(cleaned, ["LABEL_0", "LABEL_1", "LABEL_2"])


def test_columns_without_names_are_named_by_their_numbers() -> None:
    frame = pandas.DataFrame([("fine", "good"), ("awful", "bad")])
    settings = arguments.settings_of({}, {"text_column": 0, "label_column": 1})
    given = arguments.data_of(frame, settings)
    section = recipes.resolve({"run": {"name": "x"}}, {**given.overrides, **settings}, source="test").data
    assert (section.text_column, section.label_column) == ("0", "1")
    assert given.rows is not None
    assert [(row.text, row.label) for row in given.rows.splits["train"]] == [("fine", "good"), ("awful", "bad")]
