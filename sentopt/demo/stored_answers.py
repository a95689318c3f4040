"""The test texts of a run and the answers to them that it stored; read when they are first asked for.

Of a text only its place in the file is kept, so that the memory of the server does not depend on the texts.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentopt.data import pairs, store
from sentopt.data.answered import Answered, Answers, IntArray
from sentopt.data.duplicates import normal_form
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.selection import SplitAnswers, display_name
from sentopt.errors import InputError, RunDirError
from sentopt.measure.decision import Decision
from sentopt.results import Verdict, VerifyResult
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray
from sentopt.variants import REFERENCE

_ROUNDING = 1e-9  # of a share


@dataclass(frozen=True)
class _TestSplit:
    """The distinct texts of a test split: arrays of shape (texts,), rows counted from 0 and places in bytes.

    `lines` counts all texts, and `state` is that of the file.
    """

    lines: int
    rows: IntArray
    places: IntArray
    truth: IntArray
    tokens: IntArray
    reference: Answers
    state: tuple[int, int]


class StoredAnswers:
    """What a run keeps of its test split. Files that are not as the run wrote them are not used; thread-safe."""

    def __init__(self, facts: RunFacts, classifier: Classifier) -> None:
        self._facts = facts
        self._classifier = classifier
        self._split: _TestSplit | None = None
        self._answers: dict[str, SplitAnswers] = {}
        self._reading = threading.RLock()

    def variants(self) -> list[str]:
        """Those whose answers the run stored, the one that ships first, and PyTorch."""
        verdicts = self._verdicts()
        own = self._classifier.description.variant if self._classifier.description else ""
        names = sorted((name for name in verdicts if name != REFERENCE), key=lambda name: name != own)
        return [n for n in names if self._facts.is_recorded(self._facts.run_dir.answers(n))] + [REFERENCE]

    def of(self, variant: str) -> SplitAnswers:
        """The answers of a variant, beside those of PyTorch.

        Raises:
            RunDirError: files are missing or changed, or the answers are not those that were verified.
        """
        with self._reading:
            split = self._current()
            if variant not in self._answers:
                self._answers[variant] = self._read_answers(split, variant)
            return self._answers[variant]

    def texts(self, rows: Sequence[int], *, most: int | None = None) -> list[Text]:
        """The texts in these rows of the test split, which count from 1.

        Raises:
            RunDirError: files are missing or changed.
            InputError: they have more than `most` characters together.
        """
        split = self._current()
        found: list[Text] = []
        characters = 0
        with self._test_file.open("rb") as stream:
            for place in split.places[np.searchsorted(split.rows, np.array(rows, dtype=np.int64) - 1)]:
                stream.seek(int(place))
                found.append(pairs.of_fields(json.loads(stream.readline())))
                characters += pairs.characters(found[-1])
                if most is not None and characters > most:
                    raise InputError(f"the texts have more than {most:,} characters. Choose fewer of them.")
        return found

    @property
    def _test_file(self) -> Path:
        return self._facts.run_dir.split("test")

    def _current(self) -> _TestSplit:
        """The test split, read again where its file has changed."""
        with self._reading:
            if self._split is None or self._split.state != self._state():
                self._answers.clear()
                self._split = self._read_split()
            return self._split

    def _state(self) -> tuple[int, int]:
        """What changes with the test split: size and time of its file; zeros where there is none."""
        try:
            found = self._test_file.stat()
        except OSError:
            return 0, 0
        return found.st_size, found.st_mtime_ns

    def _verdicts(self) -> dict[str, Verdict]:
        """By variant; none where the run was not verified, or by another version of sentopt."""
        try:
            verdicts = self._facts.manifest.result("verify", VerifyResult).verdicts
        except RunDirError:
            return {}
        return {verdict.variant: verdict for verdict in verdicts}

    def _check(self, *paths: Path) -> None:
        if names := self._facts.unusable(paths):
            raise RunDirError(_not_usable(names))

    def _read_split(self) -> _TestSplit:
        run_dir, state = self._facts.run_dir, self._state()
        self._check(run_dir.split("test"), run_dir.data / "labels.json", run_dir.reference)
        if store.read_labels(run_dir) != tuple(self._classifier.labels):
            raise RunDirError("The bundle has other labels than its run: `sentopt export` makes it again.")
        seen: set[bytes] = set()
        found, lines = [], 0
        for place, text, label in self._facts.test_lines():
            if (key := _digest(text)) not in seen:
                seen.add(key)
                found.append((lines, place, label, len(self._classifier.encoder.encode([text])[0].ids)))
            lines += 1
        rows, places, truth, tokens = np.array(found, dtype=np.int64).reshape(-1, 4).T
        reference = self._read_logits(REFERENCE, run_dir.reference, rows, lines)
        return _TestSplit(lines, rows, places, truth, tokens, reference, state)

    def _read_logits(self, variant: str, path: Path, rows: IntArray, lines: int) -> Answers:
        """What a file of logits says of some rows of the `lines` of the test split."""
        self._check(path)
        if np.load(path, mmap_mode="r", allow_pickle=False).shape != (lines, len(self._classifier.labels)):
            raise RunDirError(_outdated(variant))
        probabilities = self._classifier.probabilities(np.load(path, allow_pickle=False)[rows])
        if not np.isfinite(probabilities).all():
            raise RunDirError(
                f"{display_name(variant)} gives no numbers for some texts, so its answers cannot be listed. "
                "Choose another variant."
            )
        return self._answers_of(probabilities)

    def _answers_of(self, probabilities: FloatArray) -> Answers:
        """Labels and scores of probabilities; sets of labels are bits, whose score is that of the least sure label."""
        return Answers.of(probabilities, Decision(self._classifier.thresholds))

    def _read_answers(self, split: _TestSplit, variant: str) -> SplitAnswers:
        own, path = split.reference, self._facts.run_dir.answers(variant)
        if variant != REFERENCE:
            own = self._read_logits(variant, path, split.rows, split.lines)
        both = Answered(split.truth, own, split.reference)
        sets = bool(self._classifier.thresholds)
        answers = SplitAnswers(variant, tuple(self._classifier.labels), split.rows + 1, split.tokens, both, sets)
        if not self._is_verified(answers):
            raise RunDirError(_outdated(variant))
        return answers

    def _is_verified(self, answers: SplitAnswers) -> bool:
        """Whether the verdict was made from these answers: it counts the same confusions and the same agreement."""
        verdict, both = self._verdicts().get(answers.variant), answers.answered
        if verdict is None:
            return answers.variant == REFERENCE
        agreement = float((both.own.labels == both.reference.labels).mean())
        if abs(agreement - verdict.agreement) >= _ROUNDING:
            return False
        if answers.sets:  # of which a verdict has no confusions
            return abs(float(both.right.mean()) - verdict.scores.accuracy) < _ROUNDING
        return np.array_equal(answers.counts(np.arange(len(both.truth))), verdict.scores.confusion)


def _digest(text: Text) -> bytes:
    """The same for texts that count as one (`distinct_rows`), and shorter than they are."""
    return hashlib.blake2b(normal_form(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _outdated(variant: str) -> str:
    return (
        f"The stored answers of {display_name(variant)} are not those that were verified: data or model have changed "
        "since. `sentopt export` verifies the run again; then start the demo again."
    )


def _not_usable(names: Sequence[str]) -> str:
    """What is missing, and what to do."""
    listed = ", ".join(f"`{name}`" for name in names)
    is_data = not all(name.startswith("variants/") for name in names)
    cure = "put the file back, or run `sentopt run` again" if is_data else "`sentopt export` writes it again"
    return (
        f"Missing in the directory of the run, or not as the run wrote it: {listed}. "
        f"{cure[0].upper()}{cure[1:]}; then start the demo again."
    )
