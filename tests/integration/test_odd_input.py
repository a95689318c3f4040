"""Texts and tables that the usual tests do not have, through the verbs."""

import json
from pathlib import Path

import pytest
from csv_files import read_csv, write_csv

from sentopt import cli


def test_a_script_that_the_backbone_does_not_know_is_said_before_training(
    backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"สวัสดี {'ดี' if i % 2 else 'ไม่'} {chr(0x0E01 + i)}", ("no", "yes")[i % 2]) for i in range(40)]
    data = write_csv(tmp_path / "thai.csv", rows)
    arguments = ["train", "--data", str(data), "--model", str(backbone), "--run-dir", str(tmp_path / "run")]
    settings = ["--set", "train.max_steps=1", "--set", "model.max_length=32", "--set", "train.precision=fp32"]
    for _ in range(2):  # the second time nothing is trained
        assert cli.main([*arguments, *settings]) == 0
        err = capsys.readouterr().err
        assert err.count(f"note: {backbone} does not know 100% of the tokens of the texts (28 sampled), such as") == 1
    assert "choose a backbone trained on this language" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "content", "said"),
    [
        (
            [],
            "id;text\n1;Hello, you\n2;Bye\n",
            "note: in.csv: the fields are separated by semicolons (';'); --delimiter ','",
        ),
        ([], 'id,text\n1,"Hello,\nyou"\n2,Bye\n', 'If each line is a row: --quote ""'),
        (["--delimiter", "#"], "id#text\n1#Hello, you\n2#Bye\n", ""),
        (["--quote", ""], 'id\ttext\n1\t"Hello\n2\tBye"\n', ""),
        (["--encoding", "cp1252"], "id,text\n1,caf\xe9\n2,Bye\n", ""),
    ],
)
def test_odd_tables_are_scored(
    fp32_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    content: str,
    said: str,
) -> None:
    path = tmp_path / ("in.tsv" if "\t" in content else "in.csv")
    path.write_bytes(content.encode("cp1252"))
    target = tmp_path / "out.csv"
    code = cli.main(["predict", "--bundle", str(fp32_bundle), "--input", str(path), "--output", str(target), *options])
    assert code == 0
    assert [row["id"] for row in read_csv(target)] == ["1", "2"]
    err = capsys.readouterr().err
    assert said in err
    assert bool(said) == ("note:" in err)


def test_rows_without_a_text_are_scored_as_the_empty_text(fp32_bundle: Path, tmp_path: Path) -> None:
    path, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"text": "Hello"}\n{"other": 1}\n{"text": null}\n{"text": NaN}\n')
    assert cli.main(["predict", "--bundle", str(fp32_bundle), "--input", str(path), "--output", str(target)]) == 0
    scores = [json.loads(line)["score"] for line in target.read_text().splitlines()]
    assert len(scores) == 4
    assert len(set(scores[1:])) == 1
