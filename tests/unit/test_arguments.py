"""What callers pass to the runtime: numbers, truth values and texts, refused in words where they mean nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sentopt
from sentopt import Classifier
from sentopt.errors import InputError
from sentopt.runtime import arguments, trials, tuning
from sentopt.runtime.batching import in_order
from sentopt.runtime.options import Options
from sentopt.runtime.session import FloatArray, session_options
from sentopt.runtime.tokenization import Batch, TextEncoder

WRONG_NUMBERS = [0, -1, True, False, np.True_, 2.0, 2.5, float("nan"), float("inf"), "2", b"2", [2], np.float32(2), 1j]


class Zeros:
    """An engine that answers nothing."""

    def run(self, batch: Batch) -> FloatArray:
        return np.zeros((len(batch.input_ids), 3), dtype=np.float32)


@pytest.fixture
def classifier(backbone: Path) -> Classifier:
    return Classifier(Zeros(), TextEncoder.load(backbone, max_length=8), ("a", "b", "c"))


NUMBERS: dict[str, Callable[[Classifier, Any], object]] = {
    "threads": lambda classifier, value: Options(threads=value),
    "threads of a session": lambda classifier, value: session_options(value),
    "threads by default": lambda classifier, value: tuning.default(value),
    "batch_size": lambda classifier, value: classifier.logits(["one"] * 3, batch_size=value),
    "batch_size of tokens": lambda classifier, value: classifier.logits_of([], batch_size=value),
    "window": lambda classifier, value: classifier.stream(["one"], window=value),
    "size": lambda classifier, value: in_order(3, value),
}


@pytest.mark.parametrize("wrong", WRONG_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_whole_and_at_least_one(classifier: Classifier, name: str, wrong: object) -> None:
    with pytest.raises(InputError, match=rf"^{name.split()[0]} must be .*at least 1.*found "):
        NUMBERS[name](classifier, wrong)


@pytest.mark.parametrize("right", [1, 3, np.int64(2), np.uint8(2)])
@pytest.mark.parametrize("name", NUMBERS)
def test_whole_numbers_of_numpy_are_taken(classifier: Classifier, name: str, right: int) -> None:
    NUMBERS[name](classifier, right)


def test_numbers_of_an_encoder_are_checked(backbone: Path) -> None:
    with pytest.raises(InputError, match=r"^max_length must be at least 1, found -3$"):
        TextEncoder.load(backbone, max_length=-3)
    with pytest.raises(InputError, match=r"^pad_token_id must be a whole number, at least 0, found 1\.5 \(float\)$"):
        TextEncoder.load(backbone, max_length=8, pad_token_id=1.5)  # type: ignore[arg-type]


def test_a_number_too_large_is_named_with_its_bounds() -> None:
    assert arguments.whole_number("port", 7860, least=0, most=65535) == 7860
    with pytest.raises(InputError, match=r"^port must be from 0 to 65535, found 70000; 0 takes a free one$"):
        arguments.whole_number("port", 70000, least=0, most=65535, hint="0 takes a free one")


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), "0.5", True, None, [0.5], 10**400])
def test_a_probability_lies_between_0_and_1(wrong: object) -> None:
    with pytest.raises(InputError, match=r"^abstain_below must be a probability from 0 to 1, found "):
        Options(abstain_below=wrong)  # type: ignore[arg-type]
    for right in (0, 1, 0.5, np.float32(0.5)):
        assert arguments.probability("abstain_below", right) == float(right)


@pytest.mark.parametrize("name", ["check", "fallback"])
def test_a_truth_value_is_no_text(name: str) -> None:
    Options(**{name: np.True_})
    for wrong in ("no", "false", 1, None):
        with pytest.raises(InputError, match=f"^{name} must be True or False, found "):
            Options(**{name: wrong})


class Table:
    """What tables of pandas, polars, pyarrow and datasets have in common."""

    column_names = ("text", "label")

    def __getitem__(self, name: str) -> list[str]:
        return ["great"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.column_names)


REFUSED = [
    ("one text", r"found one text \(str\); call the classifier itself"),
    (b"one text", r"found one text \(bytes\)"),
    (bytearray(b"one text"), r"found one text \(bytearray\)"),
    ({"text": "great"}, r"found a mapping \(dict\), whose elements are its keys; pass list"),
    (Table(), r"found a table \(Table\), whose elements are no texts; pass its column of texts"),
    ({"great", "terrible"}, r"found a set, which has no order; pass a list"),
    (frozenset({"great"}), r"found a frozenset, which has no order"),
    (None, r"expected an iterable of texts, found None$"),
    (7, r"expected an iterable of texts, found 7 \(int\)"),
    (np.array("one text"), r"expected an iterable of texts, found array"),
    (object, r"expected an iterable of texts, found "),
]
CALLS: dict[str, Callable[[Classifier, Any], object]] = {
    "predict": lambda classifier, texts: classifier.predict(texts),
    "predict_proba": lambda classifier, texts: classifier.predict_proba(texts),
    "logits": lambda classifier, texts: classifier.logits(texts),
    "stream": lambda classifier, texts: list(classifier.stream(texts)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("texts", "message"), REFUSED, ids=[type(texts).__name__ for texts, _ in REFUSED])
def test_what_holds_no_texts_is_refused(classifier: Classifier, name: str, texts: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CALLS[name](classifier, texts)


@pytest.mark.parametrize("name", ["pandas", "polars", "pyarrow", "datasets"])
def test_tables_are_refused_and_their_columns_taken(classifier: Classifier, name: str) -> None:
    library = pytest.importorskip(name)
    columns = {"text": ["great", "terrible"], "label": ["1", "0"]}
    table = {
        "pandas": lambda: library.DataFrame(columns),
        "polars": lambda: library.DataFrame(columns),
        "pyarrow": lambda: library.table(columns),
        "datasets": lambda: library.Dataset.from_dict(columns),
    }[name]()
    with pytest.raises(InputError, match="found a table"):
        classifier.predict(table)
    column = table["text"].to_pylist() if name == "pyarrow" else table["text"]
    assert len(classifier.predict(column)) == 2


@pytest.mark.parametrize(
    "texts",
    [
        ("great", "terrible"),
        np.array(["great", "terrible"]),
        np.array(["great", "terrible"], dtype=object),
        (text for text in ("great", "terrible")),
        {"great": 1, "terrible": 2}.keys(),
        {1: "great", 2: "terrible"}.values(),
        map(str.lower, ["Great", "Terrible"]),
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_every_iterable_of_texts_is_taken(classifier: Classifier, texts: Any) -> None:
    assert len(classifier.predict(texts)) == 2


@pytest.mark.parametrize("wrong", [None, float("nan"), ["nested"], b"bytes", 3, np.array(["a", "b"])])
def test_what_is_no_text_is_named_with_its_place(classifier: Classifier, wrong: object) -> None:
    texts: list[Any] = ["fine"] * 1500 + [wrong]
    for name in CALLS:
        with pytest.raises(InputError, match=f"^text 1500 is {type(wrong).__name__}, expected str"):
            CALLS[name](classifier, texts)
    with pytest.raises(InputError, match=r"^text 0 is str, expected the Tokens of a TextEncoder"):
        classifier.predict_tokens(["text"])  # type: ignore[list-item]


def test_one_text_is_not_tuned_with_letter_by_letter(bundle: Path) -> None:
    with pytest.raises(InputError, match="found one text"):
        trials.tune(bundle, "great")


@pytest.mark.parametrize("wrong", [None, 1, b"x", [], ""])
def test_a_bundle_is_named_by_a_path(wrong: object) -> None:
    with pytest.raises(InputError, match=r"^bundle must be a path, found "):
        Classifier.load(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^bundle must be a path, found "):
        sentopt.check(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^run_dir must be a path, found "):
        sentopt.open(wrong)  # type: ignore[arg-type]
