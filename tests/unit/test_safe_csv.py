"""What is handed back for a spreadsheet."""

import csv
import io

import pytest

from sentopt.files.safe_csv import to_csv


def read_back(written: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written, newline="")))


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


@pytest.mark.parametrize("cell", ["-5", "+3.2", "-1,234.5", " -7%", "-1e-05"])
def test_numbers_are_no_formulas_and_stay_what_they_are(cell: str) -> None:
    assert read_back(to_csv(["id"], [[cell]])) == [["id"], [cell]]


def test_every_cell_is_quoted() -> None:
    assert to_csv(["text", "n"], [["a", ""]]) == '"text","n"\r\n"a",""\r\n'


def test_what_is_written_is_read() -> None:
    rows = [["with, comma; and tab\tinside", 'a "quote"'], ["two\nlines", "ünïcode \U0001f600"], ["", "last"]]
    written = to_csv(["text", "label"], rows)
    assert read_back(written) == [["text", "label"], *rows]
