"""Rows that are pairs of texts, from every kind of source to clean splits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pair_data
import pyarrow
import pyarrow.parquet
import pytest

from sentopt.data import corrections, memory, pairs, sources, splits, store, unlabelled
from sentopt.data.duplicates import normal_form
from sentopt.data.examples import Example, RawData, RawRow
from sentopt.data.rows import Examples, Pairs, Rows, RowsBuilder
from sentopt.data.splits import CleanData
from sentopt.errors import DataError, RecipeError
from sentopt.recipe import DataSection, resolve
from sentopt.run_dir import RunDir
from sentopt.training import answer_store, augmentation, soft_labels

DATA = DataSection(dataset="files", pair_column="aspect")
ROWS = [{"text": text, "aspect": aspect, "label": label} for text, aspect, label in pair_data.rows(60, "train")]


def raw(*rows: tuple[str, str, object], split: str = "train") -> RawData:
    listed = [RawRow((first, second), label, f"rows {i}") for i, (first, second, label) in enumerate(rows, 1)]
    return RawData({split: listed}, (), "rows")  # type: ignore[dict-item]


def cleaned(*rows: tuple[str, str, object], data: DataSection = DATA) -> CleanData:
    """Those rows among enough others to be split."""
    return splits.clean(raw(*rows, *pair_data.rows(60, "others")), data, seed=1)


def all_texts(clean: CleanData) -> list[object]:
    return [e.text for examples in clean.splits.values() for e in examples]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("in_file", [True, False])
def test_files_give_pairs(tmp_path: Path, kind: str, in_file: bool) -> None:
    path = pair_data.write_table(tmp_path / f"train.{kind}", ROWS)
    data = replace(DATA, train=str(path))
    found = sources.load(data, scratch=tmp_path if in_file else None)
    assert [row.text for row in found.splits["train"]] == [(row["text"], row["aspect"]) for row in ROWS]
    clean = splits.clean(found, data, seed=1)
    assert sorted(all_texts(clean)) == sorted((row["text"], row["aspect"]) for row in ROWS)  # type: ignore[type-var]


def test_a_pattern_of_files_is_joined(tmp_path: Path) -> None:
    for i in range(3):
        pair_data.write_table(tmp_path / f"part-{i}.csv", ROWS[i * 20 : (i + 1) * 20])
    found = sources.load(replace(DATA, train=str(tmp_path / "part-*.csv")))
    rows = found.splits["train"]
    assert isinstance(rows, Rows)
    assert list(rows.texts.take([59, 0])) == [(ROWS[i]["text"], ROWS[i]["aspect"]) for i in (59, 0)]


def test_fields_inside_of_columns_are_texts_of_pairs(tmp_path: Path) -> None:
    rows = [{"review": {"body": row["text"]}, "about": [row["aspect"]], "label": row["label"]} for row in ROWS]
    path = pair_data.write_table(tmp_path / "train.jsonl", rows)
    data = replace(DATA, train=str(path), text_column="review.body", pair_column="about.0")
    assert sources.load(data).splits["train"][3].text == (ROWS[3]["text"], ROWS[3]["aspect"])
    assert sources.text_columns(data) == ("review.body", "about.0")


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = pair_data.write_table(tmp_path / "train.csv", ROWS)
    with pytest.raises(DataError, match=r"no column 'aspct' \(did you mean 'aspect'\?\).*--set data.pair_column=NAME"):
        sources.load(replace(DATA, train=str(path), pair_column="aspct"))


def test_what_is_no_text_is_refused_with_its_place(tmp_path: Path) -> None:
    path = pair_data.write_table(tmp_path / "train.jsonl", [*ROWS, {"text": "a", "aspect": ["b"], "label": "positive"}])
    data = replace(DATA, train=str(path))
    with pytest.raises(DataError, match=r"train.jsonl line 61: the text is a list"):
        splits.clean(sources.load(data), data, seed=1)


def test_the_hub_gives_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    table = datasets.Dataset.from_list(ROWS)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: table)
    found = sources.load(replace(DATA, dataset="hub", hub_id="some/data", revision="0" * 40))
    assert found.splits["train"][7].text == (ROWS[7]["text"], ROWS[7]["aspect"])


def in_memory() -> dict[str, object]:
    import datasets
    import pandas
    import polars

    texts = [(row["text"], row["aspect"]) for row in ROWS]
    labels = [row["label"] for row in ROWS]
    return {
        "rows": ROWS,
        "pandas": pandas.DataFrame(ROWS),
        "polars": polars.DataFrame(ROWS),
        "pyarrow": pyarrow.Table.from_pylist(ROWS),
        "datasets": datasets.Dataset.from_list(ROWS),
        "columns": {name: [row[name] for row in ROWS] for name in ROWS[0]},
        "texts and labels": (texts, labels),
        "pairs with labels": list(zip(texts, labels, strict=True)),
    }


@pytest.mark.parametrize("kind", list(in_memory()))
def test_data_in_memory_gives_pairs(kind: str) -> None:
    found = memory.read(in_memory()[kind], pair_column="aspect")
    assert [row.text for row in found.splits["train"]] == [(row["text"], row["aspect"]) for row in ROWS]
    assert memory.digests(found) == memory.digests(memory.read(ROWS, pair_column="aspect"))
    assert memory.digests(found) != memory.digests(memory.read(ROWS))


def test_data_in_memory_without_pairs_is_refused() -> None:
    with pytest.raises(DataError, match=r"no column 'about'.*Name the right one with pair_column="):
        memory.read(pyarrow.Table.from_pylist(ROWS), pair_column="about")
    with pytest.raises(DataError, match=r"train row 1: expected a pair of texts, as pair_column= says, found 'a'"):
        memory.read((["a"], ["x"]), pair_column="aspect")
    with pytest.raises(DataError, match="'text' has 2 rows, and 'aspect' has 1"):
        memory.read({"text": ["a", "b"], "aspect": ["c"], "label": [0, 1]}, pair_column="aspect")


def test_the_key_needs_a_column_of_its_own() -> None:
    for column in ("text", "label"):
        with pytest.raises(RecipeError, match=r"data\.pair_column: expected another column"):
            resolve({}, {"run.name": "x", "data.pair_column": column}, source="test")
    staged = {"run.name": "x", "data.pair_column": "aspect", "export.variants": ["cascade-int8"]}
    with pytest.raises(RecipeError, match=r"cascade-int8 in .* cannot be made for pairs"):
        resolve({}, staged, source="test")


def test_only_rows_without_any_text_are_empty() -> None:
    empty = ("\u200b", "", "neutral"), ("", "", "neutral")
    clean = cleaned(("", "alone", "positive"), ("first", " ", "negative"), *empty)
    found = all_texts(clean)
    assert ("", "alone") in found
    assert ("first", " ") in found
    assert len(found) == 62
    assert "train: dropped 2 empty texts" in clean.notices
    assert "train: 1 pair(s) have an empty 'aspect'; the other text is used alone" in clean.notices
    assert "train: 1 pair(s) have an empty 'text'; the other text is used alone" in clean.notices


def test_missing_cells_are_empty_texts() -> None:
    builder = RowsBuilder(pairs=True)
    for second in (None, float("nan"), 5, b"bytes"):
        builder.add(("first", second), "x", "line 1")
    assert list(builder.finish().checked_texts()) == [("first", text) for text in ("", "", "5", "bytes")]


def test_half_characters_are_repaired_on_both_sides() -> None:
    builder = RowsBuilder(pairs=True)
    builder.add(("\ud83d", "a\udc00"), "x", "line 1")
    assert list(builder.finish().texts) == [("\ufffd", "a\ufffd")]


def test_damaged_characters_are_noted_in_either_text() -> None:
    clean = cleaned(("the room", "caf\u00c3\u00a9", "positive"))
    (notice,) = [notice for notice in clean.notices if "wrong encoding" in notice]
    assert "'caf\u00c3\u00a9' (rows 1)" in notice


def test_pairs_are_duplicates_where_both_texts_are() -> None:
    rows = [
        ("The Room", "food", "positive"),
        ("the  room", "FOOD", "positive"),
        ("the room", "staff", "negative"),
        ("food", "the room", "neutral"),
        ("the", "room food", "neutral"),
    ]
    clean = cleaned(*rows)
    assert len(all_texts(clean)) == 64
    assert "1 of 65 rows repeat another text" in " ".join(clean.notices)
    assert normal_form(("a b", "c")) != normal_form(("a", "b c"))
    assert normal_form(("a\x1fb", "c")) != normal_form(("a", "b\x1fc"))


def test_pairs_with_several_labels_are_conflicts() -> None:
    clean = cleaned(*[("the room", "food", label) for label in ("positive", "negative", "negative")])
    assert "1 text(s) repeat with different labels" in " ".join(clean.notices)
    (kept,) = [e for examples in clean.splits.values() for e in examples if e.text == ("the room", "food")]
    assert clean.labels[kept.label] == "negative"


def test_a_pair_of_the_test_split_is_not_trained_on() -> None:
    same, other = ("the room", "food"), ("the room", "staff")
    train = [RawRow(pair, label, "train 1") for *pair_, label in pair_data.rows(30, "t") for pair in [tuple(pair_)]]
    test = [RawRow((a, b), label, "test 1") for a, b, label in pair_data.rows(12, "x")]
    given = {
        "train": [*train, RawRow(same, "positive", "train 2"), RawRow(other, "negative", "train 3")],
        "test": [*test, RawRow(same, "positive", "test 2")],
    }
    clean = splits.clean(RawData(given, (), "rows"), DATA, seed=1)  # type: ignore[arg-type]
    learned = [e.text for split in ("train", "validation") for e in clean.splits[split]]  # type: ignore[index]
    assert other in learned
    assert same not in learned


def test_stored_splits_are_what_they_were(tmp_path: Path) -> None:
    texts = [("a\n", "\u00e9"), ("", "b"), ("c", "\U0001f600")] * 3
    examples = Examples.of(Example(text, i % 2) for i, text in enumerate(texts))
    run_dir = RunDir(tmp_path / "run")
    run_dir.root.mkdir()
    store.write(
        run_dir, CleanData({"train": examples, "test": examples}, ("no", "yes"), ()), columns=("text", "aspect")
    )
    read = store.read_split(run_dir, "train")
    assert read == examples
    assert list(read.take([4, 2]).texts) == [texts[4], texts[2]]
    assert store.read_pair(run_dir) == ("text", "aspect")
    store.write(run_dir, CleanData({"train": examples}, ("no", "yes"), ()), columns=("text",))
    assert not store.are_pairs(run_dir)


def test_parts_of_pairs_share_their_texts() -> None:
    made = Pairs.of([(str(i), str(-i)) for i in range(10)])
    assert made[3:5] == [("3", "-3"), ("4", "-4")]
    assert made.take([7, 1]).take([1])[0] == ("1", "-1")
    assert Pairs.joined([made[:2], made[8:]]) == [("0", "0"), ("1", "-1"), ("8", "-8"), ("9", "-9")]
    assert len(made) == 10


def test_texts_without_labels_are_pairs_that_are_in_no_split(tmp_path: Path) -> None:
    rows = [{"text": "a", "aspect": "b"}, {"text": "A", "aspect": "b "}, {"text": "a", "aspect": "c"}]
    path = pair_data.write_table(tmp_path / "more.csv", [*rows, {"text": "", "aspect": ""}])
    loaded = unlabelled.load(replace(DATA, unlabelled=str(path)), [("A", "C")], seed=1)
    assert loaded.texts == (("a", "b"),)
    (tmp_path / "lines.txt").write_text("alone\n")
    with pytest.raises(DataError, match="has lines of text, and the texts are pairs"):
        unlabelled.load(replace(DATA, unlabelled=str(tmp_path / "lines.txt")), [], seed=1)
    pair_data.write_table(tmp_path / "single.csv", [{"text": "a"}])
    with pytest.raises(DataError, match=r"has no column 'aspect'; it has 'text'. Its rows must be pairs"):
        unlabelled.load(replace(DATA, unlabelled=str(tmp_path / "single.csv")), [], seed=1)


def test_corrections_are_of_pairs(tmp_path: Path) -> None:
    rows = [{"text": "The Room", "pair": "food", "corrected": "negative"}]
    path = pair_data.write_table(tmp_path / "corrections.csv", rows)
    clean = cleaned(
        ("the room", "food", "positive"), ("the room", "staff", "positive"), data=replace(DATA, corrections=str(path))
    )
    found = {e.text: clean.labels[e.label] for examples in clean.splits.values() for e in examples}
    assert (found["the room", "food"], found["the room", "staff"]) == ("negative", "positive")
    pair_data.write_table(path, [{"text": "The Room", "corrected": "negative"}])
    with pytest.raises(DataError, match=r"has no column 'pair'.*Expected the columns 'text', 'pair' and 'corrected'"):
        cleaned(("the room", "food", "positive"), data=replace(DATA, corrections=str(path)))
    assert corrections.PAIR == "pair"


def test_copies_of_a_pair_change_the_longer_text() -> None:
    given = [("one two three four five six seven", "the aspect"), ("what", "a b c d e f g h i j k")]
    copies = augmentation.changed_texts(given, copies=4, seed=1)
    assert len(copies) == 8
    assert all(copy[1] == "the aspect" for copy in copies[::2])
    assert all(copy[0] == "what" for copy in copies[1::2])
    assert len(set(copies)) > 4


def test_soft_labels_keep_pairs(tmp_path: Path) -> None:
    given = soft_labels.SoftLabels([("a", "b"), ("", "c")], np.zeros((2, 2), dtype=np.float32))
    soft_labels.write(tmp_path / "soft", given, np.zeros((1, 2), dtype=np.float32))
    assert list(soft_labels.read(tmp_path / "soft").texts) == [("a", "b"), ("", "c")]


def test_stored_answers_tell_pairs_apart() -> None:
    keys = {answer_store.key_of(text) for text in ("ab", ("a", "b"), ("ab", ""), ("", "ab"), ("b", "a"))}
    assert len(keys) == 5


def test_a_tokenizer_gets_two_lists() -> None:
    assert pairs.columns_of([("a", "b"), ("c", "d")]) == (["a", "c"], ["b", "d"])
    assert pairs.columns_of(["a", "c"]) == (["a", "c"],)
