import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from sentopt.data import arrow_types, tables
from sentopt.data.options import TableOptions
from sentopt.data.row_writer import RowWriter
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
    with RowWriter(path, ["text", "n"]) as writer:
        writer.write(ROWS[:2])
        writer.write(ROWS[2:])
    assert [dict(row) for row in tables.read_rows(path)] == ROWS
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    def stop_half_way() -> None:
        with RowWriter(tmp_path / "t.csv", ["text"]) as writer:
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
        ("a.csv", b"text,label\na,b,c\n", "line 2: more fields than the header"),
        ("a.jsonl", b'{"text": "x"}\n{broken\n', "line 2: not JSON"),
        ("a.jsonl", b"[1, 2]\n", "line 1: expected a JSON object, found list"),
        ("a.csv.gz", b"not gzip", "is not packed with gzip, although its name says so: remove .gz from its name"),
        (
            "a.csv.gz",
            gzip.compress(b"text\n" + b"hello\n" * 9999)[:-20],
            "is damaged: it cannot be unpacked beyond line",
        ),
        ("a.parquet", b"PAR1 nonsense", "not a readable Parquet file"),
        ("a.xlsx", b"", "not a readable Excel workbook"),
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


def test_a_byte_that_is_not_utf8_far_into_the_file_is_found_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_bytes(b"text,label\n" + b"plain,1\n" * 400_000 + "caf\xe9,0\n".encode("latin-1"))
    said: list[str] = []
    *_, last = tables.read_rows(path, notify=said.append)
    assert last == {"text": "caf\xe9", "label": "0"}
    assert said == [
        "long.csv is not UTF-8 (byte 0xe9 in line 400002): read as windows-1252, which is a guess; a line then says "
        "'caf\xe9,0'. Another one can be named with --set data.encoding=NAME"
    ]


def test_a_stray_quote_far_into_the_file_is_an_error_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "long.tsv"
    lines = [f"plain {i}\t{i % 2}\n" for i in range(200_000)]
    lines[150_000] = '"' + lines[150_000]
    lines[150_020] = lines[150_020].replace("\t", '"\t')
    path.write_text("text\tlabel\n" + "".join(lines))
    with pytest.raises(
        DataError, match=r"line 150002: a quote opens a field that closes in line 150022, and each of these 21"
    ):
        list(tables.read_rows(path))
    assert len(list(tables.read_rows(path, TableOptions(quote="")))) == 200_000


def test_a_stray_quote_is_seen_by_the_label_that_its_line_ends_with(tmp_path: Path) -> None:
    """Where fields are quoted elsewhere in the file, and the delimiter is a comma."""
    path = tmp_path / "a.csv"
    rows = [f'"text, {i}",{("no", "yes")[i % 2]}\n' for i in range(40)]
    rows[20:22] = ['"stray,no\n', 'end",yes\n']
    path.write_text("text,label\n" + "".join(rows))
    with pytest.raises(
        DataError, match="line 22: a quote opens a field that closes in line 23, and each of these 2 lines"
    ):
        list(tables.read_rows(path))


