"""Stage `examine`: what the variant that ships gets right and wrong, text by text, beside PyTorch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from sentopt.data import answered, pairs, store
from sentopt.data.answered import SURE, Answered, Answers, IntArray
from sentopt.files import atomic
from sentopt.measure import confidence, familiarity
from sentopt.measure.decision import Decision
from sentopt.measure.familiarity import Familiarity
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
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder

_SHOWN = 20  # wrong answers in the record; all are in the file
_SHOWN_CHANGES = 5  # lost texts of a variant, and as many gained ones
_TRAINING_TEXTS = 50_000
_LONGEST = 300  # characters of a text in the record
_SCORE_BANDS = 10
T = TypeVar("T", bound=AnsweredText)


@dataclass(frozen=True)
class _Split:
    """The distinct test texts, with the probabilities of the variant and of PyTorch."""

    rows: list[int]
    texts: list[Text]
    truth: np.ndarray
    own: FloatArray
    reference: FloatArray
    tokens: list[tuple[int, ...]]
    encoder: TextEncoder
    decision: Decision

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text."""
        return np.array([len(ids) for ids in self.tokens], dtype=np.int64)

    @property
    def answered(self) -> Answered:
        """The answers of the variant."""
        return self.answered_by(self.own)

    def answered_by(self, own: FloatArray) -> Answered:
        """The answers of a variant with the probabilities `own`."""
        return Answered(self.truth, Answers.of(own, self.decision), Answers.of(self.reference, self.decision))


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
        error=confidence.calibration_error(split.own, split.truth, split.decision),
        error_before=trained.error_before,
        coverage=confidence.coverage(split.own, split.truth, thresholds, split.decision),
    )
    labels = store.read_labels(run_dir)
    wrong = _wrong(split, labels)
    _write(run_dir, variant, wrong, pairs=split.encoder.pairs)
    changes = (_changes(split, name, run_dir, labels) for name in inexact)
    return ExamineResult(
        variant=variant,
        texts=len(split.texts),
        confidence=own,
        reference_error=confidence.calibration_error(split.reference, split.truth, split.decision),
        bands=tuple(_score_bands(split)),
        lengths=tuple(_length_bands(split)),
        wrong_texts=len(wrong),
        doubtful=sum(answer.doubtful for answer in wrong),
        wrong=tuple(map(_shortened, wrong[:_SHOWN])),
        sure=SURE,
        changes=tuple(change for change in changes if change is not None),
        familiarity=_familiarity(split, run_dir),
    )


def _read(recipe: Recipe, run_dir: RunDir, variant: str) -> _Split:
    rows, _ = store.read_distinct(run_dir)
    examples = store.read_split(run_dir, "test").take(rows)
    texts = list(examples.texts)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length, pairs=store.are_pairs(run_dir))
    decision = store.read_decision(run_dir)
    return _Split(
        rows=rows,
        texts=texts,
        truth=examples.labels,
        own=answered.probabilities(run_dir.answers(variant), rows, decision),
        reference=answered.probabilities(run_dir.reference, rows, decision),
        tokens=[t.ids for t in encoder.encode(texts)],
        encoder=encoder,
        decision=decision,
    )


