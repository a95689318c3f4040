"""What is pasted, and what is handed back for a spreadsheet."""

import csv
import io

import pytest

from sentopt.demo.pasted import column, lines, to_csv
from sentopt.errors import InputError


def read_back(written: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written, newline="")))


def test_lines_that_are_not_blank() -> None:
    assert lines("one\n\n  two words \r\n\t\nthree") == ["one", "two words", "three"]
    assert lines("") == lines(" \n\t\r\n") == []


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_a_column_is_found_by_its_name(delimiter: str) -> None:
    table = "id|text|label\n1| good one |x\n2|bad|y\n".replace("|", delimiter)
    assert column(table, "text") == ["good one", "bad"]
    assert column(table.replace("\n", "\r\n"), "label") == ["x", "y"]


def test_one_column_alone_needs_no_delimiter() -> None:
    assert column("text\nfirst\nsecond", "text") == ["first", "second"]


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks() -> None:
    table = 'text,n\n"said ""no"", then\nleft",1\n"plain",2\n'
    assert column(table, "text") == ['said "no", then\nleft', "plain"]


def test_blank_and_missing_cells_are_left_out() -> None:
    assert column("n,text\n1,first\n2,\n3,  \n4\n5,last,and more\n", "text") == ["first", "last"]


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_blank_lines_before_the_table_do_not_matter(delimiter: str) -> None:
    assert column(f"\n \nid{delimiter}text\n1{delimiter}good\n", "text") == ["good"]


def test_a_first_column_without_a_name_keeps_its_place() -> None:
    assert column("\ttext\tlabel\n0\tgood\tx\n1\tbad\ty\n", "text") == ["good", "bad"]


def test_delimiters_in_a_quoted_heading_do_not_count() -> None:
    assert column('"good; bad; or neither",text\nx,fine\n', "text") == ["fine"]


def test_a_missing_column_is_told_with_those_that_are_there() -> None:
    with pytest.raises(InputError, match=r"no column 'text'.*names: id, review$"):
        column("id,review\n1,good\n", "text")


@pytest.mark.parametrize("pasted", ["", "\n\n", "   "])
def test_nothing_pasted_has_no_columns(pasted: str) -> None:
    with pytest.raises(InputError, match="names: nothing"):
        column(pasted, "text")


def test_headings_without_rows_are_not_called_missing() -> None:
    assert column("id,text\n", "text") == []
    with pytest.raises(InputError, match="names: id, text"):
        column("id,text\n", "review")


@pytest.mark.parametrize(
    "table",
    [
        'text,n\n"never closed,1\n',
        'text,n\n"closed" too early,1\n',
        "text,n\rold line ends,1\rof a Macintosh,2\r",
    ],
    ids=["open quote", "text after a quote", "line ends"],
)
def test_a_broken_table_is_an_error_of_its_writer(table: str) -> None:
    with pytest.raises(InputError, match="the pasted table cannot be read"):
        column(table, "text")


@pytest.mark.parametrize("before", ["", " ", "   "])
@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_is_a_formula(first: str, before: str) -> None:
    cell = f"{before}{first}1+1"
    assert read_back(to_csv([cell], [[cell], ["plain"]])) == [["'" + cell], ["'" + cell], ["plain"]]


def test_a_formula_cannot_hide_behind_delimiters_and_quotes() -> None:
    cells = ['",=1+1', "a,=1+1", '"\n=1+1', '=cmd|"/c calc"!A1']
    written = to_csv(["text"], [[cell] for cell in cells])
    assert read_back(written) == [["text"], *([cell] for cell in cells[:3]), ["'" + cells[3]]]


@pytest.mark.parametrize("cell", ["", " ", "plain", "a = b", "1-1", "x@y.example", "'quoted'", "\U0001f600 0.93"])
def test_ordinary_cells_are_unchanged(cell: str) -> None:
    assert read_back(to_csv(["text", "score"], [[cell, "0.5"]])) == [["text", "score"], [cell, "0.5"]]


def test_every_cell_is_quoted() -> None:
    assert to_csv(["text", "n"], [["a", ""]]) == '"text","n"\r\n"a",""\r\n'


def test_what_is_written_is_read() -> None:
    rows = [["with, comma; and tab\tinside", 'a "quote"'], ["two\nlines", "ünïcode \U0001f600"], ["", "last"]]
    written = to_csv(["text", "label"], rows)
    assert read_back(written) == [["text", "label"], *rows]
    assert column(written, "label") == [row[1] for row in rows]
