"""Lean graphs of models that read pairs of texts, whose tokens have types, against transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch

from sentopt.graph import families, lean
from sentopt.graph.architecture import Architecture
from sentopt.graph.calibration import calibrate
from sentopt.graph.products import FloatProducts, Int8Products
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.tokenization import Batch, TextEncoder, Tokens, padded

WITH_TYPES: dict[str, dict[str, object]] = {
    "bert": {},
    "electra": {},
    "albert": {},
    "deberta-v2": {"type_vocab_size": 2},
    "deberta-v2 with positions": {"type_vocab_size": 2, "position_biased_input": True},
    "roberta": {"type_vocab_size": 2},
    "bert of four types": {"type_vocab_size": 4},
}
WITHOUT_TYPES = ["bert-one-type", "distilbert", "roberta", "xlm-roberta", "mpnet", "deberta-v2", "modernbert", "gpt2"]


@dataclass(frozen=True)
class Made:
    """A transformers model with types, and the lean graph of its checkpoint."""

    model: Any
    architecture: Architecture
    session: OnnxSession

    def expected(self, batch: Batch) -> FloatArray:
        inputs = {name: torch.from_numpy(getattr(batch, name)) for name in self.session.inputs}
        with torch.no_grad():
            logits: FloatArray = self.model(**inputs).logits.numpy()
        return logits

    def difference(self, batch: Batch) -> float:
        return float(np.abs(self.session.run(batch) - self.expected(batch)).max())

    @property
    def padding(self) -> int:
        return self.model.config.pad_token_id or 0


def made(family: str, folder: Path, **changes: object) -> Made:
    model = tiny_models.save(family, folder, **changes)
    architecture = families.read(folder, pairs=True)
    graph = lean.write(architecture, FloatProducts()).SerializeToString()
    return Made(model, architecture, OnnxSession(graph))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    known: dict[str, Made] = {}

    def get(name: str) -> Made:
        if name not in known:
            known[name] = made(name.split()[0], tmp_path_factory.mktemp("model"), **WITH_TYPES[name])
        return known[name]

    return get


@pytest.fixture(params=list(WITH_TYPES))
def typed(request: pytest.FixtureRequest, models: Callable[[str], Made]) -> Made:
    return models(request.param)


def pairs(lengths: list[int], seed: int = 0) -> list[Tokens]:
    """Random token ids, whose types change from 0 to 1 at a random place."""
    random = np.random.default_rng(seed)
    found = []
    for ids in tiny_models.texts(lengths, seed):
        first = int(random.integers(0, len(ids) + 1))
        found.append(Tokens(tuple(ids), (0,) * first + (1,) * (len(ids) - first), False))
    return found


@pytest.mark.parametrize("lengths", [[2], [17], [23, 2, 3, 16, 9], [64, 5, 31]], ids=str)
def test_logits_are_those_of_transformers(typed: Made, lengths: list[int]) -> None:
    assert typed.session.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert typed.difference(padded(pairs(lengths), typed.padding)) < 1e-5


def test_types_change_the_logits(typed: Made) -> None:
    """Or the test above would not tell whether they are read."""
    (tokens,) = pairs([14])
    others = [Tokens(tokens.ids, (0,) * first + (1,) * (14 - first), False) for first in (0, 5, 9, 14)]
    logits = typed.session.run(padded(others, 0))
    assert np.abs(logits[1:] - logits[0]).max(axis=1).min() > 0.01


def test_padding_and_batch_mates_change_nothing(typed: Made) -> None:
    texts = pairs([11, 4, 2, 30])
    together = typed.session.run(padded(texts, typed.padding))
    alone = np.concatenate([typed.session.run(padded([text], typed.padding)) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


@pytest.mark.parametrize("family", WITHOUT_TYPES)
def test_models_without_types_have_the_graph_of_single_texts(family: str, tmp_path: Path) -> None:
    tiny_models.save(family, tmp_path, **({"type_vocab_size": 1} if "roberta" in family else {}))
    files = [
        lean.write(families.read(tmp_path, pairs=flag), FloatProducts()).SerializeToString() for flag in (False, True)
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["bert", "albert", "deberta-v2"])
def test_int8_is_calibrated_with_the_types(name: str, models: Callable[[str], Made], backbone: Path) -> None:
    model = models(name)
    encoder = TextEncoder.load(backbone, max_length=32, pairs=True)
    sample = pairs([9, 20, 31] * 20, seed=3)
    following = iter(sample)
    found = calibrate(model.architecture, encoder, [("", "")] * len(sample), read=lambda tokens: next(following))
    session = OnnxSession(lean.write(model.architecture, Int8Products(found.sites)).SerializeToString())
    assert "token_type_ids" in session.inputs
    test = padded(pairs([12, 25, 8, 30] * 6, seed=4), 0)
    exact, rounded = model.session.run(test), session.run(test)
    spread = np.abs(exact - exact.mean(axis=0)).max()
    assert np.abs(exact - rounded).max() < 0.2 * spread
