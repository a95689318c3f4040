"""Lists of texts that visitors bring: lines, pasted tables and files, and what their columns are likely for."""

import base64
import io
import json
import zipfile

import pytest

from sentopt.demo import text_lists
from sentopt.demo.text_lists import TextList, likely_label, likely_text, looks_like_table, positions
from sentopt.errors import InputError

LABELS = ("negative", "neutral", "positive")


def uploaded(name: str, content: bytes, most: int = 100) -> TextList:
    return text_lists.from_upload(f"{name}\n{base64.b64encode(content).decode()}", most=most)


def pasted(table: str, most: int = 100) -> TextList:
    return text_lists.from_table(table, most=most)


def test_lines_keep_their_places_and_the_blank_ones_between() -> None:
    assert text_lists.from_lines("one\n\n  two words \r\nthree\n\n").rows == (
        ("one",),
        ("",),
        ("two words",),
        ("three",),
    )
    assert text_lists.from_lines(" \n").rows == ()


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
def test_a_pasted_table_is_read_with_all_columns(delimiter: str) -> None:
    table = "id#text#label\n1#good one#x\n2#bad#y\n3##z\n".replace("#", delimiter)
    found = pasted(table)
    assert found.columns == ("id", "text", "label")
    assert found.rows == (("1", "good one", "x"), ("2", "bad", "y"), ("3", "", "z"))
    assert found.column(found.columns.index("text")) == ["good one", "bad", ""]


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks() -> None:
    found = pasted('text,n\n"said ""no"", then\nleft",1\n"plain",2\n')
    assert found.column(found.columns.index("text")) == ['said "no", then\nleft', "plain"]


def test_blank_lines_before_the_table_do_not_matter() -> None:
    assert pasted("\n \nid\ttext\n1\tgood\n").column(1) == ["good"]


@pytest.mark.parametrize("table", ["", "text", "text\n", "a,b\n1,2,3\n"])
def test_what_is_no_table_is_refused_in_words_without_a_path_or_an_option(table: str) -> None:
    with pytest.raises(InputError) as refused:
        pasted(table)
    assert "the pasted table" in str(refused.value)
    assert "/" not in str(refused.value)
    assert "--" not in str(refused.value)


def test_how_a_table_was_read_is_told() -> None:
    found = pasted('text,n\n"never closed,1\n')
    assert found.column(found.columns.index("text")) == ['"never closed']
    assert "quotes are read as ordinary characters" in found.notices[0]
    assert found.notices[0].startswith("the pasted table: ")


def test_a_missing_column_is_told() -> None:
    with pytest.raises(InputError, match="the table has 2 columns, and no column 6"):
        pasted("id,review\n1,good\n").column(5)


def test_more_rows_than_are_answered_are_refused() -> None:
    assert len(pasted("text\n" + "good\n" * 100).rows) == 100
    with pytest.raises(InputError, match="more than 100 rows"):
        pasted("text\n" + "good\n" * 101)


def test_files_are_read_by_their_names() -> None:
    csv = "id;review\n1;sehr schön\n".encode("cp1252")
    assert uploaded("C:\\fakepath\\a.csv".replace("\\", "/"), csv).column(1) == ["sehr schön"]
    lines = b'{"id": 1, "text": "good", "tags": ["a"]}\n{"id": 2, "text": null}\n'
    found = uploaded("a.jsonl", lines)
    assert found.columns == ("id", "text", "tags")
    assert found.rows == (("1", "good", '["a"]'), ("2", "", ""))
    listed = json.dumps([{"text": "x"}, {"text": "y"}]).encode()
    assert uploaded("a.json", listed).column(0) == ["x", "y"]


def test_a_workbook_is_read() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", "text", "sentiment"], [1, "good day", "positive"], [2, None, None]):
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    found = uploaded("list.xlsx", stream.getvalue())
    assert found.rows == (("1", "good day", "positive"), ("2", "", ""))


