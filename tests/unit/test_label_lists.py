"""Texts with any number of labels as people have them: columns of 0 and 1, lists, separated names; and their splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import polars
import pyarrow
import pytest
import scipy.sparse
from csv_files import write_csv

from sentopt import recipe
from sentopt.data import label_lists, memory, set_splits, sources, store
from sentopt.data.examples import RawData
from sentopt.data.splits import CleanData
from sentopt.errors import DataError, RecipeError
from sentopt.measure import label_sets
from sentopt.run_dir import RunDir

NAMES = ("anger", "joy", "fear")
SETS: list[tuple[str, ...]] = [("anger",), ("joy", "anger"), (), ("fear",), ("anger", "fear"), ("joy",)]
COUNT = 120
COLUMNS = f"data.label_columns={json.dumps(NAMES)}"


def text(i: int) -> str:
    return f"text {i}"


def set_of(i: int) -> tuple[str, ...]:
    return SETS[i % len(SETS)]


def flags(i: int, yes: Any = 1, no: Any = 0) -> list[Any]:
    return [yes if name in set_of(i) else no for name in NAMES]


def cleaned(raw: RawData, *settings: str) -> CleanData:
    data = recipe.load("quickstart", recipe.parse_settings(["data.dataset=files", "data.train=x", *settings])).data
    assert label_lists.are_sets(raw, data)
    return set_splits.clean(raw, data, seed=42)


def prepared(path: Path, *settings: str) -> CleanData:
    overrides = recipe.parse_settings(["data.dataset=files", f"data.train={path}", *settings])
    data = recipe.load("quickstart", overrides).data
    raw = sources.load(data)
    assert label_lists.are_sets(raw, data)
    return set_splits.clean(raw, data, seed=42)


def sets_of(data: CleanData) -> dict[str, frozenset[str]]:
    return {
        e.text: frozenset(data.labels[i] for i in label_sets.positions(e.label))
        for examples in data.splits.values()
        for e in examples
    }


EXPECTED = {text(i): frozenset(set_of(i)) for i in range(COUNT)}


def as_csv(folder: Path) -> tuple[Path, list[str]]:
    rows = [[text(i), *map(str, flags(i))] for i in range(COUNT)]
    return write_csv(folder / "a.csv", rows, ("text", *NAMES)), [COLUMNS]


def as_words(folder: Path) -> tuple[Path, list[str]]:
    rows = [[text(i), *flags(i, "True", "false")] for i in range(COUNT)]
    return write_csv(folder / "a.csv", rows, ("text", *NAMES)), [COLUMNS]


def as_jsonl(folder: Path) -> tuple[Path, list[str]]:
    rows = [{"text": text(i), **dict(zip(NAMES, flags(i, True, False), strict=True))} for i in range(COUNT)]
    return jsonl(folder, rows), [COLUMNS]


def as_parquet(folder: Path) -> tuple[Path, list[str]]:
    table = pandas.DataFrame([[text(i), *flags(i, 1.0, 0.0)] for i in range(COUNT)], columns=["text", *NAMES])
    table.to_parquet(folder / "a.parquet")
    return folder / "a.parquet", [COLUMNS]


def as_lists(folder: Path) -> tuple[Path, list[str]]:
    return jsonl(folder, [{"text": text(i), "label": list(set_of(i))} for i in range(COUNT)]), []


def as_numbers(folder: Path) -> tuple[Path, list[str]]:
    rows = [{"text": text(i), "label": [NAMES.index(name) for name in set_of(i)]} for i in range(COUNT)]
    return jsonl(folder, rows), [f"data.labels={json.dumps(NAMES)}"]


def as_printed_lists(folder: Path) -> tuple[Path, list[str]]:
    return write_csv(folder / "a.csv", [[text(i), str(list(set_of(i)))] for i in range(COUNT)]), []


def as_lists_of_numpy(folder: Path) -> tuple[Path, list[str]]:
    """As `datasets` and pandas write arrays of names into CSV, without commas: ['joy' 'anger']."""
    return write_csv(folder / "a.csv", [[text(i), str(np.array(set_of(i), dtype=str))] for i in range(COUNT)]), []


def as_numbers_of_numpy(folder: Path) -> tuple[Path, list[str]]:
    numbers = [np.array([NAMES.index(name) for name in set_of(i)], dtype=np.int64) for i in range(COUNT)]
    table = write_csv(folder / "a.csv", [[text(i), str(row)] for i, row in enumerate(numbers)])
    return table, [f"data.labels={json.dumps(NAMES)}"]


def as_list_parquet(folder: Path) -> tuple[Path, list[str]]:
    table = pandas.DataFrame({"text": [*map(text, range(COUNT))], "emotions": [list(set_of(i)) for i in range(COUNT)]})
    table.to_parquet(folder / "a.parquet")
    return folder / "a.parquet", ["data.label_column=emotions"]


def as_separated(folder: Path) -> tuple[Path, list[str]]:
    rows = [[text(i), "; ".join(set_of(i))] for i in range(COUNT)]
    return write_csv(folder / "a.csv", rows), ['data.label_separator=";"']


def as_words_in_a_cell(folder: Path) -> tuple[Path, list[str]]:
    return write_csv(folder / "a.csv", [[text(i), " ".join(set_of(i))] for i in range(COUNT)]), [
        "data.label_separator= "
    ]


def as_features(folder: Path) -> tuple[Path, list[str]]:
    table = with_features()
    table.to_parquet(folder / "a.parquet")
    return folder / "a.parquet", ["data.label_column=labels"]


def with_features() -> datasets.Dataset:
    numbers = [[NAMES.index(name) for name in set_of(i)] for i in range(COUNT)]
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=list(NAMES)))}
    )
    return datasets.Dataset.from_dict({"text": [*map(text, range(COUNT))], "labels": numbers}, features=features)


def jsonl(folder: Path, rows: Sequence[object]) -> Path:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "a.jsonl"


FILES: list[Callable[[Path], tuple[Path, list[str]]]] = [
    as_csv,
    as_words,
    as_jsonl,
    as_parquet,
    as_lists,
    as_numbers,
    as_printed_lists,
    as_lists_of_numpy,
    as_numbers_of_numpy,
    as_list_parquet,
    as_separated,
    as_words_in_a_cell,
    as_features,
]


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_files_give_the_same_sets(write: Callable[[Path], tuple[Path, list[str]]], tmp_path: Path) -> None:
    path, settings = write(tmp_path)
    data = prepared(path, *settings)
    assert sets_of(data) == EXPECTED
    assert sorted(data.labels) == sorted(NAMES)
    assert data.multi_label
    assert {len(data.splits[split]) > 0 for split in ("train", "validation", "test")} == {True}
    assert any(notice.startswith("texts have any number of 3 labels (multi-label): 1.17") for notice in data.notices)


def test_columns_name_the_labels_in_their_order(tmp_path: Path) -> None:
    assert prepared(*(lambda path, settings: (path, *settings))(*as_csv(tmp_path))).labels == NAMES


TABLE = {
    "text": [*map(text, range(COUNT))],
    **{name: [flags(i)[n] for i in range(COUNT)] for n, name in enumerate(NAMES)},
}
LISTS = {"text": TABLE["text"], "label": [list(set_of(i)) for i in range(COUNT)]}
IN_MEMORY: dict[str, tuple[Callable[[], object], dict[str, Any]]] = {
    "pandas": (lambda: pandas.DataFrame(TABLE), {"label_columns": NAMES}),
    "pandas of truth": (lambda: pandas.DataFrame(TABLE).astype(dict.fromkeys(NAMES, bool)), {"label_columns": NAMES}),
    "polars": (lambda: polars.DataFrame(TABLE), {"label_columns": NAMES}),
    "pyarrow": (lambda: pyarrow.table(TABLE), {"label_columns": NAMES}),
    "dataset": (lambda: datasets.Dataset.from_dict(TABLE), {"label_columns": NAMES}),
    "columns": (lambda: TABLE, {"label_columns": NAMES}),
    "dicts": (lambda: pandas.DataFrame(TABLE).to_dict("records"), {"label_columns": NAMES}),
    "sparse matrix": (
        lambda: (TABLE["text"], scipy.sparse.csr_matrix([flags(i) for i in range(COUNT)])),
        {"label_columns": NAMES},
    ),
    "matrix": (lambda: (TABLE["text"], np.array([flags(i) for i in range(COUNT)])), {"label_columns": NAMES}),
    "split": (lambda: {"train": pandas.DataFrame(TABLE)}, {"label_columns": NAMES}),
    "lists": (lambda: (TABLE["text"], LISTS["label"]), {}),
    "pandas of lists": (lambda: pandas.DataFrame(LISTS), {}),
    "pandas of arrays": (lambda: pandas.DataFrame({**LISTS, "label": [np.array(v) for v in LISTS["label"]]}), {}),
    "dataset of lists": (lambda: datasets.Dataset.from_dict(LISTS), {}),
    "dataset with names": (with_features, {"label_column": "labels"}),
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_what_python_hands_over_gives_the_same_sets(kind: str) -> None:
    make, columns = IN_MEMORY[kind]
    raw = memory.read(make(), **columns)
    settings = [COLUMNS] if "label_columns" in columns else []
    assert sets_of(cleaned(raw, *settings)) == EXPECTED


def rows_of(*labels: Any, count: int = COUNT) -> list[dict[str, Any]]:
    return [{"text": text(i), "label": labels[i % len(labels)]} for i in range(count)]


def flagged_rows(**last: Any) -> list[dict[str, Any]]:
    rows = [{"text": text(i), **dict(zip(NAMES, flags(i), strict=True))} for i in range(COUNT)]
    return [*rows, {"text": "last", **dict.fromkeys(NAMES, 0), **last}]


REFUSED: dict[str, tuple[list[dict[str, Any]], list[str], str]] = {
    "a two": (
        flagged_rows(joy=2),
        [COLUMNS],
        "a.jsonl line 121: the column 'joy' has '2', expected 1 where the text has this label, else 0",
    ),
    "a maybe": (flagged_rows(fear="maybe"), [COLUMNS], "a.jsonl line 121: the column 'fear' has 'maybe', expected 1"),
    "an empty cell": (
        flagged_rows(fear=None),
        [COLUMNS],
        "a.jsonl line 121: the column 'fear' has nothing, expected 1",
    ),
    "no such column": (
        flagged_rows(),
        ['data.label_columns=["anger", "joi"]'],
        "has no column 'joi' (did you mean 'joy'?)",
    ),
    "no label at all": (
        flagged_rows(**dict.fromkeys(NAMES)),
        [COLUMNS],
        "1 row(s) have no label: a.jsonl line 121: no label. Label them, or leave them out with --set",
    ),
    "never": (
        [{**row, "sadness": 0} for row in flagged_rows()],
        [f"data.label_columns={json.dumps((*NAMES, 'sadness'))}"],
        "label 'sadness' has no training text. A label needs at least 3 distinct text(s)",
    ),
    "once": (
        [*rows_of(["joy"], ["joy", "fear"]), {"text": "last", "label": ["rage"]}],
        [],
        "label 'rage' occurs once, a.jsonl line 121",
    ),
    "unknown": (
        [*rows_of(["joy"], ["joy", "fear"]), {"text": "last", "label": ["joy", "feer"]}],
        ['data.labels=["joy", "fear"]'],
        "1 row(s) have a label that is not one of joy, fear: a.jsonl line 121: 'feer' (did you mean 'fear'?)",
    ),
    "a name among lists": (
        [*rows_of(["joy"], ["joy", "fear"]), {"text": "last", "label": "joy"}],
        ['data.label_separator=";"', 'data.labels=["fear", "hope"]'],
        "have a label that is not one of fear, hope: a.jsonl line 1: 'joy'",
    ),
    "one name among lists": (
        [*rows_of(["joy"], ["joy", "fear"]), {"text": "last", "label": "joy"}],
        [],
        "a.jsonl line 121: the label is 'joy', and in a.jsonl line 2 it is a list (['joy', 'fear']): where texts have "
        "any number of labels, write a list for each text",
    ),
    "zeros and ones": (
        rows_of([0, 1, 1], [1, 0, 0]),
        [],
        "a.jsonl line 1: the label '1' is there twice ([0, 1, 1]); expected the labels of the text, each once. Where "
        "these are 0 and 1 for each label, give them as columns",
    ),
    "nothing in a list": (rows_of(["joy", None], []), [], "a.jsonl line 1: an empty label in the list ['joy', None]"),
    "one label": (rows_of(["joy"], []), [], "the texts have 1 label(s) in all (joy); at least two are needed"),
    "always the same": (
        rows_of(["joy", "fear"]),
        [],
        "all texts of the train split have the same labels (fear; joy); at least two sets",
    ),
    "corrections": (
        rows_of(["joy"], ["joy", "fear"]),
        ["data.corrections=corrected.csv"],
        "data.corrections corrects the one label of a text, and the labels of these texts are lists",
    ),
    "too many": (
        rows_of(*[[f"l{i}", f"l{i + 1}"] for i in range(0, 64, 2)], count=640),
        [],
        "found 64 different labels",
    ),
    "limited": (
        [*rows_of(["joy"], ["joy", "fear"]), *({"text": f"hope {i}", "label": ["hope"]} for i in range(6))],
        ["data.train_limit=6"],
        "no training text has the label hope among the 6 that are used: raise data.train_limit",
    ),
    "too few": (rows_of(["joy"], ["fear"], ["joy", "fear"], count=6), ["data.test_fraction=0.9"], "too few texts (6)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_in_words(case: str, tmp_path: Path) -> None:
    rows, settings, message = REFUSED[case]
    with pytest.raises(DataError) as caught:
        prepared(jsonl(tmp_path, rows), *settings)
    assert message in str(caught.value)


CONTRADICTIONS = {
    "both": ([COLUMNS, 'data.label_separator=";"'], "data.label_separator: the labels are in columns of their own"),
    "other names": ([COLUMNS, 'data.labels=["a", "b"]'], "data.labels: the names of data.label_columns are the labels"),
    "one column": (
        ['data.label_columns=["joy"]'],
        "data.label_columns: expected no columns, or 2 to 62 different ones",
    ),
    "the text": (['data.label_columns=["joy", "text"]'], "expected other columns than data.text_column"),
    "the second text": ([COLUMNS, "data.pair_column=joy"], "expected other columns than data.pair_column, found 'joy'"),
    "corrections": ([COLUMNS, "data.corrections=a.csv"], "data.corrections: corrects the one label of a text"),
    "a known dataset": (["data.dataset=sst2", COLUMNS], "the dataset 'sst2' has one label for each text"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_keys_that_contradict_each_other(case: str) -> None:
    settings, message = CONTRADICTIONS[case]
    with pytest.raises(RecipeError) as caught:
        recipe.load(
            "quickstart",
            recipe.parse_settings(
                [*(["data.dataset=files", "data.train=x"] if case != "a known dataset" else []), *settings]
            ),
        )
    assert message in str(caught.value)


def test_labels_of_few_texts_are_left_out_and_their_texts_stay(tmp_path: Path) -> None:
    rows = [*rows_of(["joy"], ["joy", "fear"], []), {"text": "last", "label": ["joy", "rage"]}]
    data = prepared(jsonl(tmp_path, rows), "data.rare_labels=drop")
    assert data.labels == ("fear", "joy")
    assert sets_of(data)["last"] == {"joy"}
    assert any("left out 1 label(s) with fewer than 3 training texts ('rage')" in notice for notice in data.notices)


def test_rows_without_labels_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [*rows_of(["joy"], ["joy", "fear"], []), {"text": "last", "label": None}]
    data = prepared(jsonl(tmp_path, rows), "data.missing_labels=drop")
    assert "last" not in sets_of(data)
    assert len(sets_of(data)) == COUNT


def test_a_label_that_every_text_has_is_noted(tmp_path: Path) -> None:
    data = prepared(jsonl(tmp_path, rows_of(["joy"], ["joy", "fear"])))
    assert any("every training text has the label(s) 'joy'" in notice for notice in data.notices)


def test_a_name_that_means_no_label_is_not_to_become_a_row_without_labels(tmp_path: Path) -> None:
    data = prepared(jsonl(tmp_path, rows_of(["joy"], ["joy", "fear"], ["none"])))
    told = [notice for notice in data.notices if notice.startswith("'none' (40 rows) is used as a label")]
    assert told == ["'none' (40 rows) is used as a label; if it means no label, leave it out: a text may have none"]


def test_columns_of_different_lengths_are_refused() -> None:
    table = {**TABLE, "fear": TABLE["fear"][:-1]}
    with pytest.raises(
        DataError, match="the column 'anger' has 120 rows, and 'fear' has 119; expected as many of both"
    ):
        memory.read(table, label_columns=NAMES)


def test_lists_of_one_are_single_labels() -> None:
    raw = memory.read((["a", "b", "c"], [["x"], ["y"], ["x"]]))
    assert not label_lists.are_sets(raw, recipe.load("quickstart").data)


def test_repeated_texts_with_other_labels_are_conflicts(tmp_path: Path) -> None:
    """Sixty labels: the code of a set exceeds 32 bits, and repeats are found all the same."""
    names = [f"l{i:02}" for i in range(60)]
    rows = [{"text": text(i), "label": [names[i % 60], names[(i + 1) % 60]]} for i in range(600)]
    repeated = [{"text": f"Text  {i}", "label": [names[59 - i % 60]]} for i in range(5)]
    data = prepared(jsonl(tmp_path, [*rows, *repeated, {"text": "TEXT 0", "label": [names[0], names[1]]}]))
    found = sets_of(data)
    assert len(found) == 600
    assert found["text 0"] == {"l00", "l01"}
    assert any("5 text(s) repeat with different labels" in notice for notice in data.notices)


def test_a_hidden_test_split_is_split_off_train(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    train = jsonl(tmp_path, rows_of(["joy"], ["joy", "fear"], []))
    test = jsonl(tmp_path / "t", [{"text": f"hidden {i}", "label": None} for i in range(20)])
    data = prepared(train, f"data.test={test}")
    assert not any(name.startswith("hidden") for name in sets_of(data))
    assert any("the labels of the test split are hidden (all empty)" in notice for notice in data.notices)


def test_every_label_is_in_both_parts_in_proportion() -> None:
    random = np.random.default_rng(0)
    has = random.random((5_000, 12)) < np.geomspace(0.5, 0.002, 12)
    codes = label_sets.codes(has)
    held = set_splits.stratified(codes, 12, 1_000, seed=1)
    assert len(held) == pytest.approx(1_000, rel=0.03)
    assert (held == set_splits.stratified(codes, 12, 1_000, seed=1)).all()
    assert (held[:10] != set_splits.stratified(codes, 12, 1_000, seed=2)[:10]).any()
    for label in range(12):
        total, own = int(has[:, label].sum()), int(has[held, label].sum())
        assert 0 < own < total
        assert own == pytest.approx(total / 5, rel=0.12, abs=2), label


def test_sets_are_stored_as_lists_and_read_as_codes(tmp_path: Path) -> None:
    data = cleaned(memory.read((TABLE["text"], LISTS["label"])))
    run_dir = RunDir(tmp_path / "run")
    store.write(run_dir, data)
    lines = [json.loads(line) for line in run_dir.split("train").read_text(encoding="utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"text", "labels"}] * len(lines)
    assert store.is_multi_label(run_dir)
    for split, examples in data.splits.items():
        assert store.read_split(run_dir, split) == examples
    path = run_dir.split("test")
    stored = [json.loads(line)["labels"] for line in path.read_text(encoding="utf-8").splitlines()]
    spaced = [json.dumps({"labels": numbers, "text": '"labels": [7]}'}) for numbers in stored]
    path.write_text("\r\n".join(spaced) + "\r\n", encoding="utf-8", newline="")
    assert store.read_split(run_dir, "test").labels.tolist() == data.splits["test"].labels.tolist()