def _familiarity(split: _Split, run_dir: RunDir) -> Familiarity | None:
    """Of at most some training texts, spread evenly: more of them say little that is new."""
    if not run_dir.split("train").is_file():
        return None
    texts = store.read_split(run_dir, "train").texts
    chosen = list(texts[:: max(1, -(-len(texts) // _TRAINING_TEXTS))])
    train = [t.ids for t in split.encoder.encode(chosen)]
    return familiarity.measure(train, split.tokens, split.encoder.vocabulary_size)


def _write(run_dir: RunDir, variant: str, wrong: Sequence[WrongAnswer], *, pairs: bool) -> None:
    """All wrong answers, the surest first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ["row", "label", "answer", "score", "pytorch", "pytorch_score", "tokens", "doubtful", "text"]
    writer.writerow([*names, *(["pair"] if pairs else [])])
    for answer in wrong:
        scores = f"{answer.score:.4f}", answer.reference_answer, f"{answer.reference_score:.4f}"
        doubtful = "yes" if answer.doubtful else ""
        texts = [answer.text, *([answer.pair] if pairs else [])]
        writer.writerow([answer.row, answer.truth, answer.answer, *scores, answer.tokens, doubtful, *texts])
    atomic.write_text(run_dir.mistakes(variant), buffer.getvalue())


def _wrong(split: _Split, labels: Sequence[str]) -> list[WrongAnswer]:
    """All wrong answers, the surest first, with their whole texts."""
    own = split.answered
    doubtful, lengths = own.doubtful, split.lengths
    return [
        WrongAnswer(**_fields(split, own, i, labels), tokens=int(lengths[i]), doubtful=bool(doubtful[i]))
        for i in own.by_score(np.flatnonzero(~own.right)).tolist()
    ]


def _changes(split: _Split, name: str, run_dir: RunDir, labels: Sequence[str]) -> ChangedAnswers | None:
    """What a variant loses and gains against PyTorch on the distinct test texts; None for one that gives no numbers."""
    probabilities = answered.probabilities(run_dir.answers(name), split.rows, split.decision)
    if not np.isfinite(probabilities).all():
        return None
    own = split.answered_by(probabilities)
    lost, gained = np.flatnonzero(own.lost), np.flatnonzero(own.gained)
    shown = [i for rows in (lost, gained) for i in own.by_score(rows)[:_SHOWN_CHANGES].tolist()]
    texts = tuple(_shortened(ChangedAnswer(**_fields(split, own, i, labels))) for i in shown)
    return ChangedAnswers(name, len(lost), len(gained), texts)


def _fields(split: _Split, own: Answered, i: int, labels: Sequence[str]) -> dict[str, Any]:
    """The fields of an `AnsweredText`, with the answers `own` of a variant."""
    return {
        "row": split.rows[i] + 1,
        **pairs.as_fields(split.texts[i]),
        "truth": split.decision.in_words(own.truth[i], labels),
        "answer": split.decision.in_words(own.own.labels[i], labels),
        "score": float(own.own.scores[i]),
        "reference_answer": split.decision.in_words(own.reference.labels[i], labels),
        "reference_score": float(own.reference.scores[i]),
    }


def _shortened(answer: T) -> T:
    return replace(answer, text=_cut(answer.text), pair=_cut(answer.pair))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} ..."


def _length_bands(split: _Split) -> list[LengthBand]:
    """How many texts of each length are answered correctly."""
    own, bands = split.answered, []
    lengths = split.lengths
    for least, most in answered.length_bands(lengths):
        inside = (lengths >= least) & (lengths <= most)
        bands.append(
            LengthBand(
                least=least,
                most=most,
                texts=int(inside.sum()),
                right=int(own.right[inside].sum()),
                reference_right=int(own.reference_right[inside].sum()),
            )
        )
    return bands


def _score_bands(split: _Split) -> list[ScoreBand]:
    """Bands of a tenth; those without texts are left out.

    The score is that of the most probable label. Where a text has any number of them, it is right if the text has it.
    """
    scores, right = split.decision.best(split.own), split.answered.right
    if split.decision.is_multi_label:
        right = np.asarray((split.truth >> split.own.argmax(axis=1)) & 1, dtype=np.bool_)
    band = np.minimum((scores * _SCORE_BANDS).astype(int), _SCORE_BANDS - 1)
    return [
        ScoreBand(
            least=b / _SCORE_BANDS,
            texts=int((band == b).sum()),
            mean_score=float(scores[band == b].mean()),
            right=int(right[band == b].sum()),
        )
        for b in range(_SCORE_BANDS)
        if (band == b).any()
    ]
