"""Tables as people have them: each input has one right outcome: its rows and what is said, or an error."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pytest
from pyarrow import feather, parquet

from sentopt import cli, recipe
from sentopt.data import names, sources, splits, tables, unlabelled
from sentopt.data.options import TableOptions
from sentopt.errors import DataError

QUOTE_CURE = 'If quotes mean nothing in this file: --set data.quote=""'
TWO = [{"text": "Hello, you", "label": "1"}, {"text": "Bye", "label": "0"}]
STRAY = [('"movie' if i == 50 else "movie") + f" {i}" + ('"' if i == 70 else "") for i in range(300)]
CLASS_LABEL = json.dumps(
    {
        "info": {
            "features": {
                "text": {"dtype": "string", "_type": "Value"},
                "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
            }
        }
    }
)


def separated(rows: Sequence[Sequence[str]], delimiter: str) -> bytes:
    return "".join(delimiter.join(row) + "\n" for row in [("text", "label"), *rows]).encode()


def stray(delimiter: str) -> bytes:
    return separated([(text, "no" if i % 2 else "yes") for i, text in enumerate(STRAY)], delimiter)


def workbook(*sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"Sheet{number}")
        for row in rows:
            sheet.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def columns(kind: str, **values: Any) -> bytes:
    """A Parquet, Feather or Arrow stream file."""
    metadata = values.pop("metadata", None)
    table = pyarrow.table(values)
    table = table.replace_schema_metadata({"huggingface": metadata}) if metadata else table
    sink = pyarrow.BufferOutputStream()
    if kind == "parquet":
        parquet.write_table(table, sink)
    elif kind == "feather":
        feather.write_feather(table, sink, compression="uncompressed")
    else:
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()


def pairs(count: int, *labels: Any) -> list[tuple[str, Any]]:
    return [(f"text {i}", labels[i % len(labels)]) for i in range(count)]


def read(path: Path, **options: str) -> tuple[list[dict[str, Any]], list[str]]:
    said: list[str] = []
    return [dict(row) for row in tables.read_rows(path, TableOptions(**options), said.append)], said


def prepare(path: Path, *settings: str) -> splits.CleanData:
    """What `sentopt train --data PATH --set ...` prepares."""
    made = recipe.resolve(
        {"run": {"name": "x"}}, {**names.overrides(str(path)), **recipe.parse_settings(settings)}, source="test"
    )
    return splits.clean(sources.load(made.data), made.data, seed=42)


def write(path: Path, rows: Sequence[tuple[Any, Any]], header: Sequence[str] = ("text", "label")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows), encoding="utf-8"
        )
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
    return path


def sizes(data: splits.CleanData) -> tuple[int, int, int]:
    return len(data.splits["train"]), len(data.splits["validation"]), len(data.splits["test"])


# Files that are read: name, content, options, rows (or how many, first and last), and what is said

UNQUOTED = (
    "{name}: quotes are read as ordinary characters, because every line is a row of its own{count}; "
    "--set data.quote='\"' if quotes enclose fields"
)
ODD = " and {} line(s) hold a quote without its pair"
READ: list[tuple[str, bytes, dict[str, str], Any, list[str]]] = [
    ("a.tsv", stray("\t"), {}, (300, '"movie 50', 50), [UNQUOTED.format(name="a.tsv", count=ODD.format(2))]),
    ("a.csv", stray(","), {}, (300, '"movie 50', 50), [UNQUOTED.format(name="a.csv", count=ODD.format(2))]),
    (
        "open.tsv",
        separated([('"never closes', "no"), ("b", "yes")], "\t"),
        {},
        [{"text": '"never closes', "label": "no"}, {"text": "b", "label": "yes"}],
        [UNQUOTED.format(name="open.tsv", count=ODD.format(1))],
    ),
    (
        "inside.tsv",
        b'text\tlabel\n"Great" movie\tyes\nb\tno\n',
        {},
        [{"text": '"Great" movie', "label": "yes"}, {"text": "b", "label": "no"}],
        [UNQUOTED.format(name="inside.tsv", count="")],
    ),
    ("quoted.tsv", b'text\tlabel\n"a ""b"" c"\tyes\n', {}, [{"text": 'a "b" c', "label": "yes"}], []),
    ("asked.tsv", b'text\tlabel\n"a"\tyes\n', {"quote": ""}, [{"text": '"a"', "label": "yes"}], []),
    ("single.csv", b"text,label\n'a, b',yes\n", {"quote": "'"}, [{"text": "a, b", "label": "yes"}], []),
    (
        "lines.csv",
        b'text,label\n"one, two\nthree",yes\n"a\n\nb",no\nplain,yes\n',
        {},
        [
            {"text": "one, two\nthree", "label": "yes"},
            {"text": "a\n\nb", "label": "no"},
            {"text": "plain", "label": "yes"},
        ],
        [
            "lines.csv: 2 row(s) span several lines by their quotes, first in line 2; the longest has 3 lines, from "
            'line 4. If each line is a row: --set data.quote=""'
        ],
    ),
    (
        "escaped.csv",
        b'text,label\n"He said \\"hi, you\\" ok",1\n"b",0\n',
        {},
        [{"text": 'He said "hi, you" ok', "label": "1"}, {"text": "b", "label": "0"}],
        ['escaped.csv: a quote within a quoted field is written \\" in it, and read as a quote'],
    ),
    ("blank.csv", b'text, label\n"Hello, you", "1"\n"Bye", "0"\n', {}, TWO, []),
    (
        "semicolon.csv",
        separated([("Hello, you", "1"), ("Bye", "0")], ";"),
        {},
        TWO,
        ["semicolon.csv: the fields are separated by semicolons (';'); --set data.delimiter=',' if that is wrong"],
    ),
    (
        "tab.csv",
        separated([("Hello, you", "1"), ("Bye", "0")], "\t"),
        {},
        TWO,
        ["tab.csv: the fields are separated by tabs ('\\t'); --set data.delimiter=',' if that is wrong"],
    ),
    (
        "pipe.csv",
        separated([("Hello, you", "1"), ("Bye", "0")], "|"),
        {},
        TWO,
        ["pipe.csv: the fields are separated by pipes ('|'); --set data.delimiter=',' if that is wrong"],
    ),
    (
        "comma.tsv",
        b'text,label\n"Hello, you",1\nBye,0\n',
        {},
        TWO,
        ["comma.tsv: the fields are separated by commas (','); --set data.delimiter='\\t' if that is wrong"],
    ),
    ("asked.csv", b"text#label\nHello, you#1\nBye#0\n", {"delimiter": "#"}, TWO, []),
    ("named.csv", separated([("Hello, you", "1"), ("Bye", "0")], "\t"), {"delimiter": "tab"}, TWO, []),
    ("sep.csv", b"sep=;\r\ntext;label\r\nHello, you;1\r\nBye;0\r\n", {}, TWO, []),
    ("old-mac.csv", b'text,label\r"Hello, you",1\rBye,0\r', {}, TWO, []),
    ("mark.csv", '\ufefftext,label\n"Hello, you",1\nBye,0\n'.encode(), {}, TWO, []),
    ("u16.csv", 'text,label\n"Hello, you",1\nBye,0\n'.encode("utf-16"), {}, TWO, []),
    (
        "u16le.csv",
        'text,label\n"Hello, you",1\nBye,0\n'.encode("utf-16-le"),
        {},
        TWO,
        ["u16le.csv: read as utf-16-le, according to its first bytes"],
    ),
    (
        "u16be.tsv",
        "text\tlabel\nHello, you\t1\nBye\t0\n".encode("utf-16-be"),
        {},
        TWO,
        ["u16be.tsv: read as utf-16-be, according to its first bytes"],
    ),
    (
        "western.csv",
        "text,label\nfine,1\nLe café était bon,0\n".encode("cp1252"),
        {},
        [{"text": "fine", "label": "1"}, {"text": "Le café était bon", "label": "0"}],
        [
            "western.csv is not UTF-8 (byte 0xe9 in line 3): read as windows-1252, which is a guess; a line then says "
            "'Le café était bon,0'. Another one can be named with --set data.encoding=NAME"
        ],
    ),
    (
        "cyrillic.csv",
        "text,label\nОчень хороший фильм мне понравилось,1\nплохо,0\n".encode("cp1251"),
        {},
        [{"text": "Очень хороший фильм мне понравилось", "label": "1"}, {"text": "плохо", "label": "0"}],
        [
            "cyrillic.csv is not UTF-8 (byte 0xce in line 2): read as windows-1251, which is a guess; a line then says "
            "'Очень хороший фильм мне понравилось,1'. Another one can be named with --set data.encoding=NAME"
        ],
    ),
    (
        "asked8.csv",
        "text,label\nça va,1\n".encode("cp1252"),
        {"encoding": "latin-1"},
        [{"text": "ça va", "label": "1"}],
        [],
    ),
    (
        "west.csv.gz",
        gzip.compress("text,label\nça va,1\n".encode("cp1252")),
        {"encoding": "cp1252"},
        [{"text": "ça va", "label": "1"}],
        [],
    ),
    (
        "ends.csv",
        b"text,label,\nHello,1,\nBye,0,\n",
        {},
        [{"text": "Hello", "label": "1"}, {"text": "Bye", "label": "0"}],
        ["ends.csv: rows end with empty fields that have no column, first in line 2; they are left out"],
    ),
    ("index.csv", b",text,label\n0,Hello,1\n", {}, [{"": "0", "text": "Hello", "label": "1"}], []),
    ("gaps.csv", b"\n\ntext,label\n\nHello,1\n\n", {}, [{"text": "Hello", "label": "1"}], []),
    ("a.json", b'[{"text": "a", "label": 1}]', {}, [{"text": "a", "label": 1}], []),
    (
        "data.json",
        b'{"version": 1, "data": [{"text": "a", "label": 1}]}',
        {},
        [{"text": "a", "label": 1}],
        ["data.json: the rows are the list 'data'"],
    ),
    (
        "lines.json",
        b'{"text": "a"}\n{"text": "b"}\n',
        {},
        [{"text": "a"}, {"text": "b"}],
        ["lines.json: read as JSON Lines, one object a line"],
    ),
    (
        "pandas.json",
        b'{"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}',
        {},
        [{"text": "a", "label": 1}, {"text": "b", "label": 0}],
        [],
    ),
    (
        "columns.json",
        b'{"text": ["a", "b"], "label": [1, 0]}',
        {},
        [{"text": "a", "label": 1}, {"text": "b", "label": 0}],
        [],
    ),
    ("u16.jsonl", '{"text": "ä"}\n'.encode("utf-16"), {}, [{"text": "ä"}], []),
    ("a.parquet", columns("parquet", text=["a"], label=[1]), {}, [{"text": "a", "label": 1}], []),
    ("a.feather", columns("feather", text=["a"], label=[1]), {}, [{"text": "a", "label": 1}], []),
    ("file.arrow", columns("feather", text=["a"], label=[1]), {}, [{"text": "a", "label": 1}], []),
    ("stream.arrow", columns("arrow", text=["a"], label=[1]), {}, [{"text": "a", "label": 1}], []),
    (
        "coded.parquet",
        columns("parquet", text=["a", "b"], label=pyarrow.array(["yes", "no"]).dictionary_encode()),
        {},
        [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}],
        [],
    ),
    (
        "a.xlsx",
        workbook([["text", "label"], ["a", 1], [None, None], ["b", None]]),
        {},
        [{"text": "a", "label": 1}, {"text": "b", "label": None}],
        [],
    ),
    (
        "two.xlsx",
        workbook([["text", "label"], ["a", "x"]], [["other"]]),
        {},
        [{"text": "a", "label": "x"}],
        ["two.xlsx: the first sheet 'Sheet1' is read, not 'Sheet2'"],
    ),
]


@pytest.mark.parametrize(("name", "content", "options", "expected", "said"), READ, ids=[case[0] for case in READ])
def test_files_that_are_read(
    name: str, content: bytes, options: dict[str, str], expected: Any, said: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    rows, notices = read(path, **options)
    if isinstance(expected, tuple):
        count, text, at = expected
        assert (len(rows), rows[at]["text"]) == (count, text)
    else:
        assert rows == expected
    assert notices == said


# Files that are refused: name, content, options, and what is said after the path

REFUSED: list[tuple[str, bytes, dict[str, str], str]] = [
    (
        "open.csv",
        b'text,label\n"a, b",yes\n"never closes,yes\nx,no\n',
        {},
        ", line 3: a quote opens and never closes (the file ends in line 4): '\"never closes,yes'. "
        f"Close it, or write a quote within a quoted field twice. {QUOTE_CURE}",
    ),
    (
        "inside.csv",
        b'text,label\n"a, b",yes\n"Great" movie,yes, and more\n',
        {},
        ", line 3: a quote closes in the middle of a field (',' expected after '\"'): '\"Great\" movie,yes, and more'. "
        f"Write a quote within a quoted field twice. {QUOTE_CURE}",
    ),
    (
        "late.tsv",
        stray("\t").replace(b"movie 299", b'"two\nlines"', 1),
        {},
        ", line 52: a quote opens a field that closes in line 72, and each of these 21 lines is a complete row of its "
        f"own. {QUOTE_CURE}; if they enclose fields: --set data.quote='\"'",
    ),
    (
        "more.csv",
        b"text,label\nHello, you,1\n",
        {},
        ", line 2: more fields than the header has columns (3, expected 2: text, label); quote fields that hold ','",
    ),
    (
        "fewer.csv",
        b"text,label\na,1\nthe first line\nof a text,1\n",
        {},
        ", line 3: fewer fields than the header has columns (1, expected 2: text, label); add what is missing, or "
        "delete the line; a text that spans lines must be in quotes",
    ),
    (
        "twice.csv",
        b"text,label,text\na,b,c\n",
        {},
        ", line 1: the column 'text' occurs 2 times in the header (columns 1 and 3); rename or remove all but one",
    ),
    (
        "nameless.csv",
        b"text,,,label\na,b,c,d\n",
        {},
        ", line 1: 2 columns have no name in the header (columns 2 and 3); rename or remove all but one",
    ),
    ("empty.csv", b"", {}, " is empty: expected a line with the names of the columns, then a line for each text"),
    ("blank.csv", b"\n \n", {}, " is empty: expected a line with the names of the columns, then a line for each text"),
    (
        "zip.csv",
        b"PK\x03\x04zip",
        {},
        " is a ZIP archive or an Excel workbook, not text: unpack it, or give a workbook the name .xlsx",
    ),
    ("old.csv", b"\xd0\xcf\x11\xe0\xa1", {}, " is an old Excel workbook, not text: save it as .xlsx or .csv"),
    ("packed.csv", gzip.compress(b"text"), {}, " is packed with gzip, not text: add .gz to its name"),
    ("parquet.csv", b"PAR1....", {}, " is a Parquet file, not text: give it the name .parquet"),
    (
        "pickle.csv",
        b"\x80\x04\x95...",
        {},
        " is a pickle, not text: pickles can run code when they are opened; save the table as .parquet or .csv",
    ),
    ("page.csv", b"\n<!DOCTYPE html><html>", {}, " is a web page, not a table: download the file itself"),
    (
        "lfs.csv",
        b"version https://git-lfs.github.com/spec/v1\n",
        {},
        " is a pointer of Git LFS, not the file, not text: fetch the file with: git lfs pull",
    ),
    ("binary.csv", bytes(8) + b"\1\2", {}, " is not a text file: its first bytes are binary"),
    (
        "mixed.csv",
        "text,label\nLe café à Paris été,1\n".encode() * 3 + b"caf\xe9,0\n",
        {},
        " is UTF-8 except for byte 0xe9 in line 7: correct that line, or name the file's encoding with "
        "--set data.encoding=windows-1252",
    ),
    (
        "wrong.csv",
        b"text,label\ncaf\xe9,1\n",
        {"encoding": "ascii"},
        " is not ascii: byte 0xe9 in line 2. "
        "Name its encoding with --set data.encoding=windows-1252, or convert it, for example: "
        "iconv -f WINDOWS-1252 -t UTF-8 wrong.csv",
    ),
    (
        "truncated.csv.gz",
        gzip.compress(b"text\n" + bytes(range(32, 127)) * 99)[:-20],
        {},
        " is damaged: it cannot be unpacked beyond line 2 (4096 bytes): Compressed file ended before the end-of-stream "
        "marker was reached. Copy or download it again",
    ),
    ("arrays.json", b"[[1, 2]]", {}, ", item 1: expected an object with the columns, found list"),
    ("broken.json", b'[{"text": 1},', {}, " is not JSON: Expecting value: line 1 column 14 (char 13)"),
    ("number.json", b"3", {}, ' is JSON, but no table: expected an array of objects or {"data": [...]}, found int'),
    (
        "splits.json",
        b'{"train": [{"text": "a"}], "test": [{"text": "b"}]}',
        {},
        " is JSON, but no table: expected an array of objects or {\"data\": [...]}, found an object with 'train', "
        "'test'; it has several lists of objects (train, test): save each as a file of its own",
    ),
    ("deep.json", b"[" * 100_000, {}, " is nested too deeply to be a table"),
    (
        "array.jsonl",
        b'[{"text": 1}]\n',
        {},
        ", line 1: expected a JSON object, found list; if the file is one JSON array, give it the name .json",
    ),
    (
        "not.xlsx",
        b"text,label\n",
        {},
        " is not a readable Excel workbook (File is not a zip file); save it as .xlsx again, without a password",
    ),
    ("none.xlsx", workbook([]), {}, ", sheet 'Sheet1' is empty: expected a row with the names of the columns"),
    (
        "twice.xlsx",
        workbook([["text", "text"], ["a", "b"]]),
        {},
        ", row 1: the column 'text' occurs twice in the header; rename or remove one",
    ),
    (
        "beside.xlsx",
        workbook([["text"], ["a", "oops"]]),
        {},
        ", row 2: a value beside the named columns ('oops'); name its column in row 1, or remove it",
    ),
    ("a.zip", b"", {}, ": .zip files are not read: unpack it first, and name the table inside"),
    ("a.xls", b"", {}, ": .xls files are not read: save it as .xlsx or .csv"),
    (
        "a.pkl",
        b"",
        {},
        ": .pkl files are not read: pickles can run code when they are opened; save the table as .parquet or .csv",
    ),
    (
        "a.doc",
        b"",
        {},
        ": cannot tell the format from the name; expected .csv, .tsv, .jsonl, .ndjson, .json (each also .gz), "
        ".parquet, .arrow, .feather or .xlsx",
    ),
]


@pytest.mark.parametrize(("name", "content", "options", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_files_that_are_refused(
    name: str, content: bytes, options: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path, **options)
    assert str(caught.value) == f"{path}{message}"


# Labels: the rows, settings, the labels of the first rows as they are prepared, and what is said about them

Labels = tuple[list[tuple[str, Any]], list[str], tuple[str, ...], list[int], list[str]]
NAMED = ['data.labels=["a", "b", "c", "d", "e"]']
MEANT = ("arrival delay", "exchange rate", "lost letter", "refund request")
LABELS: dict[str, Labels] = {
    "spellings": (
        pairs(60, "negative", "positive", "Negative ", "NEGATIVE", "positive", "negative"),
        [],
        ("negative", "positive"),
        [0, 1, 0, 0, 1, 0],
        [
            "the label(s) 'Negative' (10), 'NEGATIVE' (10) are taken as 'negative' (20): they differ only in "
            'case, blanks and Unicode form; to keep them apart: --set \'data.labels=["negative", "positive", '
            '"Negative", "NEGATIVE"]\''
        ],
    ),
    "kept apart": (pairs(60, "US", "us"), ['data.labels=["us", "US"]'], ("us", "US"), [1, 0], []),
    "declared spellings": (
        pairs(60, " Bad", "GOOD"),
        ['data.labels=["bad", "good"]'],
        ("bad", "good"),
        [0, 1],
        ["labels are matched ignoring case, blanks and Unicode form: 'Bad' (30) as 'bad', 'GOOD' (30) as 'good'"],
    ),
    "booleans": (pairs(60, True, False), [], ("false", "true"), [1, 0], []),
    "named booleans": (
        pairs(60, True, False),
        ['data.labels=["no", "yes"]'],
        ("no", "yes"),
        [1, 0],
        ["false is taken as 'no', true as 'yes'"],
    ),
    "types that change": (
        pairs(90, 1, "1", 1.0, "0", 0, 0.0),
        [],
        ("0", "1"),
        [1, 1, 1, 0, 0, 0],
        [
            "labels are numbers (0, 1, counting from 0), in this order; give them names in the same order with "
            '--set \'data.labels=["name of 0", "name of 1"]\''
        ],
    ),
    "stars": (
        pairs(100, "5", "4", "3", "2", "1"),
        [],
        ("1", "2", "3", "4", "5"),
        [4, 3, 2, 1, 0],
        [
            "labels are numbers (1, 2, 3, 4, 5, counting from 1), in this order; give them names in the same order "
            'with --set \'data.labels=["name of 1", "name of 2", "name of 3", ...]\''
        ],
    ),
    "ten and two": (
        pairs(100, "10", "2"),
        [],
        ("2", "10"),
        [1, 0],
        [
            "labels are numbers (2, 10), in this order; give them names in the same order with "
            '--set \'data.labels=["name of 2", "name of 10"]\''
        ],
    ),
    "named stars": (
        pairs(100, "5", "4", "3", "2", "1"),
        NAMED,
        ("a", "b", "c", "d", "e"),
        [4, 3, 2, 1, 0],
        ["labels are numbers that do not count from 0; assuming that 1 is 'a', 2 is 'b', 3 is 'c', 4 is 'd', 5 is 'e'"],
    ),
    "named from 0": (pairs(100, "4", "3", "2", "1", "0"), NAMED, ("a", "b", "c", "d", "e"), [4, 3, 2, 1, 0], []),
    "0 and 4": (
        pairs(100, 0, 4),
        ['data.labels=["bad", "good"]'],
        ("bad", "good"),
        [0, 1],
        ["labels are numbers that do not count from 0; assuming that 0 is 'bad', 4 is 'good'"],
    ),
    "-1, 0, 1": (
        pairs(90, -1, 0, 1),
        ['data.labels=["bad", "so", "good"]'],
        ("bad", "so", "good"),
        [0, 1, 2],
        ["labels are numbers that do not count from 0; assuming that -1 is 'bad', 0 is 'so', 1 is 'good'"],
    ),
    "half stars": (
        pairs(90, "0.5", 1, 1.5),
        [],
        ("0.5", "1", "1.5"),
        [0, 1, 2],
        [
            "labels are numbers (0.5, 1, 1.5), in this order; give them names in the same order with "
            '--set \'data.labels=["name of 0.5", "name of 1", "name of 1.5"]\''
        ],
    ),
    "lists of one": (
        pairs(60, ["no"], ["yes"]),
        [],
        ("no", "yes"),
        [0, 1],
        ["60 label(s) are lists of one value, which is taken as the label"],
    ),
    "bytes as text": (
        pairs(60, "b'no'", "b'yes'"),
        [],
        ("no", "yes"),
        [0, 1],
        ["60 label(s) are bytes, which are read as UTF-8"],
    ),
    "brackets": (pairs(60, "[spam]", "[ham]"), [], ("[ham]", "[spam]"), [1, 0], []),
    "superscripts": (pairs(60, "x²", "²"), [], ("x²", "²"), [0, 1], []),
    "none is a name": (
        pairs(60, "none", "some"),
        [],
        ("none", "some"),
        [0, 1],
        [
            "'none' (30 rows) is used as a label; if it means no label, empty these cells and set "
            "data.missing_labels=drop"
        ],
    ),
    "numbers and names": (
        pairs(80, "0", "1", "bad", "good"),
        [],
        ("0", "1", "bad", "good"),
        [0, 1, 2, 3],
        [
            "labels are partly numbers (0, 1) and partly names (bad, good), and each is used as a label; "
            "if numbers stand for names, list the names in the order of their numbers in data.labels"
        ],
    ),
    "numbers for names": (
        pairs(80, "0", "1", "bad", "good"),
        ['data.labels=["bad", "good"]'],
        ("bad", "good"),
        [0, 1, 0, 1],
        [],
    ),
    "half a character": (pairs(60, "\ud800 x", "y"), [], ("y", "\ufffd x"), [1, 0], []),
    "several in one": (
        pairs(90, "joy", "anger", "joy,anger"),
        [],
        ("anger", "joy", "joy,anger"),
        [1, 0, 2],
        [
            "the label 'joy,anger' looks like several labels in one; it is used as one label. Where texts have any "
            "number of labels, name what stands between them: --set data.label_separator=CHARACTER"
        ],
    ),
    "left out": (
        [*pairs(60, "no", "yes"), ("x", ""), ("y", None), ("z", "NaN")],
        ["data.missing_labels=drop"],
        ("no", "yes"),
        [0, 1],
        [
            "left out 3 row(s) without a label: a.jsonl line 61, a.jsonl line 62, a.jsonl line 63; 'NaN' is read as no "
            'label; to keep it as one: --set \'data.labels=["no", "yes", "NaN"]\''
        ],
    ),
    "rare left out": (
        [*pairs(60, "no", "yes"), ("x", "maybe")],
        ["data.rare_labels=drop"],
        ("no", "yes"),
        [0, 1],
        ["left out 1 label(s) with fewer than 3 texts ('maybe'): 1 text(s)"],
    ),
    "Nan is a name": (pairs(60, "Nan", "Anna"), ['data.labels=["Anna", "Nan"]'], ("Anna", "Nan"), [1, 0], []),
    "what databases write": (
        pairs(90, "\\N", "#N/A", "some"),
        [],
        ("#N/A", "\\N", "some"),
        [1, 0, 2],
        [
            f"{name!r} (30 rows) is used as a label; if it means no label, empty these cells and set "
            "data.missing_labels=drop"
            for name in ("\\N", "#N/A")
        ],
    ),
    "Unicode forms": (
        pairs(90, "Maße", "Masse", "x"),
        [],
        ("Maße", "x"),
        [0, 0, 1],
        [
            "the label(s) 'Masse' (30) are taken as 'Maße' (30): they differ only in case, blanks and Unicode "
            'form; to keep them apart: --set \'data.labels=["Maße", "Masse", "x"]\''
        ],
    ),
    "names with numbers": (
        [*pairs(400, "thing number 1", "thing number 2"), *((f"x{i}", f"thing number {i % 3 + 3}") for i in range(30))],
        [],
        tuple(f"thing number {i}" for i in range(1, 6)),
        [0, 1],
        [
            "3 label(s) have fewer than 10 training texts ('thing number 3': 7, 'thing number 4': 7, "
            "'thing number 5': 7): add texts, such labels are hardly learned"
        ],
    ),
    "rare siblings": (
        [*pairs(400, "card lost", "pin"), *((f"x{i}", f"card {'clprv'[i % 5]}ost") for i in range(50))],
        [],
        ("card cost", "card lost", "card post", "card rost", "card vost", "pin"),
        [1, 5],
        [
            "4 label(s) have fewer than 10 training texts ('card cost': 7, 'card rost': 7, 'card vost': 7, "
            "'card post': 8): add texts, such labels are hardly learned"
        ],
    ),
    "a typical number of texts": (
        [*pairs(400, "positive", "x"), *((f"x{i}", ("positve", "joy", "anger", "fear")[i % 4]) for i in range(40))],
        [],
        ("anger", "fear", "joy", "positive", "positve", "x"),
        [3, 5],
        [
            "4 label(s) have fewer than 10 training texts ('anger': 7, 'fear': 7, 'joy': 7, 'positve': 7): add texts, "
            "such labels are hardly learned"
        ],
    ),
    "many typos": (
        [*pairs(1200, *MEANT), *((f"x{i}", MEANT[i % 4][:-1]) for i in range(16))],
        [],
        tuple(sorted({*MEANT, *(name[:-1] for name in MEANT)})),
        [],
        [
            *(
                f"the label {name[:-1]!r} has 4 text(s), first a.jsonl line {1201 + i}; is it {name!r} (300)?"
                for i, name in enumerate(MEANT[:3])
            ),
            "1 more label(s) with few texts are spelled like a frequent one",
            "4 label(s) have fewer than 10 training texts ('arrival dela': 2, 'exchange rat': 2, 'lost lette': 2, "
            "'refund reques': 2): add texts, such labels are hardly learned",
        ],
    ),
    "frequent typo": (
        [*pairs(300, "negative", "positive"), *((f"x{i}", "negatve") for i in range(5))],
        [],
        ("negative", "negatve", "positive"),
        [0, 2],
        [
            "the label 'negatve' has 5 text(s), first a.jsonl line 301; is it 'negative' (150)?",
            "1 label(s) have fewer than 10 training texts ('negatve': 3): add texts, such labels are hardly learned",
        ],
    ),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_are_understood(case: str, tmp_path: Path) -> None:
    rows, settings, names, first, said = LABELS[case]
    data = prepare(write(tmp_path / "a.jsonl", rows), *settings)
    found = {example.text: example.label for examples in data.splits.values() for example in examples}
    assert data.labels == names
    assert [found[text] for text, _ in rows[: len(first)]] == first
    assert [notice for notice in data.notices if "split off train" not in notice] == said


NAME_COLUMN = "name the right one with --set data.label_column=NAME"
RARE = (
    "A label needs at least 3 distinct text(s), because train, validation and test each need one. "
    "Correct the label, add texts, or leave such rows out with --set data.rare_labels=drop"
)
LONG = [f"this is a long text that somebody wrote about things {i}" for i in range(20)]
NOT_LABELS: dict[str, tuple[list[tuple[str, Any]], list[str], str]] = {
    "several": (
        pairs(60, [0, 1], 1),
        [],
        "a.jsonl line 1: the label is a list ([0, 1]), and others are not: where texts have any number of labels, "
        "write a list for each text, or all of them as one text with data.label_separator",
    ),
    "several as text": (
        pairs(60, "joy", "['joy', 'anger']"),
        [],
        "a.jsonl line 2: the label is a list (['joy', 'anger']), and others are not: where texts have any number of "
        "labels, write a list for each text, or all of them as one text with data.label_separator",
    ),
    "none of several": (
        pairs(60, 0, []),
        [],
        "a.jsonl line 2: the label is a list ([]), and others are not: where texts have any number of labels, write a "
        "list for each text, or all of them as one text with data.label_separator",
    ),
    "objects": (
        pairs(60, {"a": 1, "b": 0}),
        [],
        "a.jsonl line 1: the label is an object with a, b; expected one value. Write the one that is the label into a "
        "column of its own, and name it with --set data.label_column; where they are 0 and 1, one for each label, name "
        "all of them in data.label_columns (COLUMN.FIELD)",
    ),
    "scores": (
        [(f"t {i}", round(0.05 + 0.05 * i, 2)) for i in range(99)],
        [],
        "data.label_column looks like a score, not a label: 99 different numbers from 0.05 to 4.95. Bin it first, for "
        'example: table["label"] = ["high" if score >= 2.5 else "low" for score in table["score"]]',
    ),
    "scores with commas": (
        [(f"t {i}", f"{i // 10},{i % 10}") for i in range(50)],
        [],
        "data.label_column looks like a score, not a label: 50 different numbers from 0 to 4.9. Bin it first, for "
        'example: table["label"] = ["high" if score >= 2.5 else "low" for score in table["score"]]',
    ),
    "dates": (
        [(f"t {i}", f"2026-01-{i % 9 + 1:02}") for i in range(90)],
        [],
        "data.label_column looks like dates, not labels, for example 2026-01-01, 2026-01-02, 2026-01-03; "
        + NAME_COLUMN,
    ),
    "ids": (
        [(f"t {i}", f"u{i}") for i in range(20)],
        [],
        "data.label_column looks like an id, not a label: 20 different values in 20 rows, for example 'u0', 'u1', "
        "'u2'; " + NAME_COLUMN,
    ),
    "texts": (
        [(f"t {i}", text) for i, text in enumerate(LONG)],
        [],
        "data.label_column looks like texts, not a label: 20 different values in 20 rows, for example "
        f"{LONG[0]!r}, {LONG[1]!r}, {LONG[2]!r}; {NAME_COLUMN}",
    ),
    "too many": (
        [(f"t {i}", f"u{i % 1001}") for i in range(3003)],
        [],
        "found 1001 different labels, for example u0, u1, u2: is data.label_column right?",
    ),
    "one typo": (
        [*pairs(60, "good", "bad"), ("odd", "god")],
        [],
        f"label 'god' occurs once, a.jsonl line 61 (did you mean 'good'?). {RARE}",
    ),
    "a rare label": (
        [*pairs(60, "good", "bad"), ("odd", "xyz"), ("odder", "xyz")],
        [],
        f"label 'xyz' has 2 distinct texts, a.jsonl line 61. {RARE}",
    ),
    "a rare label of repeats": (
        [*pairs(60, "good", "bad"), *[("odd", "xyz")] * 50],
        [],
        f"label 'xyz' occurs once, a.jsonl line 61. {RARE}\nnote: 45% of the data is repeats: 49 of 110 rows repeat "
        "another text (ignoring case, blanks and Unicode form); each of the 61 distinct texts is kept once",
    ),
    "no label": (
        [*pairs(60, "good", "bad"), ("odd", None)],
        [],
        "1 row(s) have no label: a.jsonl line 61: no label. Label them, or leave them out with "
        "--set data.missing_labels=drop",
    ),
    "Nan": (
        pairs(60, "Nan", "Anna"),
        [],
        "30 row(s) have no label: a.jsonl line 1, a.jsonl line 3, a.jsonl line 5, a.jsonl line 7, a.jsonl line 9: no "
        "label, and 25 more. Label them, or leave them out with --set data.missing_labels=drop. 'Nan' is read as no "
        'label; to keep it as one: --set \'data.labels=["Anna", "Nan"]\'',
    ),
    "texts under another key": (
        [*pairs(30, "no"), *((None, "yes") for i in range(30))],
        [],
        "the train split has one class only (no); at least two are needed to learn a difference\n"
        "note: train: dropped 30 empty texts",
    ),
    "which numbers": (
        pairs(60, 1, 2, 3, 4),
        NAMED,
        "labels are the numbers 1, 2, 3, 4, data.labels has 5 names: neither 0 nor 5 occurs, so they may count from 0 "
        "or from 1. Name in data.labels only what occurs, in order",
    ),
    "four rows": (
        pairs(4, "no", "yes"),
        [],
        "too few texts (4) for 2 labels: each label needs at least 3, so that train, validation and test have one",
    ),
    "one label": (
        pairs(50, "x"),
        [],
        "the train split has one class only (x); at least two are needed to learn a difference",
    ),
    "a list of words": (
        [(["a", "b"], "no")],  # type: ignore[list-item]
        [],
        "a.jsonl line 1: the text is a list (['a', 'b']), expected one text; is it the right column?",
    ),
}


@pytest.mark.parametrize("case", NOT_LABELS)
def test_what_is_no_label(case: str, tmp_path: Path) -> None:
    rows, settings, message = NOT_LABELS[case]
    with pytest.raises(DataError) as caught:
        prepare(write(tmp_path / "a.jsonl", rows), *settings)
    assert str(caught.value) == message


def test_labels_of_columnar_files(tmp_path: Path) -> None:
    """Bytes are decoded, dates refused, and the names that `datasets` keeps are the labels, in their order."""
    texts = [f"text {i}" for i in range(40)]
    (tmp_path / "bytes.parquet").write_bytes(columns("parquet", text=texts, label=[b"no", b"yes"] * 20))
    (tmp_path / "dates.parquet").write_bytes(columns("parquet", text=texts, label=[datetime.date(2026, 1, 2)] * 40))
    (tmp_path / "named.parquet").write_bytes(columns("parquet", text=texts, label=[1, 0] * 20, metadata=CLASS_LABEL))
    assert prepare(tmp_path / "bytes.parquet").labels == ("no", "yes")
    with pytest.raises(DataError, match=r"^data\.label_column looks like dates, not labels, for example 2026-01-02; "):
        prepare(tmp_path / "dates.parquet")
    named = prepare(tmp_path / "named.parquet")
    assert named.labels == ("bad", "good")
    assert {e.text: e.label for examples in named.splits.values() for e in examples}["text 0"] == 1
    assert named.notices[0] == "label names are those in named.parquet: 0 is bad, 1 is good"


def class_label(*names: str) -> str:
    return CLASS_LABEL.replace('["bad", "good"]', json.dumps(names))


def labelled(path: Path, names: Sequence[str], first: int, count: int = 40) -> Path:
    """A Parquet file in which text 0 has the number `first`, and the numbers have `names`."""
    texts, numbers = [f"{path.stem} {i}" for i in range(count)], [first, 1 - first] * (count // 2)
    path.write_bytes(columns("parquet", text=texts, label=numbers, metadata=class_label(*names)))
    return path


def named_first(data: splits.CleanData, text: str) -> str:
    return next(data.labels[e.label] for examples in data.splits.values() for e in examples if e.text == text)


def test_stored_names_decide_what_a_number_is(tmp_path: Path) -> None:
    """Whatever the order of data.labels, and of the names in another file."""
    path = labelled(tmp_path / "train.parquet", ("bad", "good"), 1)
    turned = prepare(path, 'data.labels=["good", "bad"]')
    assert (turned.labels, named_first(turned, "train 0")) == (("good", "bad"), "good")
    renamed = prepare(path, 'data.labels=["negative", "positive"]')
    assert named_first(renamed, "train 0") == "positive"
    assert renamed.notices[0] == "data.labels renames the labels in train.parquet: bad is negative, good is positive"
    labelled(tmp_path / "test.parquet", ("good", "bad"), 1, 12)
    both = prepare(tmp_path)
    assert (both.labels, named_first(both, "train 0"), named_first(both, "test 0")) == (("bad", "good"), "good", "bad")
    assert both.notices[:2] == (
        "label names are those in train.parquet: 0 is bad, 1 is good",
        "label names are those in test.parquet: 0 is good, 1 is bad",
    )


@pytest.mark.parametrize(
    "metadata",
    [
        CLASS_LABEL.replace('["bad", "good"]', "null"),
        CLASS_LABEL.replace('["bad", "good"]', "7"),
        CLASS_LABEL.replace('["bad", "good"]', '"ab"'),
        CLASS_LABEL.replace('["bad", "good"]', '["bad", 1]'),
        CLASS_LABEL.replace('["bad", "good"]', '{"0": "bad"}'),
        '{"info": {"features": [1, 2]}}',
        '{"info": null}',
        "[1]",
        "no JSON",
        "[" * 100_000,
        "\udcff",
    ],
)
def test_metadata_without_usable_label_names_is_ignored(metadata: str, tmp_path: Path) -> None:
    texts, path = [f"text {i}" for i in range(40)], tmp_path / "a.parquet"
    stored = metadata.encode("utf-8", "surrogateescape")
    path.write_bytes(columns("parquet", text=texts, label=[0, 1] * 20, metadata=stored))
    assert prepare(path).labels == ("0", "1")


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jsonl", r"a\.jsonl has no column 'tags\.9+\.label'"), ("a.parquet", r"^40 row\(s\) have no label: ")],
)
def test_a_column_of_labels_with_very_many_digits(name: str, message: str, tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "tags": [{"label": "no"}]} for i in range(40)]
    if name == "a.jsonl":
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / name, f"data.label_column=tags.{'9' * 5000}.label")


@pytest.mark.parametrize("declared", [["good", "awful"], ["a", "b", "c"]])
def test_declared_names_that_do_not_fit_the_stored_ones(declared: list[str], tmp_path: Path) -> None:
    path = labelled(tmp_path / "a.parquet", ("bad", "good"), 1)
    with pytest.raises(DataError) as caught:
        prepare(path, f"data.labels={json.dumps(declared)}")
    assert str(caught.value) == (
        f"data.labels ({', '.join(declared)}) does not fit the label names in a.parquet (bad, good): use the same "
        "names, or as many others in the same order"
    )


@pytest.mark.parametrize(("labels", "first"), [((), "good"), (("good", "bad"), "good"), (("no", "yes"), "yes")])
def test_stored_names_of_the_hub(labels: tuple[str, ...], first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    table = datasets.Dataset.from_list(
        [{"text": f"text {i}", "label": (i + 1) % 2} for i in range(40)], features=features
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **keys: table)
    section = recipe.DataSection(dataset="hub", hub_id="somebody/reviews", revision="0" * 40, labels=labels)
    data = splits.clean(sources.load(section), section, seed=1)
    assert (data.labels, named_first(data, "text 0")) == (labels or ("bad", "good"), first)


def test_stored_names_that_no_row_has_are_left_out(tmp_path: Path) -> None:
    """In a file beside it without names, numbers still are positions in the whole list."""
    texts, metadata = [f"train {i}" for i in range(40)], class_label("neg", "neu", "pos")
    path = tmp_path / "train.parquet"
    path.write_bytes(columns("parquet", text=texts, label=[0, 2] * 20, metadata=metadata))
    data = prepare(path)
    assert (data.labels, named_first(data, "train 1")) == (("neg", "pos"), "pos")
    assert data.notices[:2] == (
        "label names are those in train.parquet: 0 is neg, 1 is neu, 2 is pos",
        "left out 1 label name(s) in train.parquet that no row has: 'neu'",
    )
    declared = prepare(path, 'data.labels=["neg", "pos"]')
    assert (declared.labels, named_first(declared, "train 1")) == (("neg", "pos"), "pos")
    renamed = prepare(path, 'data.labels=["a", "b", "c"]', "data.rare_labels=drop")
    assert (renamed.labels, named_first(renamed, "train 1")) == (("a", "c"), "c")
    with pytest.raises(DataError, match=r"^no training text has the label neu; the train split has neg, pos\. "):
        prepare(path, 'data.labels=["neg", "neu", "pos"]')
    write(tmp_path / "test.csv", [(f"test {i}", (0, 2)[i % 2]) for i in range(10)])
    both = prepare(tmp_path)
    assert (both.labels, named_first(both, "test 1")) == (("neg", "pos"), "pos")


def beyond(kind: str) -> dict[str, Any]:
    """A column whose last value Python cannot hold."""
    if kind == "date":
        return {"other": pyarrow.array([0] * 39 + [10**7], pyarrow.int32()).cast(pyarrow.date32())}
    unit = pyarrow.timestamp("s", "No/Where" if kind == "zone" else None)
    return {"other": pyarrow.array([None] * 39 + [1 if kind == "zone" else 10**15], pyarrow.int64()).cast(unit)}


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrow"])
@pytest.mark.parametrize("kind", ["date", "time", "zone"])
def test_columns_that_nobody_asked_for_are_not_read(kind: str, name: str, tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(40)]
    path = tmp_path / name
    path.write_bytes(columns(path.suffix[1:], text=texts, label=["no", "yes"] * 20, **beyond(kind)))
    assert sizes(prepare(path)) == (28, 4, 8)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, row 40: the column 'other' (")
    assert str(caught.value).endswith("; leave the column out, or write it as text")
    with pytest.raises(DataError, match=r"has no column 'labels' .*it has 'text', 'label', 'other'\. Name"):
        prepare(path, "data.label_column=labels")


@pytest.mark.parametrize(
    ("header", "delimiter"), [("text:label", ":"), ("label^text", "^"), ("id~text~label", "~"), ("text*label", "*")]
)
def test_names_with_a_delimiter_that_is_not_detected(header: str, delimiter: str, tmp_path: Path) -> None:
    """The advice leads to data that are read."""
    path, fields = tmp_path / "a.csv", header.count(delimiter) + 1
    rows = [delimiter.join([("no", "yes")[i % 2], f"{i}", f"{i}"][:fields]) for i in range(40)]
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        prepare(path, "data.text_column=text")
    assert str(caught.value) == (
        f"{path} has no column 'text'; it has {header!r}, which looks like several names with {delimiter!r} between "
        f"them. Say so with --set 'data.delimiter=\"{delimiter}\"'"
    )
    label = header.split(delimiter)[0]
    text = header.split(delimiter)[-1]
    data = prepare(path, f'data.delimiter="{delimiter}"', f"data.label_column={label}", f"data.text_column={text}")
    assert (data.labels, sizes(data)) == (("no", "yes"), (28, 4, 8))


def test_a_name_with_a_blank_is_no_header_with_a_delimiter(tmp_path: Path) -> None:
    some(tmp_path, "train.csv", 40)
    (tmp_path / "test.csv").write_text("review text\na\nb\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"has no column 'text'.*; it has 'review text'\. Name the right one with "):
        prepare(tmp_path)


def test_rows_by_number_are_not_taken_for_a_table_without_header(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({str(i): {"text": f"t {i}", "label": "no"} for i in range(3)}), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        prepare(path)
    assert str(caught.value) == (
        f"{path} has no column 'text'; it has '0', '1', '2'. Its columns look like numbers of rows: if pandas wrote it "
        'with orient="index", write it with orient="records". Name the right one with --set data.text_column=NAME'
    )


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", pairs(20, "no", "yes"), header=("I loved this film so much", "positive"))
    with pytest.raises(DataError) as caught:
        prepare(path)
    assert str(caught.value) == (
        f"{path} has no column 'text'; it has 'I loved this film so much', 'positive'. Its first row looks like data: "
        "if it has no header, add a line with names, such as text,label. Name the right one with "
        "--set data.text_column=NAME"
    )
    with pytest.raises(
        DataError, match=r"has no column 'label' \(did you mean 'labels'\?\); it has 'text', 'labels'\. Name"
    ):
        prepare(write(tmp_path / "a.csv", pairs(20, "no", "yes"), header=("text", "labels")))


# Folders


def some(folder: Path, name: str, count: int, prefix: str = "") -> Path:
    return write(folder / name, [(f"{prefix}{name} {i}", ("no", "yes")[i % 2]) for i in range(count)])


@pytest.mark.parametrize("name", ["validation.csv", "valid.csv", "val.csv", "dev.csv", "eval.jsonl"])
def test_validation_by_its_other_names(name: str, tmp_path: Path) -> None:
    for file, count in (("train.csv", 40), (name, 10), ("test.csv", 12)):
        some(tmp_path, file, count)
    data = prepare(tmp_path)
    assert sizes(data) == (40, 10, 12)
    told = [] if name == "validation.csv" else [f"{name} is read as the validation split"]
    assert list(data.notices) == told


def test_files_beside_the_splits_are_named(tmp_path: Path) -> None:
    for file in ("train.csv", "test.csv", "unsupervised.csv"):
        some(tmp_path, file, 40)
    (tmp_path / "README.md").write_text("about")
    assert "other files in the same folder are not read: unsupervised.csv" in prepare(tmp_path).notices
    alone = prepare(tmp_path / "train.csv")
    assert "other files in the same folder are not read: test.csv, unsupervised.csv" in alone.notices


@pytest.mark.parametrize("inner", ["data/train-00000-of-00001.csv", "data/train.csv", "train/0000.csv"])
def test_files_above_a_folder_that_is_looked_into_are_named(inner: str, tmp_path: Path) -> None:
    folder = tmp_path / "my [x] data*"
    for name, count in ((inner, 60), ("extra.csv", 3), ("raw.zip", 3), ("notes.md", 1)):
        some(folder, name, count)
    data = prepare(folder)
    assert sizes(data) == (43, 5, 12)
    assert data.notices[0] == "other files in the same folder are not read: extra.csv, raw.zip"


@pytest.mark.parametrize(
    "hidden", ["._a.csv", ".DS_Store", "~$a.xlsx", ".sentopt-files.json", "._train.csv", ".a.csv", "._data.parquet"]
)
def test_files_that_other_programs_hide_in_a_folder_are_no_tables(hidden: str, tmp_path: Path) -> None:
    some(tmp_path / "split" / "train", "a.csv", 40)
    some(tmp_path / "split" / "train", "b.csv", 40)
    some(tmp_path / "split" / "test", "a.csv", 10, "test ")
    some(tmp_path / "plain", "train.csv", 40)
    for folder in ("split", "split/train", "split/test", "plain", "plain/data", "plain/test"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / hidden).write_bytes(b"\x00\x05\x16\x07")
    split = prepare(tmp_path / "split")
    assert sizes(split) == (72, 8, 10)
    plain = prepare(tmp_path / "plain")
    assert sizes(plain) == (28, 4, 8)
    told = [notice for data in (split, plain) for notice in data.notices if "not read" in notice]
    assert told == []
    assert sizes(prepare(tmp_path / "split" / "train" / "*.csv")) == (57, 7, 16)


def test_the_layout_of_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for part in range(2):
        content = columns("parquet", text=[f"t{part} {i}" for i in range(20)], label=[0, 1] * 10, metadata=CLASS_LABEL)
        (folder / f"train-{part:05}-of-00002.parquet").write_bytes(content)
    content = columns("parquet", text=[f"test {i}" for i in range(12)], label=[0, 1] * 6, metadata=CLASS_LABEL)
    (folder / "test-00000-of-00001-0123456789abcdef.parquet").write_bytes(content)
    data = prepare(tmp_path)
    assert (data.labels, sizes(data)) == (("bad", "good"), (36, 4, 12))
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"train-\?{5}-of-00002\*\.parquet: 1 of 2 parts are there; fetch the others$"):
        prepare(tmp_path)


@pytest.mark.parametrize("with_test", [True, False])
def test_what_datasets_saves(with_test: bool, tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    made = {
        split: datasets.Dataset.from_list(
            [{"text": f"{split} {i}", "label": (i + 1) % 2} for i in range(count)], features=features
        )
        for split, count in (("train", 40), ("test", 12))
    }
    if with_test:
        datasets.DatasetDict(made).save_to_disk(tmp_path / "saved", num_shards={"train": 2, "test": 1})
    else:
        made["train"].save_to_disk(tmp_path / "saved")
    data = prepare(tmp_path / "saved")
    assert data.labels == ("bad", "good")
    assert sizes(data) == ((36, 4, 12) if with_test else (28, 4, 8))
    assert {e.text: e.label for examples in data.splits.values() for e in examples}["train 0"] == 1


def test_every_file_of_a_pattern_is_part_of_the_identity(tmp_path: Path) -> None:
    for part in "ab":
        some(tmp_path, f"part-{part}.csv", 20, part)
    made = recipe.resolve(
        {"run": {"name": "x"}, "data": {"dataset": "files", "train": f"{tmp_path}/part-*.csv"}}, source="test"
    )
    before = sources.identify(made.data)
    assert list(before) == ["train 1: part-a.csv", "train 2: part-b.csv"]
    some(tmp_path, "part-b.csv", 21, "b")
    changed = {key for key, digest in sources.identify(made.data).items() if digest != before[key]}
    assert changed == {"train 2: part-b.csv"}
    assert sources.load(made.data).description == "train: part-a.csv and 1 more"


def _both(folder: Path) -> None:
    some(folder, "train.csv", 9)
    some(folder, "train.jsonl", 9)


def _unnamed(folder: Path) -> None:
    some(folder, "reviews.csv", 9)


def _texts(folder: Path) -> None:
    (folder / "train" / "pos").mkdir(parents=True)
    (folder / "train" / "pos" / "1.txt").write_text("good")


EXPECTED = (
    "expected train with one of .csv, .csv.gz, .tsv, .tsv.gz, .jsonl, .jsonl.gz, .ndjson, .ndjson.gz, .json, .json.gz, "
    ".parquet, .arrow, .feather, .xlsx"
)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (
            _both,
            "{folder} holds two candidates for the train split: train.csv and train.jsonl; keep one of them in "
            "the folder",
        ),
        (
            _unnamed,
            f"the folder {{folder}} holds no train file; {EXPECTED}. It holds reviews.csv; rename one, or name it: "
            "--data {folder}/reviews.csv",
        ),
        (
            _texts,
            f"the folder {{folder}} holds no train file; {EXPECTED}. A folder of .txt files for each label is not "
            "read: write them into one table with the columns text and label",
        ),
        (lambda folder: None, f"the folder {{folder}} holds no train file; {EXPECTED}. It is empty"),
    ],
)
def test_folders_that_are_refused(fill: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(DataError) as caught:
        prepare(tmp_path)
    assert str(caught.value) == message.format(folder=tmp_path)


# Splits that a user gives


@pytest.mark.parametrize(
    ("test_file", "why"),
    [
        (
            "text,label\nx,\ny,\n",
            ["the labels of the test split are hidden (all empty): a test split is split off train"],
        ),
        (
            "text\nx\ny\n",
            [
                "test.csv has no column 'label'",
                "the labels of the test split are hidden (all empty): a test split is split off train",
            ],
        ),
        (
            "text,label\nx,-1\ny,-1\n",
            ["the labels of the test split are hidden (all -1): a test split is split off train"],
        ),
        ("text,label\n", ["test: no text is left of its 0 row(s); it is split off train instead"]),
    ],
)
def test_a_test_file_without_labels(test_file: str, why: list[str], tmp_path: Path) -> None:
    some(tmp_path, "train.csv", 60)
    (tmp_path / "test.csv").write_text(test_file)
    data = prepare(tmp_path)
    assert sizes(data) == (43, 5, 12)
    assert list(data.notices[:-2]) == why


def test_a_validation_file_that_is_the_test_file(tmp_path: Path) -> None:
    some(tmp_path, "train.csv", 40)
    content = some(tmp_path, "test.csv", 12).read_text()
    (tmp_path / "validation.csv").write_text(content.upper().replace("TEXT,LABEL", "text,label"))
    data = prepare(tmp_path)
    assert sizes(data) == (40, 12, 12)
    assert data.splits["validation"] == data.splits["test"]
    assert any("which flatters the test figures" in notice for notice in data.notices)
    assert sizes(prepare(tmp_path, "data.validation=")) == (36, 4, 12)


@pytest.mark.parametrize(
    ("name", "run"),
    [("отзывы.csv", "run-отзывы"), (" a .csv", "a"), ('"a"\'.csv', "a"), ("#.csv", "run"), ("été-1.csv", "run-été-1")],
)
def test_names_of_files_in_any_script(name: str, run: str, tmp_path: Path) -> None:
    path = some(tmp_path, name, 60)
    made = recipe.resolve({}, names.overrides(str(path)), source="test")
    assert (made.run.name, made.data.train) == (run, str(path))
    assert sizes(prepare(path)) == (43, 5, 12)


def test_a_pattern_on_the_command_line(tmp_path: Path) -> None:
    for part in "ab":
        some(tmp_path, f"part-{part}.csv", 20, part)
    assert sum(sizes(prepare(tmp_path / "part-*.csv"))) == 40
    for data, message in (
        (str(tmp_path / "other-*.csv"), f"no file matches {tmp_path}/other-*.csv"),
        ("https://example.org/a.csv", "--data https://example.org/a.csv is an address: download the file, and name it"),
    ):
        with pytest.raises(DataError) as caught:
            names.overrides(data)
        assert str(caught.value) == message


def test_ten_rows(tmp_path: Path) -> None:
    data = prepare(write(tmp_path / "a.csv", pairs(10, "no", "yes")))
    assert sizes(data) == (6, 2, 2)
    assert data.notices == (
        "test: split off train, 2 texts (20%, stratified, seed 42)",
        "validation: split off train, 2 texts (25%, one for each label at least, stratified, seed 42)",
        "2 label(s) have fewer than 10 training texts ('no': 3, 'yes': 3): add texts, such labels are hardly learned",
    )


def test_a_train_file_that_is_the_test_file(tmp_path: Path) -> None:
    content = some(tmp_path, "train.csv", 40).read_text()
    (tmp_path / "test.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        prepare(tmp_path)
    assert str(caught.value) == (
        "every training text is also in test; nothing is left to train on. Name other files, or none for a split that "
        "is to be split off train, for example --set data.test="
    )


def test_no_traceback_and_no_run_for_what_is_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for data, message in (
        (tmp_path / "nothing", "no such file, folder or dataset"),
        (tmp_path / "nothing.csv", "no such file"),
        (tmp_path, "holds no train file"),
    ):
        assert cli.main(["train", "--data", str(data), "--run-dir", str(tmp_path / "run")]) == 1
        assert message in capsys.readouterr().err
    some(tmp_path, "reviews.csv", 20)
    assert cli.main(["train", "--data", str(tmp_path / "reviews.csv"), "--set", "train.metric=f1"]) == 2
    assert capsys.readouterr().err == (
        "sentopt: --set: 1 problem in the recipe\n"
        "  - train.metric: expected one of 'accuracy', 'macro_f1', 'micro_f1', found 'f1' (str)\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.csv"]


@pytest.mark.parametrize(
    ("name", "content", "texts", "said"),
    [
        ("a.txt", "fine\ncaf\xe9\n", ("fine", "caf\xe9"), "read as windows-1252, which is a guess"),
        ("a.csv", "id;text\n1;Hello, you\n2;Bye\n", ("Hello, you", "Bye"), "the fields are separated by semicolons"),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n{"text": NaN}\n', ("a",), "1 of 3 rows are distinct texts"),
    ],
)
def test_unlabelled_texts_in_odd_files(
    name: str, content: str, texts: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("cp1252"))
    found = unlabelled.load(recipe.DataSection(unlabelled=str(path)), [], seed=1)
    assert found.texts == texts
    assert said in found.notice


# Fields inside of columns


def nested_rows(count: int) -> list[dict[str, Any]]:
    return [{"data": {"text": f"text {i}", "tags": [{"label": ("no", "yes")[i % 2]}]}, "id": i} for i in range(count)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.feather"])
def test_texts_and_labels_inside_of_columns(name: str, tmp_path: Path) -> None:
    path, rows = tmp_path / name, nested_rows(40)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_bytes(columns(path.suffix[1:], **{k: [row[k] for row in rows] for k in ("data", "id")}))
    keys = ("data.text_column=data.text", "data.label_column=data.tags.0.label")
    data = prepare(path, *keys)
    assert (data.labels, sizes(data)) == (("no", "yes"), (28, 4, 8))
    with pytest.raises(DataError, match=r"has no column 'text' \(did you mean 'data\.text'\?\); it has .*'data\.text'"):
        prepare(path, keys[1])
    with pytest.raises(DataError, match=r"has no column 'data\.label'"):
        prepare(path, keys[0], "data.label_column=data.label")


def test_stored_names_of_a_label_inside_of_a_column(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"data": {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}}
    )
    table = datasets.Dataset.from_list(
        [{"data": {"text": f"text {i}", "label": (i + 1) % 2}} for i in range(40)], features=features
    )
    table.to_parquet(tmp_path / "a.parquet")
    data = prepare(tmp_path / "a.parquet", "data.text_column=data.text", "data.label_column=data.label")
    assert (data.labels, named_first(data, "text 0")) == (("bad", "good"), "good")


def test_a_hub_dataset_with_fields_inside_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **keys: datasets.Dataset.from_list(nested_rows(40)))
    section = recipe.DataSection(
        dataset="hub", hub_id="a/b", revision="0" * 40, text_column="data.text", label_column="data.tags.0.label"
    )
    assert splits.clean(sources.load(section), section, seed=1).labels == ("no", "yes")
    with pytest.raises(DataError, match=r"has no column 'text' \(did you mean 'data\.text'\?\)"):
        sources.load(recipe.DataSection(dataset="hub", hub_id="a/b", revision="0" * 40, label_column="id"))


def test_a_row_without_the_keys_is_a_row_without_text_or_label(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": ("no", "yes")[i % 2]} for i in range(40)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"other": 1}, *rows, {"label": "no"}]))
    assert prepare(path, "data.missing_labels=drop").labels == ("no", "yes")
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"text": "odd"}]))
    with pytest.raises(DataError, match=r"^1 row\(s\) have no label: a\.jsonl line 41: no label"):
        prepare(path)


def test_shards_whose_columns_differ(tmp_path: Path) -> None:
    """Further columns, other types and another order are no trouble; a shard without the text is named."""
    shards = {
        "a.parquet": {"text": [f"a {i}" for i in range(20)], "label": ["no", "yes"] * 10},
        "b.parquet": {"label": pyarrow.array(["no", "yes"] * 10).dictionary_encode(), "n": [1] * 20},
        "c.parquet": {"text": pyarrow.array([f"c {i}" for i in range(20)], pyarrow.large_string())},
    }
    shards["b.parquet"]["text"] = [f"b {i}" for i in range(20)]
    shards["c.parquet"]["label"] = [b"no", b"yes"] * 10
    for name, values in shards.items():
        (tmp_path / name).write_bytes(columns("parquet", **values))
    data = prepare(tmp_path / "*.parquet")
    assert (data.labels, sum(sizes(data))) == (("no", "yes"), 60)
    (tmp_path / "b.parquet").write_bytes(columns("parquet", review=["x"], label=["no"]))
    with pytest.raises(DataError, match=r"b\.parquet has no column 'text'; it has 'review', 'label'"):
        prepare(tmp_path / "*.parquet")
    (tmp_path / "b.parquet").write_bytes(columns("parquet", review=["x"], stars=[1]))
    with pytest.raises(DataError, match=r"b\.parquet has no column 'text'; it has 'review', 'stars'"):
        prepare(tmp_path / "*.parquet")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_damaged_data_is_said_before_training(name: str, tmp_path: Path) -> None:
    plain = some(tmp_path, name.removesuffix(".gz"), 4000)
    packed = gzip.compress(plain.read_bytes())
    (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=rf"{name} is damaged: it cannot be unpacked beyond line \d+ \(\d+ bytes\)"):
        prepare(tmp_path / name)


def test_unlabelled_texts_inside_of_columns_and_rows_without_any(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n{"data": {"text": "a"}}\n{"id": 3, "data": {}}\n{"data": {"text": "cut \\ud83d"}}\n')
    found = unlabelled.load(recipe.DataSection(unlabelled=str(path), text_column="data.text"), [], seed=1)
    assert found.texts == ("a", "cut \ufffd")
    with pytest.raises(DataError, match=r"has no column 'text'; it has 'id', 'data'\. Give its column"):
        unlabelled.load(recipe.DataSection(unlabelled=str(path)), [], seed=1)
