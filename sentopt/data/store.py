"""Write and read the cleaned splits in a run directory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sentopt.data import pairs
from sentopt.data.duplicates import distinct_rows
from sentopt.data.examples import Example
from sentopt.data.rows import Examples, Lazy, Positions
from sentopt.data.splits import CleanData
from sentopt.errors import RunDirError
from sentopt.files import atomic
from sentopt.measure import label_sets
from sentopt.measure.decision import SINGLE, Decision
from sentopt.measure.label_sets import MULTI_LABEL
from sentopt.run_dir import THRESHOLDS_FILE, RunDir, Split
from sentopt.runtime.description import Text

_LABELS, _TASK, _PAIR = "labels.json", "task.json", "pair.json"
_LABEL, _SETS = b'"label": ', b'"labels": ['
_PROBLEM = "problem_type"


def write(run_dir: RunDir, clean: CleanData, *, columns: Sequence[str] = ()) -> None:
    """Write one JSONL file per split and the label names.

    Where a text has any number of labels, the task; of pairs, the names of their two `columns`.
    """
    with atomic.replace_folder(run_dir.data) as folder:
        (folder / _LABELS).write_text(json.dumps(clean.labels, ensure_ascii=False) + "\n", encoding="utf-8")
        if clean.multi_label:
            (folder / _TASK).write_text(json.dumps({_PROBLEM: MULTI_LABEL}) + "\n", encoding="utf-8")
        if len(columns) > 1:
            (folder / _PAIR).write_text(json.dumps(list(columns), ensure_ascii=False) + "\n", encoding="utf-8")
        for split, examples in clean.splits.items():
            with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
                stream.writelines(_line(example, multi_label=clean.multi_label) for example in examples)


def _line(example: Example, *, multi_label: bool) -> str:
    label = {"labels": label_sets.positions(example.label)} if multi_label else {"label": example.label}
    return json.dumps({**pairs.as_fields(example.text), **label}) + "\n"


def read_labels(run_dir: RunDir) -> tuple[str, ...]:
    """Label names in the order of the model's outputs."""
    path = run_dir.data / _LABELS
    try:
        return tuple(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise _missing(path) from error


def is_multi_label(run_dir: RunDir) -> bool:
    """Whether a text of a run has any number of labels: its label is then the code of them (`measure.label_sets`)."""
    path = run_dir.data / _TASK
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))[_PROBLEM] == MULTI_LABEL


def read_decision(run_dir: RunDir) -> Decision:
    """How the answers of a run's model follow from its logits; the thresholds are those of its checkpoint.

    Raises:
        RunDirError: the checkpoint of a run with several labels a text has none.
    """
    if not is_multi_label(run_dir):
        return SINGLE
    path = run_dir.checkpoint / THRESHOLDS_FILE
    try:
        return Decision(tuple(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError as error:
        raise _missing(path) from error


def read_pair(run_dir: RunDir) -> tuple[str, str] | None:
    """The names of the two texts of a pair; None where texts stand alone."""
    try:
        first, second = json.loads((run_dir.data / _PAIR).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return str(first), str(second)


def are_pairs(run_dir: RunDir) -> bool:
    """Whether the texts of a run are pairs."""
    return read_pair(run_dir) is not None


def read_split(run_dir: RunDir, split: Split) -> Examples:
    """The examples of one split. Only their labels are in memory: texts are read when they are asked for.

    Raises:
        RunDirError: the file is not there.
    """
    path, read_label = run_dir.split(split), _code if is_multi_label(run_dir) else _label
    starts, labels = array("q"), array("q")
    position = 0
    try:
        with path.open("rb") as stream:
            for line in stream:
                starts.append(position)
                labels.append(read_label(line))
                position += len(line)
    except FileNotFoundError as error:
        raise _missing(path) from error
    return Examples(_StoredTexts(path, np.array(starts, dtype=np.int64)), np.array(labels, dtype=np.int64))


def read_distinct(run_dir: RunDir) -> tuple[list[int], list[int]]:
    """Positions of the distinct test texts, and of the distinct validation texts that are not test texts."""
    seen: set[str] = set()
    test = distinct_rows(read_split(run_dir, "test").texts, seen)
    return test, distinct_rows(read_split(run_dir, "validation").texts, seen)


class _StoredTexts(Lazy[Text]):
    """The texts of the lines that start at these positions of a file."""

    def __init__(self, path: Path, starts: Positions) -> None:
        self._path, self._starts = path, starts

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Text]:
        with self._path.open("rb") as stream:
            position = 0
            for start in self._starts:
                if start != position:
                    stream.seek(int(start))
                line = stream.readline()
                position = int(start) + len(line)
                yield pairs.of_fields(json.loads(line))

    def _item(self, position: int) -> Text:
        return next(iter(self.take([position])))

    def take(self, positions: npt.ArrayLike) -> _StoredTexts:
        """The texts at these positions."""
        return _StoredTexts(self._path, self._starts[np.asarray(positions, dtype=np.int64)])


def _label(line: bytes) -> int:
    """The label of a line, without reading its text where the line is as `write` makes it."""
    try:
        return int(line.rpartition(_LABEL)[2].rstrip(b"\r\n")[:-1])
    except ValueError:
        return int(json.loads(line)["label"])


def _code(line: bytes) -> int:
    """The code of the labels of a line; see `_label`."""
    try:
        return label_sets.code_of(map(int, filter(None, line.rpartition(_SETS)[2].rstrip(b"\r\n")[:-2].split(b","))))
    except ValueError:
        return label_sets.code_of(json.loads(line)["labels"])


def _missing(path: Path) -> RunDirError:
    return RunDirError(f"{path} is missing: run `sentopt train` first")