def test_what_is_detected_is_set_in_the_words_of_the_verb(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text;label\na;1\n")
    said: list[str] = []
    list(tables.read_rows(path, TableOptions(setting="--{} {}"), said.append))
    assert said == ["a.csv: the fields are separated by semicolons (';'); --delimiter ',' if that is wrong"]


def test_text_tables_are_read_by_the_base_install(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from sentopt.data import arrow_types, tables
for name in sys.argv[1:]:
    assert list(tables.read_rows(Path(name))) == [{"text": "a", "label": "1"}], name
heavy = {"pandas", "pyarrow", "openpyxl", "charset_normalizer", "datasets", "sklearn", "torch"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    names = []
    for name, content in (
        ("a.csv", b"text;label\na;1\n"),
        ("u.csv", "text,label\na,1\n".encode("utf-16")),
        ("a.json", b'[{"text": "a", "label": "1"}]'),
        ("a.jsonl", b'{"text": "a", "label": "1"}'),
    ):
        (tmp_path / name).write_bytes(content)
        names.append(str(tmp_path / name))
    subprocess.run([sys.executable, "-c", script, *names], check=True)


def test_lines_in_another_encoding_and_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("fine\r\ncaf\xe9\n".encode("cp1252"))
    said: list[str] = []
    assert list(tables.read_lines(path, notify=said.append)) == ["fine", "caf\xe9"]
    assert said == [
        "a.txt is not UTF-8 (byte 0xe9 in line 2): read as windows-1252, which is a guess; a line then says 'caf\xe9'. "
        "Another one can be named with --set data.encoding=NAME"
    ]
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="is a ZIP archive or an Excel workbook, not text"):
        list(tables.read_lines(path))


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.txt"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "punycode"])
def test_a_stated_encoding_that_the_file_has_not(name: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"text": "a"}\n')
    read = tables.read_lines if name.endswith(".txt") else tables.read_rows
    with pytest.raises(DataError, match=rf"{name} is not {encoding}: .*Name its encoding with --set data\.encoding="):
        list(read(tmp_path / name, TableOptions(encoding=encoding)))


@pytest.mark.parametrize("encoding", ["", "utf-8-sig", "utf_8_sig", "U8"])
def test_utf8_with_a_mark_is_called_utf8(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext\ncaf\xe9\n")
    with pytest.raises(DataError, match=r"a\.csv is not UTF-8: byte 0xe9 in line 2\. "):
        list(tables.read_rows(tmp_path / "a.csv", TableOptions(encoding=encoding)))


def test_half_characters_of_json_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_text('{"text": "great \\ud83d", "more": ["\\ude00"]}\n{"text": "\\ud83d\\ude00"}\n')
    assert list(tables.read_rows(path)) == [{"text": "great \ufffd", "more": ["\ufffd"]}, {"text": "\U0001f600"}]


def test_columns_of_several_kinds_are_written_to_parquet(tmp_path: Path) -> None:
    late = [{"note": None, "n": 1, "any": i} for i in range(3)]
    rows = [*late, {"note": "hello", "n": 1.5, "any": {"a": 1}}, {"note": None, "n": None, "any": "text"}]
    survey = arrow_types.TypeSurvey()
    survey.add(rows)
    with RowWriter(tmp_path / "t.parquet", ["note", "n", "any"], survey.types()) as writer:
        writer.write(rows[:3])
        writer.write(rows[3:])
    found = list(tables.read_rows(tmp_path / "t.parquet"))
    assert [row["note"] for row in found] == [None, None, None, "hello", None]
    assert [row["n"] for row in found] == [1.0, 1.0, 1.0, 1.5, None]
    assert [row["any"] for row in found] == ["0", "1", "2", '{"a": 1}', "text"]


def test_what_parquet_cannot_hold_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="the values of column 'n' do not fit into one type of Parquet"),
        RowWriter(tmp_path / "t.parquet", ["n"]) as writer,
    ):
        writer.write([{"n": 1}, {"n": "a"}])
    assert not list(tmp_path.iterdir())


def workbook(path: Path, rows: list[list[object]]) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_a_column_of_a_workbook_without_a_name_is_kept(tmp_path: Path) -> None:
    said: list[str] = []
    path = workbook(tmp_path / "index.xlsx", [[None, "text"], [0, "a"], [1, "b"]])
    rows = list(tables.read_rows(path, notify=said.append))
    assert rows == [{"column 1": 0, "text": "a"}, {"column 1": 1, "text": "b"}]
    assert said == ["index.xlsx: columns without a name are called column 1"]


def test_formulas_without_a_stored_value_are_no_empty_cells(tmp_path: Path) -> None:
    path = workbook(tmp_path / "made.xlsx", [["text", "label"], ["a", "x"], ['="b"&"c"', "y"]])
    with pytest.raises(DataError, match=r"row 3: the value of the formula =\"b\"&\"c\" is not stored in the file"):
        list(tables.read_rows(path))
