import gzip
from pathlib import Path

import pytest

from sentopt.data import tables
from sentopt.errors import DataError

ROWS = [
    {"text": "plain", "n": "1"},
    {"text": 'with "quotes", commas\nand a line break', "n": "2"},
    {"text": "ünïcode 😀 \u2028 separator", "n": "3"},
    {"text": "", "n": "4"},
]


@pytest.mark.parametrize(
    "name", ["t.csv", "t.csv.gz", "t.tsv", "t.jsonl", "t.jsonl.gz", "t.ndjson", "t.parquet", "T.CSV"]
)
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with tables.RowWriter(path, ["text", "n"]) as writer:
        writer.write(ROWS[:2])
        writer.write(ROWS[2:])
    assert [dict(row) for row in tables.read_rows(path)] == ROWS
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    def stop_half_way() -> None:
        with tables.RowWriter(tmp_path / "t.csv", ["text"]) as writer:
            writer.write([{"text": "x"}])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert not list(tmp_path.iterdir())


def test_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes("\ufefftext,label\nhello,1\n".encode())
    assert next(tables.read_rows(path)) == {"text": "hello", "label": "1"}


def test_nul_and_very_long_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text\n" + "x" * 300_000 + "\na\0b\n")
    assert [len(row["text"]) for row in tables.read_rows(path)] == [300_000, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nfine,1\ncaf\xe9,0\n".encode("latin-1"), r"not UTF-8: byte 0xe9 in line 3.*iconv"),
        ("a.csv", b"text,label\na,b,c\n", "line 2: more fields than the header"),
        ("a.jsonl", b'{"text": "x"}\n{broken\n', "line 2: not JSON"),
        ("a.jsonl", b"[1, 2]\n", "line 1: expected a JSON object, found list"),
        ("a.csv.gz", b"not gzip", "malformed"),
        ("a.csv.gz", gzip.compress(b"text\n" + b"hello\n" * 9999)[:-20], "malformed"),
        ("a.parquet", b"PAR1 nonsense", "not a readable Parquet file"),
        ("a.xlsx", b"", "cannot tell the format"),
    ],
)
def test_malformed_files_say_what_and_where(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(tables.read_rows(path))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(tables.read_rows(tmp_path / "none.csv"))
