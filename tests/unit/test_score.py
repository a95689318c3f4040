"""Scoring a table without a model: what is read, how often, and which columns come out."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sentopt.bundles import score
from sentopt.data import tables


class OneLabel:
    """Answers every text with the same label."""

    labels = ("good", "bad")
    thresholds = ()

    def predict(self, texts: Sequence[str]) -> list[Any]:
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


@pytest.mark.parametrize("target", ["out.parquet", "out.jsonl"])
def test_json_with_changing_columns_is_read_twice_and_keeps_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    reads = []

    read = tables.read_numbered

    def counted(path: Path, *options: Any) -> Any:
        reads.append(path)
        return read(path, *options)

    monkeypatch.setattr(tables, "read_numbered", counted)
    rows = [{"text": "a", "n": 1}, {"text": "b", "more": "x", "n": 2.5}, {"text": "c"}]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = score.score_table(
        OneLabel(),  # type: ignore[arg-type]
        source,
        tmp_path / target,
        text_column="text",
        progress=False,
    )
    assert (summary.rows, len(reads)) == (3, 2)
    scored = list(tables.read_rows(tmp_path / target))
    if target == "out.parquet":
        assert list(scored[0]) == ["text", "n", "more", "label", "score", "p_good", "p_bad"]
    else:
        assert list(scored[2]) == ["text", "label", "score", "p_good", "p_bad"]
    assert [row.get("more") for row in scored] == [None, "x", None]
    assert [row.get("n") for row in scored] == [1, 2.5, None]
