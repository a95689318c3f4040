"""Tokenized training texts: in memory, or in an Arrow file that is mapped, so that millions take no memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.compute

from sentopt.data.rows import Examples, in_memory
from sentopt.files import atomic
from sentopt.runtime.description import Text
from sentopt.training import checkpoints
from sentopt.training.soft_labels import SoftLabels

NO_LABEL = -100  # as PyTorch's losses ignore it
SOFT_LABELS = "soft_labels"  # column of a teacher's logits
_FILE = "texts.arrow"
BATCH = 4096
Encoded = dict[str, Any]
_TYPES = {
    "input_ids": pyarrow.list_(pyarrow.int32()),
    "attention_mask": pyarrow.list_(pyarrow.int8()),
    "token_type_ids": pyarrow.list_(pyarrow.int8()),
}


@dataclass(frozen=True)
class Tokenized:
    """Texts as the Trainer takes them, with the tokens of each, int64, and its label, `NO_LABEL` if it has none."""

    texts: Any
    lengths: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, encoded: Sequence[Encoded]) -> Tokenized:
        """Encoded texts in memory."""
        lengths = np.array([len(e["input_ids"]) for e in encoded], dtype=np.int64)
        return cls(encoded, lengths, np.array([e["labels"] for e in encoded], dtype=np.int64))

    @classmethod
    def open(cls, folder: Path) -> Tokenized:
        """What `write` left in `folder`."""
        # A mapped file could not be removed on Windows when the training has ended.
        texts = datasets.Dataset.from_file(str(folder / _FILE), in_memory=sys.platform == "win32")
        columns = texts.data.table
        lengths = pyarrow.compute.list_value_length(columns["input_ids"])
        return cls(texts, lengths.to_numpy().astype(np.int64), columns["labels"].to_numpy())


def write(
    folder: Path,
    tokenizer: Any,
    train: Examples,
    soft_labels: SoftLabels | None = None,
    *,
    advance: Callable[[int], None] = lambda texts: None,
) -> None:
    """Tokenize the training texts and those of the teacher into a file of `folder`, unless that is there.

    The folder is complete or not there. What it depends on is for the caller to know.
    """
    if (folder / _FILE).is_file():
        return
    with atomic.replace_folder(folder) as fresh, pyarrow.OSFile(str(fresh / _FILE), "wb") as sink:
        writer = None
        for batch in _batches(tokenizer, train, soft_labels):
            writer = writer or pyarrow.ipc.new_stream(sink, batch.schema)
            writer.write_batch(batch)
            advance(batch.num_rows)
        if writer is not None:
            writer.close()


def encode(tokenizer: Any, examples: Examples) -> list[Encoded]:
    """Inputs and label of each text, in memory."""
    columns = _tokens_of(tokenizer, list(examples.texts))
    names = list(columns)
    return [
        {**{name: columns[name][i] for name in names}, "labels": label}
        for i, label in enumerate(examples.labels.tolist())
    ]


def _tokens_of(tokenizer: Any, texts: Sequence[Text]) -> dict[str, list[Any]]:
    """The inputs of each text. Of pairs of long texts, only parts are tokenized that have the same tokens."""
    if texts and not isinstance(texts[0], str):
        encoder = checkpoints.encoder_of(tokenizer, tokenizer.model_max_length, pairs=True)
        texts = [text if isinstance(text, str) else encoder.shortened(text) for text in texts]
    return checkpoints.tokens_of(tokenizer, texts, truncation=True)


def _batches(tokenizer: Any, train: Examples, soft_labels: SoftLabels | None) -> Iterator[pyarrow.RecordBatch]:
    """Record batches of all columns."""
    further = in_memory(soft_labels.texts) if soft_labels else ()
    done = 0
    for texts, labels in _labelled((train.texts, train.labels.tolist()), (further, [NO_LABEL] * len(further))):
        encoded = _tokens_of(tokenizer, texts)
        columns = {name: pyarrow.array(values, _TYPES.get(name)) for name, values in encoded.items()}
        columns["labels"] = pyarrow.array(labels, pyarrow.int64())
        if soft_labels is not None:
            rows = soft_labels.logits[done : done + len(texts)].tolist()
            columns[SOFT_LABELS] = pyarrow.array(rows, pyarrow.list_(pyarrow.float32()))
        done += len(texts)
        yield pyarrow.record_batch(columns)


def _labelled(*parts: tuple[Iterable[Text], Iterable[int]]) -> Iterator[tuple[list[Text], list[int]]]:
    for texts, labels in parts:
        rows = zip(texts, labels, strict=True)
        while batch := list(islice(rows, BATCH)):
            yield [text for text, _ in batch], [label for _, label in batch]
