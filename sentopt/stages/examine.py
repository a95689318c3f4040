"""Stage `examine`: what the variant that ships gets right and wrong, text by text, beside PyTorch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sentopt.data import store
from sentopt.files import atomic
from sentopt.measure import confidence
from sentopt.recipe import Recipe
from sentopt.results import (
    AnsweredText,
    ChangedAnswer,
    ChangedAnswers,
    Confidence,
    ExamineResult,
    LengthBand,
    ScoreBand,
    WrongAnswer,
)
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import softmax
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder

_SHOWN = 20  # wrong answers in the record; all are in the file
_SHOWN_CHANGES = 5  # lost texts of a variant, and as many gained ones
_LONGEST = 300  # characters of a text in the record
_SURE = 0.95
_BANDS = 4  # of lengths
_SCORE_BANDS = 10
T = TypeVar("T", bound=AnsweredText)


@dataclass(frozen=True)
class _Split:
    """The distinct test texts, with the probabilities of the variant and of PyTorch."""

    rows: list[int]
    texts: list[str]
    truth: np.ndarray
    own: FloatArray
    reference: FloatArray
    tokens: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether the variant answers each text correctly."""
        return np.asarray(self.own.argmax(axis=1) == self.truth)


def run(
    recipe: Recipe, run_dir: RunDir, variant: str, trained: Confidence, inexact: Sequence[str] = ()
) -> ExamineResult:
    """Look at the stored answers of `variant`, and at what each of `inexact` changes; write `mistakes.csv`.

    `trained` is the confidence of the PyTorch model.
    """
    split = _read(recipe, run_dir, variant)
    thresholds = tuple(point.threshold for point in trained.coverage)
    own = Confidence(
        temperature=trained.temperature,
        error=confidence.expected_calibration_error(split.own, split.truth),
        error_before=trained.error_before,
        coverage=confidence.coverage(split.own, split.truth, thresholds),
    )
    labels = store.read_labels(run_dir)
    wrong = _wrong(split, labels)
    _write(run_dir, variant, wrong)
    changes = (_changes(split, name, run_dir, labels) for name in inexact)
    return ExamineResult(
        variant=variant,
        texts=len(split.texts),
        confidence=own,
        reference_error=confidence.expected_calibration_error(split.reference, split.truth),
        bands=tuple(_score_bands(split)),
        lengths=tuple(_length_bands(split)),
        wrong_texts=len(wrong),
        doubtful=sum(answer.doubtful for answer in wrong),
        wrong=tuple(map(_shortened, wrong[:_SHOWN])),
        sure=_SURE,
        changes=tuple(change for change in changes if change is not None),
    )


def _read(recipe: Recipe, run_dir: RunDir, variant: str) -> _Split:
    examples = store.read_split(run_dir, "test")
    rows, _ = store.read_distinct(run_dir)
    texts = [examples[row].text for row in rows]
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length)
    return _Split(
        rows=rows,
        texts=texts,
        truth=np.array([examples[row].label for row in rows], dtype=np.int64),
        own=_probabilities(run_dir.answers(variant), rows),
        reference=_probabilities(run_dir.reference, rows),
        tokens=np.array([len(t.ids) for t in encoder.encode(texts)], dtype=np.int64),
    )


def _probabilities(logits: Path, rows: Sequence[int]) -> FloatArray:
    """Of some rows of a file of logits."""
    return np.asarray(softmax(np.load(logits, allow_pickle=False)[list(rows)]), dtype=np.float32)