def test_a_workbook_that_would_fill_the_memory_is_not_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (2**23 + 1))
    with pytest.raises(InputError, match=r"bomb\.xlsx is too large when it is unpacked"):
        uploaded("bomb.xlsx", stream.getvalue())


@pytest.mark.parametrize("name", ["a.exe", "a", "a.pkl", "a.parquet", "a.csv.gz"])
def test_other_files_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match="expected a table"):
        uploaded(name, b"text\ngood\n")


@pytest.mark.parametrize(
    ("name", "content"), [("a.xlsx", b"no workbook"), ("a.csv", b"\x00\x01\x02" * 40), ("a.json", b"{")]
)
def test_damaged_files_are_refused_under_their_own_names(name: str, content: bytes) -> None:
    with pytest.raises(InputError) as refused:
        uploaded(name, content)
    assert name in str(refused.value)
    assert "sentopt-" not in str(refused.value)
    assert "/table" not in str(refused.value)


def test_what_the_browser_did_not_send_is_refused() -> None:
    with pytest.raises(InputError, match=r"big\.csv is too large for this page"):
        text_lists.from_upload("big.csv\ntoo large", most=5)
    with pytest.raises(InputError, match="did not arrive whole"):
        text_lists.from_upload("a.csv\n%%%", most=5)


def test_a_name_with_control_characters_is_shown_without_them() -> None:
    assert text_lists.name_of("../../etc/a\x1b[31m.csv\nxx") == "a�[31m.csv"


@pytest.mark.parametrize(
    "text",
    [
        "id\ttext\n1\tgood",
        "text\nfirst\nsecond",
        "Review\nfirst, and more\nsecond",
        "sentence,label\nIt is a wonderful, warm film,positive\ngood,negative\nbad,negative",
        "a;b\n1;2\n3;4",
        "name|stars\nx|1",
    ],
)
def test_tables_are_recognised(text: str) -> None:
    assert looks_like_table(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "one line",
        "Great film, loved it\nBad food, slow service",
        "I came.\nI saw.\nI left.",
        "Good; cheap.\nBad; dear.",
        "12,5\n13,4",
        "Wow, great, nice\nBad, dull, long",
    ],
)
def test_texts_are_not_taken_for_tables(text: str) -> None:
    assert not looks_like_table(text)


def test_columns_are_guessed_by_name_and_by_content() -> None:
    rows = (("1", "5", "good", "Positive"), ("2", "1", "bad", "Negative"))
    table = TextList(("id", "stars", "comment", "Sentiment"), rows)
    assert likely_text(table) == 2
    assert likely_label(table, LABELS, 2) == 3
    other = TextList(("a", "b", "c"), (("1", "a long text", "neutral"), ("2", "another one", "")))
    assert likely_text(other) == 1
    assert likely_label(other, LABELS, 1) == 2
    assert likely_label(TextList(("a", "b"), (("1", "x"), ("2", "y"))), LABELS, 1) is None


def test_labels_are_found_whatever_their_case() -> None:
    assert positions([" Positive", "negative", "", "mixed"], LABELS) == [2, 0, None, None]


@pytest.mark.parametrize(
    ("values", "labels", "found"),
    [
        (["0", "2", ""], LABELS, [0, 2, None]),
        (["0", "1", "x"], LABELS, [0, 1, None]),
        (["1.0", "0.0"], LABELS, [1, 0]),
        (["1", "2", "3"], LABELS, [None, None, None]),  # counted from 1, or of another model
        (["1", "5"], ("5", "1"), [1, 0]),
        (["1.0", "2.0", ""], ("1", "2", "3"), [0, 1, None]),
        (["123456789012"], LABELS, [None]),
    ],
)
def test_numbers_are_names_of_labels_or_else_positions(
    values: list[str], labels: tuple[str, ...], found: list[int | None]
) -> None:
    assert positions(values, labels) == found


