"""The stored splits are read lazily, and whatever a JSON writer makes of a line."""

import json
from pathlib import Path

import pytest

from sentopt.data import store
from sentopt.data.examples import Example
from sentopt.data.rows import Examples
from sentopt.data.splits import CleanData
from sentopt.errors import RunDirError
from sentopt.run_dir import RunDir

EXAMPLES = [
    Example(t, i % 2) for i, t in enumerate(["a", "", 'quoted "label": 7}', "é\u2028\x85\n", "😀", '"label": 1'])
]


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    examples = Examples.of(EXAMPLES)
    splits = {"train": examples, "validation": examples[:2], "test": examples[::-1]}
    run_dir = RunDir(tmp_path)
    store.write(run_dir, CleanData(splits, ("no", "yes"), ()))  # type: ignore[arg-type]
    return run_dir


def test_what_is_written_is_read(run_dir: RunDir) -> None:
    train = store.read_split(run_dir, "train")
    assert train == EXAMPLES
    assert train.labels.tolist() == [e.label for e in EXAMPLES]
    assert store.read_split(run_dir, "test") == EXAMPLES[::-1]
    assert train.take([4, 0, 2, 2]) == [EXAMPLES[i] for i in (4, 0, 2, 2)]
    assert train[1:].texts[-1] == EXAMPLES[-1].text
    assert store.read_labels(run_dir) == ("no", "yes")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_of_other_writers_are_read(run_dir: RunDir, ending: str) -> None:
    lines = [
        json.dumps({"label": e.label, "text": e.text, "more": [1]}, ensure_ascii=False, separators=(",", ":"))
        for e in EXAMPLES
    ]
    lines[0] = '{"text": "a", "label": 0 }'
    run_dir.split("train").write_bytes(ending.join(lines).encode())
    assert store.read_split(run_dir, "train") == EXAMPLES


def test_a_missing_split_says_how_to_make_it(run_dir: RunDir) -> None:
    run_dir.split("train").unlink()
    with pytest.raises(RunDirError, match="run `sentopt train` first"):
        store.read_split(run_dir, "train")