def _write(run_dir: RunDir, variant: str, wrong: Sequence[WrongAnswer]) -> None:
    """All wrong answers, the surest first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "label", "answer", "score", "pytorch", "pytorch_score", "tokens", "doubtful", "text"])
    for answer in wrong:
        scores = f"{answer.score:.4f}", answer.reference_answer, f"{answer.reference_score:.4f}"
        doubtful = "yes" if answer.doubtful else ""
        writer.writerow([answer.row, answer.truth, answer.answer, *scores, answer.tokens, doubtful, answer.text])
    atomic.write_text(run_dir.mistakes(variant), buffer.getvalue())


def _wrong(split: _Split, labels: Sequence[str]) -> list[WrongAnswer]:
    """All wrong answers, the surest first, with their whole texts."""
    answers, reference = split.own.argmax(axis=1), split.reference.argmax(axis=1)
    surest = np.minimum(split.own.max(axis=1), split.reference.max(axis=1))
    doubtful = (answers == reference) & (surest >= _SURE)
    return [
        WrongAnswer(**_answered(split, split.own, i, labels), tokens=int(split.tokens[i]), doubtful=bool(doubtful[i]))
        for i in _surest_first(split.own, np.flatnonzero(~split.right))
    ]


def _changes(split: _Split, name: str, run_dir: RunDir, labels: Sequence[str]) -> ChangedAnswers | None:
    """What a variant loses and gains against PyTorch on the distinct test texts; None for one that gives no numbers."""
    own = _probabilities(run_dir.answers(name), split.rows)
    if not np.isfinite(own).all():
        return None
    right, reference_right = (p.argmax(axis=1) == split.truth for p in (own, split.reference))
    lost, gained = np.flatnonzero(reference_right & ~right), np.flatnonzero(~reference_right & right)
    shown = [i for rows in (lost, gained) for i in _surest_first(own, rows)[:_SHOWN_CHANGES]]
    texts = tuple(_shortened(ChangedAnswer(**_answered(split, own, i, labels))) for i in shown)
    return ChangedAnswers(name, len(lost), len(gained), texts)


def _surest_first(probabilities: FloatArray, texts: np.ndarray) -> list[int]:
    """Positions of texts, those with the highest scores first."""
    order = np.argsort(-probabilities.max(axis=1)[texts], kind="stable")
    return [int(i) for i in texts[order]]


def _answered(split: _Split, own: FloatArray, i: int, labels: Sequence[str]) -> dict[str, Any]:
    """The fields of an `AnsweredText`; `own` are the probabilities of a variant."""
    return {
        "row": split.rows[i] + 1,
        "text": split.texts[i],
        "truth": labels[int(split.truth[i])],
        "answer": labels[int(own[i].argmax())],
        "score": float(own[i].max()),
        "reference_answer": labels[int(split.reference[i].argmax())],
        "reference_score": float(split.reference[i].max()),
    }


def _shortened(answer: T) -> T:
    return replace(answer, text=_cut(answer.text))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} ..."


def _length_bands(split: _Split) -> list[LengthBand]:
    """Four bands of about as many texts each; fewer where many texts have one length."""
    if not len(split.tokens):
        return []
    edges = np.unique(np.quantile(split.tokens, np.linspace(0, 1, _BANDS + 1)[1:], method="higher"))
    reference_right = split.reference.argmax(axis=1) == split.truth
    bands, below = [], -1
    for edge in edges.tolist():
        inside = (split.tokens > below) & (split.tokens <= edge)
        bands.append(
            LengthBand(
                least=int(split.tokens[inside].min()),
                most=int(edge),
                texts=int(inside.sum()),
                right=int(split.right[inside].sum()),
                reference_right=int(reference_right[inside].sum()),
            )
        )
        below = int(edge)
    return bands


def _score_bands(split: _Split) -> list[ScoreBand]:
    """Bands of a tenth; those without texts are left out."""
    scores = split.own.max(axis=1)
    band = np.minimum((scores * _SCORE_BANDS).astype(int), _SCORE_BANDS - 1)
    return [
        ScoreBand(
            least=b / _SCORE_BANDS,
            texts=int((band == b).sum()),
            mean_score=float(scores[band == b].mean()),
            right=int(split.right[band == b].sum()),
        )
        for b in range(_SCORE_BANDS)
        if (band == b).any()
    ]