def test_a_column_that_counts_from_one_is_not_taken_for_labels() -> None:
    table = TextList(("text", "label"), (("a", "1"), ("b", "2"), ("c", "3")))
    assert likely_label(table, LABELS, 0) is None


def test_columns_without_a_name_get_one() -> None:
    assert pasted(",review,none\n12345,great film,positive\n").columns == ("column 1 without a name", "review", "none")


@pytest.mark.parametrize("content", [b"[{}]", b"[{}, {}]"])
def test_rows_without_columns_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.json has 0 columns"):
        uploaded("a.json", content)


def test_many_columns_are_refused_before_they_fill_the_memory() -> None:
    with pytest.raises(InputError, match=r"wide\.csv has 4,000 columns; at most 200"):
        uploaded("wide.csv", (",".join(f"c{i}" for i in range(4_000)) + "\n").encode() * 2)
    rows = [{f"k{i}-{j}": 1 for j in range(20)} for i in range(90)]
    with pytest.raises(InputError, match=r"a\.json has 1,800 columns; from 1 to 200"):
        uploaded("a.json", json.dumps(rows).encode())


def test_a_workbook_with_a_row_that_excel_does_not_have_is_refused_soon() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["text"])
    book.active.append(["good"])
    stream = io.BytesIO()
    book.save(stream)
    far = io.BytesIO()
    with zipfile.ZipFile(stream) as source, zipfile.ZipFile(far, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(b'<row r="2"', b'<row r="999999999999"'))
    with pytest.raises(InputError, match=r"far\.xlsx: a row beyond 1,048,576"):
        uploaded("far.xlsx", far.getvalue())


def test_a_name_that_ends_like_another_is_told_once() -> None:
    with pytest.raises(InputError, match=r"^mytable\.csv, line 2: "):
        uploaded("mytable.csv", b"a,b\n1,2,3\n")


def test_a_long_cell_of_pasted_text_is_no_table() -> None:
    assert not looks_like_table("x" * 200_000 + "\nanother line")


def test_line_separators_within_a_text_do_not_end_it() -> None:
    assert text_lists.from_lines("a\u2028b\x0bc\nd").rows == (("a\u2028b\x0bc",), ("d",))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("joy", {1}),
        (" Joy ; ANGER ", {0, 1}),
        ("joy|fear, or not", {1, 2}),
        ("fear, or not", {2}),
        ("fear, or not, joy", None),
        ('["anger", "fear, or not"]', {0, 2}),
        ("['joy', 'anger']", {0, 1}),
        ("[]", set()),
        ("", set()),
        ("sad", None),
        ("joy; sad", None),
        ("[1]", None),
    ],
)
def test_a_cell_may_hold_several_labels(value: str, found: set[int] | None) -> None:
    assert text_lists.sets_of([value], ("anger", "joy", "fear, or not")) == [
        None if found is None else frozenset(found)
    ]


@pytest.mark.parametrize(
    ("pasted", "columns"),
    [
        ("aspect\ttext\na\tlong text", (1, 0)),
        ("n\tText\tASPECT\n1\ta\tb", (1, 2)),
        ("aspect\tlabel\treview\nx\tgood\ta long one", (2, 0)),
        ("premise\tlabel\thypothesis\na long one\tgood\ta short", (0, 2)),
        ("label\ttext\ngood\tbad", (1, 0)),
    ],
)
def test_the_columns_of_pairs_are_found_by_name_or_by_length(pasted: str, columns: tuple[int, int]) -> None:
    table = text_lists.from_table(pasted, most=5)
    assert text_lists.likely_pair(table, ("text", "aspect"), ("good", "bad")) == columns


def test_a_table_of_pairs_has_two_columns() -> None:
    with pytest.raises(
        InputError, match="has one column, 'text'; expected one for each text of a pair: 'text' and 'b'"
    ):
        text_lists.likely_pair(text_lists.from_table("text\na", most=5), ("text", "b"), ("good", "bad"))
