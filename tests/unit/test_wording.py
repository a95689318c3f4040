"""Errors advise arguments in Python, and options on the command line."""

import pytest

import sentopt
from sentopt import cli
from sentopt.errors import SentoptError
from sentopt.wording import in_python


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("with --set data.text_column=NAME", "with overrides={'data.text_column': 'NAME'}"),
        ('say --set \'data.labels=["a","b"]\'.', 'say overrides={\'data.labels\': ["a","b"]}.'),
        (
            "or set train.precision: --set train.precision=fp32.",
            "or set train.precision: overrides={'train.precision': 'fp32'}.",
        ),
        ("name another one with --run-dir NEW_FOLDER", "name another one with run_dir=NEW_FOLDER"),
        ("choose another --run-dir", "choose another run_dir="),
        ("replace it with --force", "replace it with force=True"),
        ("name labelled texts with --data", "name labelled texts with data="),
        ("give its folder: --model FOLDER", "give its folder: model=FOLDER"),
        ("Name it with --text-column", "Name it with text_column="),
        ("with options=TableOptions(encoding=cp1252).", "with options=TableOptions(encoding='cp1252')."),
        ("`sentopt emulator --yes` does it", "`sentopt.emulator(fetch=True)` does it"),
        ("`sentopt emulator` says what", "`sentopt.emulator()` says what"),
        ("nothing to change: a--b", "nothing to change: a--b"),
    ],
)
def test_options_become_arguments(said: str, expected: str) -> None:
    assert in_python(said) == expected


def test_each_caller_reads_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SentoptError, match=r"^data= nowhere\.csvx: no such file"):
        sentopt.train("nowhere.csvx", progress=False)
    assert cli.main(["train", "--data", "nowhere.csvx"]) == 1
    assert capsys.readouterr().err.startswith("sentopt: --data nowhere.csvx: no such file")
