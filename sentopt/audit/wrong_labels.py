"""Likely wrong labels by out-of-fold confidence: confident learning, Northcutt et al. 2021 (arXiv:1911.00068).

The probability of each text's label is given by a model that has not seen the text. It is the mean of two logistic
regressions on TF-IDF: of runs of one to three words, and of parts of words of three to five characters. Characters are
the words of scripts that are written without blanks.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sentopt._optional import require
from sentopt.data.rows import Examples, Positions

FloatArray = npt.NDArray[np.float32]
FOLDS, FEWEST = 20, 5  # a label of fewer texts than the second is not judged
MOST_TEXTS, _MOST_CHARACTERS = 100_000, 40_000_000  # that the models learn from; the others are answered all the same
_AT_ONCE = 20_000
_FEATURES = 1 << 22
_STRENGTH = 4.0  # the inverse of the regularization
_WITHOUT_BLANKS = (  # Thai, Lao, Burmese, Khmer, kana, Chinese characters
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = rf"[{_WITHOUT_BLANKS}]|[^\W{_WITHOUT_BLANKS}]+|[^\w\s]"
_READERS: tuple[tuple[float, Mapping[str, Any]], ...] = (  # what models read, and the weights of their probabilities
    (0.8, {"token_pattern": _WORD, "ngram_range": (1, 3)}),
    (0.2, {"analyzer": "char_wb", "ngram_range": (3, 5)}),
)


@dataclass(frozen=True)
class WrongLabels:
    """Of distinct texts, those whose labels are likely wrong, the likeliest first.

    `rows` are positions of texts, `suggested` the labels that the model gives them and `confidence` the probabilities
    of those; all of shape (likely wrong,). `judged` counts the texts that were looked at, `unjudged` has the labels of
    too few texts to do so.
    """

    rows: Positions
    suggested: Positions
    confidence: FloatArray
    judged: int
    unjudged: tuple[int, ...]


def find(examples: Examples, *, seed: int) -> WrongLabels:
    """The texts whose labels are likely wrong; as many as the confident joint of labels and answers estimates.

    Args:
        examples: distinct texts, which are no pairs, with their labels.
        seed: of the folds.

    Raises:
        MissingExtraError: cleanlab or scikit-learn is not installed.
    """
    filters = require("cleanlab.filter", extra="clean")
    counts = examples.counts()
    judged = sorted(label for label, count in counts.items() if count >= FEWEST)
    unjudged = tuple(sorted(set(counts) - set(judged)))
    if len(judged) < 2:
        nothing = np.zeros(0, dtype=np.int64)
        return WrongLabels(nothing, nothing, np.zeros(0, dtype=np.float32), 0, tuple(sorted(counts)))
    rows = np.flatnonzero(np.isin(examples.labels, judged))
    labels = np.searchsorted(judged, examples.labels[rows]).astype(np.int64)
    probabilities = unseen(cast("Sequence[str]", examples.texts.take(rows)), labels, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label without any text in doubt is no news
        found = filters.find_label_issues(
            labels,
            probabilities.astype(np.float64),
            filter_by="low_self_confidence",
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    found = np.asarray(found, dtype=np.int64)
    answers = probabilities[found].argmax(axis=1)
    differ = answers != labels[found]
    found, answers = found[differ], answers[differ]
    suggested = np.asarray(judged, dtype=np.int64)[answers]
    return WrongLabels(rows[found], suggested, probabilities[found, answers], len(rows), unjudged)


def unseen(texts: Sequence[str], labels: Positions, *, seed: int) -> FloatArray:
    """Probabilities of shape (texts, labels) by models that have not seen the text; needs `FEWEST` texts of each label.

    Where there are more texts than the models learn from, those that none of them learns from get their mean.
    """
    selection = require("sklearn.model_selection", extra="train")
    learned = _learned(texts, labels, seed)
    sample = [texts[i] for i in learned.tolist()]
    count = int(labels.max()) + 1
    number = min(FOLDS, int(np.bincount(labels[learned]).max()))
    folds = selection.StratifiedKFold(number, shuffle=True, random_state=seed)
    found = np.zeros((len(labels), count), dtype=np.float32)
    others = np.setdiff1d(np.arange(len(labels)), learned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a label has fewer texts than there are folds: some folds lack it
        parts = list(folds.split(np.zeros(len(learned)), labels[learned]))
    for weight, settings in _READERS:
        features = _Features(sample, settings)
        for train, held in parts:
            model = _fitted(features.learned[train], labels[learned][train], count)
            found[learned[held]] += weight * model.predict_proba(features.learned[held])
            for start in range(0, len(others), _AT_ONCE):
                some = others[start : start + _AT_ONCE]
                answers = model.predict_proba(features.of([texts[i] for i in some.tolist()]))
                found[some] += weight / number * answers
    return found


def _learned(texts: Sequence[str], labels: Positions, seed: int) -> Positions:
    """The texts that models learn from: all, or a sample that memory has room for with `FEWEST` of each label."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_label = np.argsort(labels[order], kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(labels[order][by_label])) + 1])
    first = np.concatenate([by_label[start : start + FEWEST] for start in starts])
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(labels))[order]
    room = np.zeros(len(order), dtype=np.bool_)
    room[:MOST_TEXTS] = np.cumsum(sizes)[:MOST_TEXTS] <= _MOST_CHARACTERS
    room[first] = True
    return np.sort(order[room])


class _Features:
    """TF-IDF of what the learned texts consist of, hashed: no vocabulary has to fit into memory."""

    def __init__(self, texts: Sequence[str], settings: Mapping[str, Any]) -> None:
        """The inverse document frequencies are those of `texts`."""
        extraction = require("sklearn.feature_extraction.text", extra="train")
        self._counts = extraction.HashingVectorizer(**settings, n_features=_FEATURES, alternate_sign=False, norm=None)
        self._weights = extraction.TfidfTransformer(sublinear_tf=True)
        counts = self._counts.transform(texts)
        self._used = np.unique(counts.indices)  # the time of training grows with the number of features
        self.learned: Any = self._weights.fit_transform(counts[:, self._used])

    def of(self, texts: Sequence[str]) -> Any:
        """Sparse, of shape (texts, features)."""
        return self._weights.transform(self._counts.transform(texts)[:, self._used])


def _fitted(features: Any, labels: Positions, count: int) -> Any:
    linear = require("sklearn.linear_model", extra="train")
    multiclass = require("sklearn.multiclass", extra="train")
    model = linear.LogisticRegression(C=_STRENGTH, solver="liblinear", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: the ranking is the same
        return (model if count == 2 else multiclass.OneVsRestClassifier(model)).fit(features, labels)
