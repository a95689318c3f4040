"""What scoring keeps of a table: types, values, lines, order and names of everything that was there before."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openpyxl
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from sentopt.bundles import score
from sentopt.data import tables
from sentopt.data.options import TableOptions
from sentopt.errors import DataError, OutputError

ADDED = ["label", "score", "p_good", "p_bad"]


class OneLabel:
    """Answers every text with the same label, and remembers the texts."""

    labels = ("good", "bad")
    thresholds = ()

    def __init__(self) -> None:
        self.texts: list[str] = []

    def predict(self, texts: Sequence[str]) -> list[Any]:
        assert all(text.encode() for text in texts)
        self.texts += texts
        return [
            SimpleNamespace(
                label="good",
                score=0.9,
                probabilities={"good": 0.9, "bad": 0.1},
                truncated=False,
                abstained=False,
                labels=("good",),
            )
            for _ in texts
        ]


def scored(
    source: Path, target: Path, text_column: str = "text", **options: Any
) -> tuple[score.TableSummary, list[str]]:
    """Score a table; returns the summary and the texts that were classified."""
    classifier = OneLabel()
    summary = score.score_table(
        classifier,  # type: ignore[arg-type]
        source,
        target,
        text_column=text_column,
        progress=False,
        options=TableOptions(**options),
    )
    return summary, classifier.texts


def write_jsonl(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# ---- Arrow tables: random types and values

_MICROSECONDS = 10**15
PLAIN: dict[pyarrow.DataType, st.SearchStrategy[Any]] = {
    pyarrow.null(): st.none(),
    pyarrow.bool_(): st.booleans(),
    **{
        kind: st.integers(low, high)
        for kind, low, high in (
            (pyarrow.int8(), -(2**7), 2**7 - 1),
            (pyarrow.uint16(), 0, 2**16 - 1),
            (pyarrow.int32(), -(2**31), 2**31 - 1),
            (pyarrow.int64(), -(2**63), 2**63 - 1),
            (pyarrow.uint64(), 0, 2**64 - 1),
            (pyarrow.date32(), -(10**6), 10**7),  # beyond the years that Python has
            (pyarrow.time64("ns"), 0, 86_399 * 10**9),
            (pyarrow.duration("us"), -_MICROSECONDS, _MICROSECONDS),
            (pyarrow.timestamp("ms"), -_MICROSECONDS, _MICROSECONDS),
            (pyarrow.timestamp("ns", "Europe/Zurich"), -_MICROSECONDS, _MICROSECONDS),
            (pyarrow.timestamp("us", "+02:00"), -_MICROSECONDS, _MICROSECONDS),
        )
    },
    pyarrow.float32(): st.floats(width=32, allow_nan=False),
    pyarrow.float64(): st.floats(allow_nan=False),
    pyarrow.string(): st.text(max_size=6),
    pyarrow.large_string(): st.text(max_size=6),
    pyarrow.string_view(): st.text(max_size=20),
    pyarrow.binary(): st.binary(max_size=6),
    pyarrow.binary(3): st.binary(min_size=3, max_size=3),
    pyarrow.decimal128(12, 3): st.decimals(-(10**8), 10**8, places=3),
    pyarrow.decimal256(60, 2): st.decimals(-(10**50), 10**50, places=2),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.string()): st.sampled_from(["a", "b", "ü"]),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Any:
    """An array of a random type, nested up to two times."""
    kind, values = draw(typed(2))
    return array(kind, draw(st.lists(values | st.none(), min_size=rows, max_size=rows)))


def array(kind: pyarrow.DataType, values: list[Any]) -> Any:
    if pyarrow.types.is_temporal(kind):
        width = pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64()
        return pyarrow.array(values, width).cast(kind)
    if pyarrow.types.is_dictionary(kind):
        return pyarrow.array(values, pyarrow.string()).cast(kind)
    return pyarrow.array(values, kind)


@st.composite
def typed(draw: st.DrawFn, depth: int) -> tuple[pyarrow.DataType, st.SearchStrategy[Any]]:
    """A type, and a strategy for its values."""
    shape = draw(st.sampled_from(["plain", "plain", "list", "large_list", "map", "struct"] if depth else ["plain"]))
    if shape == "plain":
        plain = list(PLAIN)
        if depth < 2:  # inside of others: what Python can build, and what pyarrow can slice when it writes Parquet
            inside = {pyarrow.null(), pyarrow.string_view()}
            plain = [kind for kind in plain if not (pyarrow.types.is_temporal(kind) or kind in inside)]
        kind = draw(st.sampled_from(plain))
        return kind, PLAIN[kind]
    inner, values = draw(typed(depth - 1))
    if pyarrow.types.is_dictionary(inner):
        inner, values = pyarrow.string(), st.text(max_size=3)
    if shape == "map":
        return pyarrow.map_(pyarrow.string(), inner), st.dictionaries(st.text(max_size=3), values, max_size=3).map(
            lambda items: list(items.items())
        )
    if shape == "struct":
        return pyarrow.struct([("x", inner), ("y.z", pyarrow.int8())]), st.fixed_dictionaries(
            {"x": values | st.none(), "y.z": PLAIN[pyarrow.int8()]}
        )
    make = pyarrow.list_ if shape == "list" else pyarrow.large_list
    return make(inner), st.lists(values | st.none(), max_size=3)


@st.composite
def arrow_tables(draw: st.DrawFn) -> Any:
    rows = draw(st.integers(0, 12))
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), max_size=5, unique=True))
    names = [name for name in names if name != "text" and name not in ADDED]
    texts = pyarrow.array(
        draw(st.lists(st.none() | st.text(max_size=5), min_size=rows, max_size=rows)), pyarrow.string()
    )
    arrays = [draw(columns(rows)) for _ in names]
    fields = [
        pyarrow.field(name, column.type, metadata={"about": name} if draw(st.booleans()) else None)
        for name, column in zip(names, arrays, strict=True)
    ]
    at = draw(st.integers(0, len(names)))
    fields.insert(at, pyarrow.field("text", pyarrow.string()))
    arrays.insert(at, texts)
    return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields, metadata={"made by": "hypothesis"}))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(table=arrow_tables(), group=st.integers(1, 5), codec=st.sampled_from(["snappy", "zstd", "none"]))
def test_an_arrow_table_keeps_schema_and_values(table: Any, group: int, codec: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
        parquet.write_table(table, source, row_group_size=group, compression=codec)
        before = parquet.read_table(source)
        summary, texts = scored(source, target)
        after = parquet.read_table(target)
        assert after.schema.names == [*before.schema.names, *ADDED]
        assert after.select(before.schema.names).equals(before, check_metadata=True)
        assert texts == [text for text in before["text"].to_pylist() if (text or "").strip()]
        assert (summary.rows, summary.empty) == (table.num_rows, table.num_rows - len(texts))
        if table.num_rows:
            assert parquet.ParquetFile(target).metadata.row_group(0).column(0).compression.lower() in (
                codec,
                {"none": "uncompressed"}.get(codec),
            )


def arrow_table(**values: Any) -> Any:
    return pyarrow.table({"text": [f"text {i}" for i in range(3000)], **values})


LATE: dict[str, Any] = {
    "null at first": pyarrow.array([None] * 2999 + ["x"]),
    "int, then float": pyarrow.array([1.0] * 2999 + [2.5]),
    "empty lists": pyarrow.array([[]] * 2999 + [["x"]]),
    "nulls alone": pyarrow.nulls(3000),
    "dictionary": pyarrow.array(["a", "b"] * 1500).dictionary_encode(),
    "list of dictionary": pyarrow.array([["a"], ["b", "a"]] * 1500, pyarrow.list_(pyarrow.string())).cast(
        pyarrow.list_(pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
    ),
    "uuid": pyarrow.array([b"x" * 16] * 3000, pyarrow.uuid()),
    "nan": pyarrow.array([float("nan"), float("-inf"), -0.0] * 1000),
    "half": pyarrow.array([0.5] * 3000, pyarrow.float32()).cast(pyarrow.float16()),
    "year 30000": pyarrow.array([10**12] * 3000, pyarrow.int64()).cast(pyarrow.timestamp("ms", "No/Where")),
}


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("source_name", ["in.parquet", "in.feather"])
def test_columns_that_change_after_the_first_window(name: str, source_name: str, tmp_path: Path) -> None:
    table = arrow_table(**{name: LATE[name]})
    source, target, plain = tmp_path / source_name, tmp_path / "out.parquet", tmp_path / "plain.parquet"
    parquet.write_table(table, plain)
    parquet.write_table(table, source, row_group_size=300) if source.suffix == ".parquet" else feather.write_feather(
        table, source, chunksize=300
    )
    scored(source, target)
    after, expected = parquet.read_table(target).select(["text", name]), parquet.read_table(plain)
    assert after.schema.equals(expected.schema, check_metadata=True)
    assert repr(after.to_pydict() if name != "year 30000" else after) == repr(
        expected.to_pydict() if name != "year 30000" else expected
    )
    assert parquet.ParquetFile(target).metadata.num_row_groups == 1  # not one for each window


def test_what_pandas_and_datasets_keep_in_the_metadata_is_there_afterwards(tmp_path: Path) -> None:
    import datasets
    import pandas as pd

    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    frame = pd.DataFrame(
        {"text": ["a", "b"], "kind": pd.Categorical(["x", "y"]), "n": pd.array([1, None], dtype="Int64")},
        index=pd.Index([7, 9], name="id"),
    )
    frame.to_parquet(source)
    scored(source, target)
    pd.testing.assert_frame_equal(pd.read_parquet(target)[list(frame)], frame)
    features = datasets.Features(
        {"text": datasets.Value("string"), "stars": datasets.ClassLabel(names=["bad", "good"])}
    )
    datasets.Dataset.from_dict({"text": ["a", "b"], "stars": [1, 0]}, features=features).to_parquet(source)
    target.unlink()
    scored(source, target)
    read = datasets.Dataset.from_parquet(str(target), cache_dir=str(tmp_path / "cache"))
    assert read.features["stars"].names == ["bad", "good"]
    assert read.column_names == ["text", "stars", *ADDED]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("in.parquet", ["text", "n"]),
        ("in.feather", ["text", "n"]),
        ("in.csv", ["text", "n"]),
        ("in.xlsx", ["text", "n"]),
    ],
)
@pytest.mark.parametrize("target_name", ["out.parquet", "out.csv", "out.jsonl"])
def test_a_table_without_rows_stays_one(name: str, columns: list[str], target_name: str, tmp_path: Path) -> None:
    source, target = tmp_path / name, tmp_path / target_name
    empty = pyarrow.table({"text": pyarrow.array([], pyarrow.string()), "n": pyarrow.array([], pyarrow.int8())})
    if source.suffix == ".parquet":
        parquet.write_table(empty, source)
    elif source.suffix == ".feather":
        feather.write_feather(empty, source)
    elif source.suffix == ".xlsx":
        workbook(source, [columns])
    else:
        source.write_text(",".join(columns) + "\n")
    summary, _ = scored(source, target)
    assert summary.rows == 0
    if target.suffix == ".parquet":
        assert parquet.read_schema(target).names == [*columns, *ADDED]
    else:
        assert target.read_text() == (",".join([*columns, *ADDED]) + "\n" if target.suffix == ".csv" else "")


def workbook(path: Path, rows: list[list[Any]]) -> None:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def test_json_lines_without_a_row_have_no_columns(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"in\.jsonl has no rows$"):
        scored(tmp_path / "in.jsonl", tmp_path / "out.jsonl")


def test_arrow_types_that_parquet_lacks_are_said_before_any_work(tmp_path: Path) -> None:
    union = pyarrow.UnionArray.from_sparse(
        pyarrow.array([0, 1], pyarrow.int8()), [pyarrow.array([1, 2]), pyarrow.array(["a", "b"])]
    )
    table = pyarrow.table({"text": ["a", "b"], "odd": union})
    with pyarrow.ipc.new_file(str(tmp_path / "in.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match=r"out\.parquet: the column 'odd' has the type sparse_union<.*>, which Parquet"):
        scored(tmp_path / "in.arrow", tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.arrow"]
    scored(tmp_path / "in.arrow", tmp_path / "out.jsonl")
    assert [row["odd"] for row in tables.read_rows(tmp_path / "out.jsonl")] == [1, "b"]


NO_PARQUET = {
    "month_day_nano_interval": pyarrow.array([(1, 2, 3), None], pyarrow.month_day_nano_interval()),
    "run_end_encoded": pyarrow.RunEndEncodedArray.from_arrays([2], ["a"]),
    "struct": pyarrow.array([{"gap": (1, 2, 3)}, None], pyarrow.struct([("gap", pyarrow.month_day_nano_interval())])),
    "dictionary": pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 0], pyarrow.int8()), pyarrow.array([[1]])),
}


@pytest.mark.parametrize("name", NO_PARQUET)
def test_every_type_that_parquet_lacks_is_found_before_any_text_is_classified(name: str, tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a", "b"], "plain": [1, 2], "odd": NO_PARQUET[name]})
    with pyarrow.ipc.new_file(str(tmp_path / "in.arrow"), table.schema) as writer:
        writer.write_table(table)
    classifier = OneLabel()
    with pytest.raises(DataError, match=rf"out\.parquet: the column 'odd' has the type {name}.*, which Parquet cannot"):
        score.score_table(
            classifier,  # type: ignore[arg-type]
            tmp_path / "in.arrow",
            tmp_path / "out.parquet",
            text_column="text",
            progress=False,
        )
    assert classifier.texts == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.arrow"]


def test_fields_that_may_not_be_null_are_no_type_that_parquet_lacks(tmp_path: Path) -> None:
    kind = pyarrow.struct([pyarrow.field("n", pyarrow.int8(), nullable=False)])
    table = pyarrow.table({"text": ["a"], "box": pyarrow.array([{"n": 1}], kind)})
    feather.write_feather(table, str(tmp_path / "in.feather"))
    scored(tmp_path / "in.feather", tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet")["box"].type == kind


@pytest.mark.parametrize("taken", ["label", "score", "p_bad"])
def test_columns_called_like_the_answers_are_kept(taken: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    parquet.write_table(pyarrow.table({"text": ["a"], taken: pyarrow.array([7], pyarrow.uint8())}), source)
    summary, _ = scored(source, target)
    assert summary.columns == tuple(f"predicted_{name}" for name in ADDED)
    assert parquet.read_schema(target).names == ["text", taken, *summary.columns]
    assert parquet.read_table(target)[taken].to_pylist() == [7]
    lines = write_jsonl(tmp_path / "in.jsonl", '{"text": "a"}', f'{{"text": "b", "{taken}": 7}}')
    scored(lines, tmp_path / "out.jsonl")
    assert [set(row) - {"text", taken} for row in tables.read_rows(tmp_path / "out.jsonl")] == [
        {f"predicted_{name}" for name in ADDED}
    ] * 2


TEXTS: dict[str, Any] = {
    "dictionary": pyarrow.array(["a", None, "b"]).dictionary_encode(),
    "large_string": pyarrow.array(["a", None, "b"], pyarrow.large_string()),
    "string_view": pyarrow.array(["a", None, "b"], pyarrow.string_view()),
    "binary": pyarrow.array([b"a", None, b"b"]),
    "fixed": pyarrow.array([b"a", None, b"b"], pyarrow.binary(1)),
    "null": pyarrow.nulls(3),
    "number": pyarrow.array([7, None, 8], pyarrow.uint64()),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("target_name", ["out.parquet", "out.jsonl"])
def test_texts_of_any_type_are_read(kind: str, target_name: str, tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": TEXTS[kind]}), tmp_path / "in.parquet")
    summary, texts = scored(tmp_path / "in.parquet", tmp_path / target_name)
    assert texts == {"null": [], "number": ["7", "8"]}.get(kind, ["a", "b"])
    assert summary.empty == 3 - len(texts)


@pytest.mark.parametrize("target_name", ["out.parquet", "out.jsonl"])
def test_what_is_no_text_is_said_with_its_row(target_name: str, tmp_path: Path) -> None:
    for values, what in (([b"a"] * 1500 + [b"\xff"], "bytes that are not UTF-8"), ([["a"]], "a list")):
        parquet.write_table(pyarrow.table({"text": values}), tmp_path / "in.parquet")
        with pytest.raises(DataError, match=rf"in\.parquet, row {len(values)}: the text is {what}"):
            scored(tmp_path / "in.parquet", tmp_path / target_name)
        assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


# ---- CSV: texts stay as they are

FIELDS = [
    "007",
    "1e5",
    "1.10",
    "",
    " ",
    "NULL",
    "NaN",
    "TRUE",
    'say "hi"',
    "a,b",
    "a\tb",
    "a\r\nb",
    "a\rb",
    "a\0b",
    "=",
]
FIELDS += ["\u2028", "ünï 😀", "'", "x" * 200_000, "2026-01-02", "+49", "\\", '"', ";"]


@pytest.mark.parametrize(
    ("source_name", "target_name"),
    [
        ("in.csv", "out.csv"),
        ("in.tsv", "out.tsv"),
        ("in.csv", "out.tsv.gz"),
        ("in.csv.gz", "out.csv"),
        ("in.csv", "out.parquet"),
    ],
)
def test_fields_of_delimited_files_stay_text(source_name: str, target_name: str, tmp_path: Path) -> None:
    source, target = tmp_path / source_name, tmp_path / target_name
    text = io.StringIO()
    csv.writer(text, delimiter="\t" if ".tsv" in source_name else ",", quoting=csv.QUOTE_ALL).writerows(
        [["text", "value"], *(["a", field] for field in FIELDS)]
    )
    content = text.getvalue().encode()
    source.write_bytes(gzip.compress(content) if source_name.endswith("gz") else content)
    scored(source, target, quote='"')
    if target.suffix == ".parquet":
        assert parquet.read_table(target)["value"].to_pylist() == FIELDS
        return
    opened: Any = gzip.open if target.suffix == ".gz" else open
    with opened(target, "rt", encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t" if ".tsv" in target_name else ",", strict=True))
    assert rows[0] == ["text", "value", *ADDED]
    assert [row[1] for row in rows[1:]] == FIELDS
    assert [dict(row)["value"] for row in tables.read_rows(target, TableOptions(quote='"'))] == FIELDS


def test_the_dialect_of_the_output_is_that_of_its_name(tmp_path: Path) -> None:
    """Whatever that of the input is: UTF-8 with commas and line feeds."""
    (tmp_path / "in.csv").write_bytes('text;n\r\n"Grüße; ""du""";007\r\n'.encode("utf-16"))
    scored(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes().decode() == (
        'text,n,label,score,p_good,p_bad\n"Grüße; ""du""",007,good,0.9,0.9,0.1\n'
    )


# ---- JSON Lines: each row stays as it is

LINES = [
    '{"text": "a", "big": 123456789012345678901234567890, "f": 1.10, "e": 1e400, "n": -0}',
    '{"more":{"deep":[1,2.50,null,{"x":true}]},"text":"b","n":NaN}',
    '  {"text": "caf\\u00e9 \\ud83d", "twice": 1, "twice": 2}  ',
    '{"other": "no text"}',
    '{"text": null, "empty": {}, "list": []}',
    "{}",
    '{"text": 7}',
]


def test_each_line_keeps_its_own_keys_and_its_spelling(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", *LINES)
    summary, texts = scored(source, tmp_path / "out.jsonl")
    written = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    answer = '"label": "good", "score": 0.9, "p_good": 0.9, "p_bad": 0.1}'
    none = '"label": null, "score": null, "p_good": null, "p_bad": null}'
    assert written == [
        f"{LINES[0][:-1]}, {answer}",
        f"{LINES[1][:-1]}, {answer}",
        f"{LINES[2].strip()[:-1]}, {answer}",
        f"{LINES[3][:-1]}, {none}",
        f"{LINES[4][:-1]}, {none}",
        f"{{{none}",
        f"{LINES[6][:-1]}, {answer}",
    ]
    assert texts == ["a", "b", "café \ufffd", "7"]
    assert (summary.rows, summary.empty, summary.labels) == (7, 3, {"good": 4, "bad": 0})


def test_the_columns_of_a_csv_file_are_those_of_all_lines(tmp_path: Path) -> None:
    scored(write_jsonl(tmp_path / "in.jsonl", *LINES), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["text", "big", "f", "e", "n", "more", "twice", "other", "empty", "list", *ADDED]
    assert [row["big"] for row in rows] == ["123456789012345678901234567890", *[""] * 6]
    assert json.loads(rows[1]["more"]) == {"deep": [1, 2.5, None, {"x": True}]}
    assert (rows[3]["other"], rows[3]["label"], rows[4]["empty"], rows[4]["list"]) == ("no text", "", "{}", "[]")


def test_the_columns_of_a_parquet_file_have_types_that_hold_all_lines(tmp_path: Path) -> None:
    lines = ['{"text": "a"}'] * 600
    late = {
        "n": ["1", "2.5"],
        "big": ["1", str(2**64 - 1)],
        "signs": ["-1", str(2**63)],
        "exact": ["0.5", str(2**53 + 1)],
        "huge": ["1", str(10**30)],
        "record": ['{"a": 1}', '{"b": [], "a": null}'],
        "lists": ["[]", '[[1], ["x"]]'],
        "kinds": ["true", '"yes"'],
        "nothing": ["null", "null"],
        "hollow": ["{}", "null"],
    }
    for at in (0, 1):
        values = ", ".join(f'"{name}": {value[at]}' for name, value in late.items())
        lines[at * 599] = f'{{"text": "a", {values}}}'
    summary, _ = scored(write_jsonl(tmp_path / "in.jsonl", *lines), tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    text = pyarrow.string()
    assert {name: table.schema.field(name).type for name in late} == {
        "n": pyarrow.float64(),
        "big": text,  # int64 in one window, uint64 in another: merged to int64, into which they do not fit
        "signs": text,
        "exact": text,
        "huge": text,
        "record": pyarrow.struct([("a", pyarrow.int64()), ("b", pyarrow.list_(pyarrow.null()))]),
        "lists": text,
        "kinds": text,
        "nothing": text,
        "hollow": text,
    }
    first, last = table.to_pylist()[0], table.to_pylist()[599]
    assert (first["exact"], last["exact"], last["huge"]) == ("0.5", str(2**53 + 1), str(10**30))
    assert (first["kinds"], last["kinds"], first["hollow"], last["lists"]) == ("true", "yes", "{}", '[[1], ["x"]]')
    assert (first["record"], last["record"]) == ({"a": 1, "b": None}, {"a": None, "b": []})
    said = [notice.split("'")[1] for notice in summary.notices]
    assert said == ["big", "signs", "exact", "huge", "lists", "kinds", "hollow"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["a", "b", "c d", "ü"]), VALUES), min_size=1, max_size=6),
    ascii_only=st.booleans(),
)
def test_any_json_is_scored_into_every_format(rows: list[dict[str, Any]], ascii_only: bool) -> None:
    """JSON Lines keep every value; in Parquet a value is the same, or JSON of the same, but for integers as floats."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        lines = [json.dumps({"text": "a", **row}, ensure_ascii=ascii_only) for row in rows]
        source.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        before = [dict(row) for row in tables.read_rows(source)]
        scored(source, target)
        after = [{name: value for name, value in row.items() if name not in ADDED} for row in tables.read_rows(target)]
        assert repr(after) == repr(before)
        for other in ("out.csv", "out.parquet"):
            assert scored(source, Path(folder) / other)[0].rows == len(rows)
        for row, found in zip(before, parquet.read_table(Path(folder) / "out.parquet").to_pylist(), strict=True):
            for name, value in row.items():
                assert holds(found[name], value), (name, value, found[name])


def holds(found: Any, value: Any) -> bool:
    """Whether a value of a Parquet file says what the value of JSON says."""
    if isinstance(found, str) and not isinstance(value, str):
        return repr(json.loads(found)) == repr(value)
    if isinstance(value, dict) and found is not None:
        return all(holds(found[name], value[name]) for name in value)
    if isinstance(value, list) and found is not None:
        return len(found) == len(value) and all(map(holds, found, value))
    return bool(found == value) or (found != found and value != value)


def test_objects_with_very_many_keys_are_maps_not_records(tmp_path: Path) -> None:
    lines = [f'{{"text": "a", "by user": {{"user {i}": {i}}}}}' for i in range(3000)]
    scored(write_jsonl(tmp_path / "in.jsonl", *lines), tmp_path / "out.parquet")
    assert parquet.read_table(tmp_path / "out.parquet")["by user"].to_pylist()[2999] == '{"user 2999": 2999}'


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
@pytest.mark.parametrize("source_name", ["in.jsonl", "in.json"])
def test_half_characters_stop_no_writer(source_name: str, suffix: str, tmp_path: Path) -> None:
    source, target = tmp_path / source_name, tmp_path / f"out.{suffix}"
    if source.suffix == ".json":
        source.write_text('[{"text": "cut \\ud83d", "x": "\\ude00", "\\udfff": ["\\ud800"]}]')
    else:
        write_jsonl(source, '{"text": "cut \\ud83d", "x": "\\ude00", "\\udfff": ["\\ud800"]}')
    _, texts = scored(source, target)
    (row,) = tables.read_rows(target)
    assert texts == ["cut \ufffd"]
    assert (row["text"], row["x"]) == ("cut \ufffd", "\ufffd")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_deeply_nested_values_are_kept_or_refused_in_words(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"out.{suffix}"
    scored(write_jsonl(tmp_path / "in.jsonl", f'{{"text": "a", "x": {"[" * 300}{"]" * 300}}}'), target)
    (row,) = tables.read_rows(target)
    assert (row["x"] if isinstance(row["x"], str) else json.dumps(row["x"])) == f"{'[' * 300}{']' * 300}"
    for text, depth in (("a", 100_000), ("\\ud800", 900)):
        write_jsonl(tmp_path / "in.jsonl", f'{{"text": "{text}", "x": {"[" * depth}{"]" * depth}}}')
        with pytest.raises(DataError, match=r"in\.jsonl, line 1: nested too deeply to be a row of a table"):
            scored(tmp_path / "in.jsonl", tmp_path / f"other.{suffix}")


def test_cells_of_a_workbook_keep_their_types(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    workbook(tmp_path / "in.xlsx", [["text", "n", "when", "any"], ["a", 1, when, 1], ["b", 2.5, None, "007"]])
    scored(tmp_path / "in.xlsx", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table["n"].to_pylist() == [1.0, 2.5]
    assert table["when"].to_pylist() == [when, None]
    assert table["any"].to_pylist() == ["1", "007"]


def test_values_that_json_and_csv_lack_are_written_as_text(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "text": ["a"],
            "day": [datetime.date(2026, 1, 2)],
            "price": [decimal.Decimal("1.10")],
            "raw": [b"\xc3\xa9\xff"],
            "map": pyarrow.array([[("k", b"v")]], pyarrow.map_(pyarrow.string(), pyarrow.binary())),
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    for name in ("out.jsonl", "out.csv"):
        scored(tmp_path / "in.parquet", tmp_path / name)
        (row,) = tables.read_rows(tmp_path / name)
        assert [row["day"], row["price"], row["raw"]] == ["2026-01-02", "1.10", "é\\xff"]
        assert (json.loads(row["map"]) if name == "out.csv" else row["map"]) == [["k", "v"]]


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    nan, infinity = float("nan"), float("inf")
    table = pyarrow.table({"text": ["a", "NaN"], "x": [nan, -infinity], "deep": [[{"y": infinity, "z": 0.5}], []]})
    parquet.write_table(table, tmp_path / "in.parquet")

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    scored(tmp_path / "in.parquet", tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refused) for line in lines]
    assert [(row["text"], row["x"]) for row in rows] == [("a", None), ("NaN", None)]
    assert rows[0]["deep"] == [{"y": None, "z": 0.5}]
    scored(tmp_path / "in.parquet", tmp_path / "out.csv")
    first, second = tables.read_rows(tmp_path / "out.csv")
    assert json.loads(first["deep"]) == [{"y": infinity, "z": 0.5}]
    assert (first["x"], second["x"]) == ("nan", "-inf")


def test_times_of_day_keep_their_nanoseconds(tmp_path: Path) -> None:
    kind, counts = pyarrow.time64("ns"), [1, 3_600_000_001_000, None, 86_399_999_999_999]
    box = pyarrow.struct([("t", kind), ("n", pyarrow.int8())])
    table = pyarrow.table(
        {
            "text": list("abcd"),
            "t": pyarrow.array(counts, kind),
            "names": pyarrow.array(counts, kind).dictionary_encode(),
            "list": pyarrow.array([[count] for count in counts], pyarrow.list_(kind)),
            "map": pyarrow.array([[("k", count)] for count in counts], pyarrow.map_(pyarrow.string(), kind)),
            "box": pyarrow.array([None, *({"t": count, "n": 1} for count in counts[1:])], box),
        }
    )
    feather.write_feather(table, str(tmp_path / "in.feather"))
    scored(tmp_path / "in.feather", tmp_path / "out.jsonl")
    rows = list(tables.read_rows(tmp_path / "out.jsonl"))
    expected = ["00:00:00.000000001", "01:00:00.000001", None, "23:59:59.999999999"]
    for column in ("t", "names"):
        assert [row[column] for row in rows] == expected
    assert [row["list"] for row in rows] == [[text] for text in expected]
    assert [row["map"] for row in rows] == [[["k", text]] for text in expected]
    assert [row["box"] for row in rows] == [None, *({"t": text, "n": 1} for text in expected[1:])]
    scored(tmp_path / "in.feather", tmp_path / "out.csv")
    assert [row["t"] for row in tables.read_rows(tmp_path / "out.csv")] == [text or "" for text in expected]


BAD_DIALECTS = [
    ({"delimiter": "abc"}, "--delimiter 'abc': expected one character within a line, or one of tab, "),
    ({"delimiter": "\n"}, "--delimiter '\\n': expected one character within a line, or one of tab, "),
    ({"quote": "abc"}, "--quote 'abc': expected auto, nothing, or one character within a line"),
    ({"delimiter": "comma", "quote": ","}, "--delimiter ',': fields are enclosed by the same character; "),
    (
        {"delimiter": '"'},
        "--delimiter '\"': fields are enclosed by the same character; if quotes mean nothing in this ",
    ),
]


@pytest.mark.parametrize(("stated", "message"), BAD_DIALECTS)
def test_what_is_no_delimiter_and_no_quote_is_refused(stated: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,x\na,1\n")
    with pytest.raises(DataError) as caught:
        scored(tmp_path / "in.csv", tmp_path / "out.csv", setting="--{} {}", **stated)
    assert str(caught.value).startswith(message)
    with pytest.raises(DataError, match=r"^--set data\.(delimiter|quote)="):
        list(tables.read_rows(tmp_path / "in.csv", TableOptions(**stated)))
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


# ---- fields inside of columns

NESTED = [
    {"data": {"text": "inner", "items": [{"text": "first"}]}, "id": 1},
    {"data": {"text": None, "items": []}, "id": 2},
    {"data": None, "id": 3},
]


@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.parquet", "in.feather"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("column", "texts"), [("data.text", ["inner"]), ("data.items.0.text", ["first"])])
def test_a_field_inside_of_a_column_is_named_with_dots(
    name: str, suffix: str, column: str, texts: list[str], tmp_path: Path
) -> None:
    source = tmp_path / name
    if source.suffix == ".jsonl":
        write_jsonl(source, *map(json.dumps, NESTED))
    elif source.suffix == ".json":
        source.write_text(json.dumps(NESTED))
    else:
        write: Any = parquet.write_table if source.suffix == ".parquet" else feather.write_feather
        write(pyarrow.Table.from_pylist(NESTED), source)
    summary, seen = scored(source, tmp_path / f"out.{suffix}", column)
    assert (seen, summary.empty) == (texts, 2)
    with pytest.raises(DataError) as caught:
        scored(source, tmp_path / f"other.{suffix}", "text")
    assert "has no column 'text' (did you mean 'data.text'?); it has 'data', 'id', 'data.text', 'data.items'" in str(
        caught.value
    )


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet", "in.csv"])
def test_a_column_whose_name_has_the_dot_comes_first(name: str, tmp_path: Path) -> None:
    source, row = tmp_path / name, {"data.text": "literal", "data": {"text": "inner"}}
    if source.suffix == ".csv":
        source.write_text("data.text,data\nliteral,inner\n")
    elif source.suffix == ".jsonl":
        write_jsonl(source, json.dumps(row))
    else:
        parquet.write_table(pyarrow.Table.from_pylist([row]), source)
    assert scored(source, tmp_path / "out.jsonl", "data.text")[1] == ["literal"]
    assert scored(source, tmp_path / "out.parquet", "data.text")[1] == ["literal"]


def test_a_number_of_very_many_digits_names_no_item(tmp_path: Path) -> None:
    column = f"m.{'9' * 5000}.t"
    source = write_jsonl(tmp_path / "in.jsonl", '{"m": [{"t": "a"}]}')
    with pytest.raises(DataError, match=r"in\.jsonl has no column 'm\.999"):
        scored(source, tmp_path / "out.csv", column)
    parquet.write_table(pyarrow.Table.from_pylist([{"m": [{"t": "a"}]}]), tmp_path / "in.parquet")
    summary, texts = scored(tmp_path / "in.parquet", tmp_path / "out.csv", column)
    assert (summary.empty, texts) == (1, [])


def test_fields_of_maps_and_names_with_dots_inside(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "map": pyarrow.array([[("k.x", "of the map")], None], pyarrow.map_(pyarrow.string(), pyarrow.string())),
            "a.b": pyarrow.array([{"c.d": "of the struct"}, None]),
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    for column, text in (("map.k.x", "of the map"), ("a.b.c.d", "of the struct")):
        for target in ("out.parquet", "out.jsonl"):
            assert scored(tmp_path / "in.parquet", tmp_path / f"{column}-{target}", column)[1] == [text]


# ---- files that are no whole tables, and what is left of the output


def damaged(content: bytes, how: str) -> bytes:
    packed = gzip.compress(content)
    if how == "cut":
        return packed[: len(packed) // 2]
    if how == "checksum":
        return packed[:-8] + bytes(4) + packed[-4:]
    if how == "garbage":
        return packed + b"garbage"
    if how == "bits":
        at = len(packed) // 2
        return packed[:at] + b"\xff" * 64 + packed[at + 64 :]
    return content


@pytest.mark.parametrize("name", ["in.csv.gz", "in.tsv.gz", "in.jsonl.gz", "in.json.gz"])
@pytest.mark.parametrize("how", ["cut", "checksum", "garbage", "bits", "plain"])
def test_a_damaged_gz_is_said_with_its_place(name: str, how: str, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"text {i}", "n": i * 7919 % 10007}) for i in range(5000)]
    content = {
        "in.csv.gz": "text,n\n" + "".join(f"text {i},{i * 7919}\n" for i in range(5000)),
        "in.tsv.gz": "text\tn\n" + "".join(f"text {i}\t{i * 7919}\n" for i in range(5000)),
        "in.jsonl.gz": "\n".join(lines),
        "in.json.gz": f"[{','.join(lines)}]",
    }[name]
    (tmp_path / name).write_bytes(damaged(content.encode(), how))
    with pytest.raises(DataError) as caught:
        scored(tmp_path / name, tmp_path / "out.jsonl")
    if how == "plain":
        assert str(caught.value) == (
            f"{tmp_path / name} is not packed with gzip, although its name says so: remove .gz from its name"
        )
    else:
        assert str(caught.value).startswith(f"{tmp_path / name} is damaged: it cannot be unpacked beyond line ")
        assert str(caught.value).endswith(". Copy or download it again")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("late", ["broken line", "list for a text", "no answer", "interrupt"])
def test_a_failure_in_the_middle_leaves_the_output_as_it_was(
    suffix: str, late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ['{"text": "a"}'] * 2000
    if late in ("broken line", "list for a text"):
        lines[1500] = "{broken" if late == "broken line" else '{"text": ["a"]}'
    source, target = write_jsonl(tmp_path / "in.jsonl", *lines), tmp_path / f"out.{suffix}"
    target.write_bytes(b"mine")
    classifier, calls = OneLabel(), 0

    def failing(texts: Sequence[str]) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2 and late in ("no answer", "interrupt"):
            raise KeyboardInterrupt if late == "interrupt" else DataError("no answer")
        return OneLabel.predict(classifier, texts)

    monkeypatch.setattr(classifier, "predict", failing)
    with pytest.raises(KeyboardInterrupt if late == "interrupt" else DataError) as caught:
        score.score_table(classifier, source, target, text_column="text", progress=False, overwrite=True)  # type: ignore[arg-type]
    if late in ("broken line", "list for a text"):
        assert "in.jsonl, line 1501: " in str(caught.value)
    assert target.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", target.name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on Windows")
def test_pipes_and_devices_are_refused_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.csv")
    with pytest.raises(DataError, match=r"in\.csv is a pipe or a device, which can be read once only: write the table"):
        scored(tmp_path / "in.csv", tmp_path / "out.csv")
    write_jsonl(tmp_path / "in.jsonl", '{"text": "a"}')
    with pytest.raises(DataError, match=r"^-: cannot tell the format from the name"):
        scored(tmp_path / "in.jsonl", Path("-"))
    with pytest.raises(OutputError, match="would overwrite itself"):
        scored(tmp_path / "in.jsonl", tmp_path / "in.jsonl")
    scored(tmp_path / "in.jsonl", tmp_path / "new" / "folder" / "out.jsonl")
    assert (tmp_path / "new" / "folder" / "out.jsonl").is_file()


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_many_columns_are_no_trouble(name: str, tmp_path: Path) -> None:
    source, row = tmp_path / name, {"text": "a", **{f"column {i}": i for i in range(5000)}}
    if source.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist([row]), source)
    elif source.suffix == ".jsonl":
        write_jsonl(source, json.dumps(row))
    else:
        source.write_text(f"{','.join(row)}\n{','.join(map(str, row.values()))}\n")
    scored(source, tmp_path / "out.csv")
    (found,) = tables.read_rows(tmp_path / "out.csv")
    assert list(found) == [*row, *ADDED]
    with pytest.raises(DataError) as caught:
        scored(source, tmp_path / "other.csv", "missing")
    assert len(str(caught.value)) < 800


def test_columns_that_occur_twice_are_named(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays(
        [pyarrow.array(["a"]), pyarrow.array([1]), pyarrow.array([2])], ["text", "n", "n"]
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    for target in ("out.parquet", "out.csv"):
        with pytest.raises(
            DataError, match=r"in\.parquet: the column 'n' occurs twice in the schema; rename or remove"
        ):
            scored(tmp_path / "in.parquet", tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_text_tables_are_scored_by_the_base_install(tmp_path: Path) -> None:
    """Without pyarrow; a Parquet file then says which extra brings it."""
    script = f"""
import sys
from pathlib import Path
from types import SimpleNamespace
for name in ("pyarrow", "openpyxl", "datasets", "pandas", "torch", "charset_normalizer"):
    sys.modules[name] = None
from sentopt.bundles import score
from sentopt.errors import MissingExtraError
class Model:
    labels = ("good",)
    thresholds = ()
    def predict(self, texts):
        return [SimpleNamespace(label="good", score=1.0, probabilities={{"good": 1.0}}, truncated=False,
                abstained=False, labels=("good",)) for _ in texts]
folder = Path({str(tmp_path)!r})
(folder / "in.csv").write_text("text,n\\na,007\\n")
(folder / "in.jsonl").write_text('{{"data": {{"text": "a"}}}}\\n{{"x": 1.10}}\\n')
(folder / "in.json").write_text('[{{"data": {{"text": "a"}}}}]')
for name in ("in.csv", "in.jsonl", "in.json"):
    for target in ("out.csv", "out.tsv.gz", "out.jsonl", "out.ndjson.gz"):
        column = "text" if name == "in.csv" else "data.text"
        score.score_table(Model(), folder / name, folder / target, text_column=column, progress=False, overwrite=True)
    try:
        score.score_table(Model(), folder / name, folder / "out.parquet", text_column=column, progress=False)
    except MissingExtraError as error:
        assert 'pip install "sentopt[train]"' in str(error)
    else:
        raise AssertionError(name)
assert not (folder / "out.parquet").exists() and not list(folder.glob(".tmp-*"))
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source_name", "target_name"),
    [("in.csv", "out.csv"), ("in.jsonl", "out.jsonl"), ("in.jsonl", "out.csv"), ("in.csv.gz", "out.csv.gz")],
)
def test_memory_does_not_grow_with_the_number_of_rows(source_name: str, target_name: str, tmp_path: Path) -> None:
    """The beginning of a file, from which its dialect is detected, is held: both files are longer than that."""
    classifier, peaks, words = OneLabel(), [], "some words " * 40
    model: Any = SimpleNamespace(
        labels=OneLabel.labels, thresholds=(), predict=lambda texts: classifier.predict(["a"]) * len(texts)
    )
    for count in (3_000, 12_000):
        source = tmp_path / f"{count}-{source_name}"
        is_csv = ".csv" in source_name
        rows = (f"{words}{i},{i}\n" if is_csv else json.dumps({"text": words, "n": i}) + "\n" for i in range(count))
        opened: Any = gzip.open if source.suffix == ".gz" else open
        with opened(source, "wt") as stream:
            stream.writelines(["text,n\n" if is_csv else "", *rows])
        tracemalloc.start()
        score.score_table(model, source, tmp_path / target_name, text_column="text", progress=False, overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1 + 2**18
