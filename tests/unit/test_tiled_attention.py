"""Attention in tiles: where it is taken, and that it changes no answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tiny_models

from sentopt import recipe
from sentopt.backends.opening import capabilities
from sentopt.errors import RecipeError
from sentopt.graph import cascade, families, lean
from sentopt.graph.architecture import Architecture
from sentopt.graph.cascade import Student
from sentopt.graph.products import FloatProducts
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import Batch, Tokens, padded
from sentopt.variants import LONG

UNTILED = ("gpt2", "mpnet", "deberta-v2")
FAMILIES = [family for family in tiny_models.FAMILIES if family not in UNTILED]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    return architecture("bert", tmp_path_factory.mktemp("bert"))


def architecture(family: str, folder: Path) -> Architecture:
    tiny_models.save(family, folder, max_position_embeddings=LONG + 80)
    return families.read(folder)


def batch(*lengths: int, padding_id: int = 0) -> Batch:
    texts = tiny_models.texts(list(lengths))
    return padded([Tokens(tuple(text), (0,) * len(text), False) for text in texts], padding_id)


def ran(model: onnx.ModelProto, given: Batch, folder: Path) -> list[str]:
    """The operators that ran."""
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, {"input_ids": given.input_ids, "attention_mask": given.attention_mask})
    events = json.loads(Path(session.end_profiling()).read_text())
    return [event["args"]["op_name"] for event in events if event.get("cat") == "Node"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", [(LONG,), (LONG + 61,), (LONG, LONG), (LONG + 61, 7), (9,), (30, 4)])
def test_the_answers_are_those_of_the_plain_graph(family: str, lengths: tuple[int, ...], tmp_path: Path) -> None:
    model = architecture(family, tmp_path)
    given = batch(*lengths, padding_id=model.embeddings.padding_id)
    plain, tiled = (lean.write(model, FloatProducts(), tiled=flag).SerializeToString() for flag in (False, True))
    assert np.allclose(OnnxSession(tiled).run(given), OnnxSession(plain).run(given), atol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "is_tiled"), [((LONG,), True), ((LONG - 1,), False), ((LONG, LONG), True), ((LONG, LONG - 1), False)]
)
def test_only_long_texts_without_padding_are_tiled(
    bert: Architecture, lengths: tuple[int, ...], is_tiled: bool, tmp_path: Path
) -> None:
    operators = ran(lean.write(bert, FloatProducts(), tiled=True), batch(*lengths), tmp_path)
    assert ("MultiHeadAttention" in operators) == is_tiled


def test_causal_attention_is_not_tiled(tmp_path: Path) -> None:
    tiny_models.save("gpt2", tmp_path)
    model = families.read(tmp_path)
    plain, tiled = (lean.write(model, FloatProducts(), tiled=flag).SerializeToString() for flag in (False, True))
    assert plain == tiled


@pytest.mark.parametrize("shared", [0, 1])
@pytest.mark.parametrize("threshold", [Threshold(1.0, 1), Threshold(1e-9, 1)])
def test_both_stages_of_a_cascade_are_tiled(
    bert: Architecture, shared: int, threshold: Threshold, tmp_path: Path
) -> None:
    three = replace(bert, blocks=(*bert.blocks, bert.blocks[0]))
    student = Student(replace(three, blocks=three.blocks[:2]), FloatProducts(), shared=shared)
    plain, tiled = (cascade.write(student, three, FloatProducts(), threshold, tiled=flag) for flag in (False, True))
    given = batch(LONG + 20)
    found = [OnnxSession(model.SerializeToString()).run(given) for model in (plain, tiled)]
    assert np.allclose(*found, atol=1e-5)
    expected = 1 + (2 - shared if threshold.defers_all else 0)
    operators = ran(tiled, given, tmp_path)
    assert operators.count("MultiHeadAttention") == expected


def test_a_student_that_reads_few_tokens_has_no_branch_for_many(bert: Architecture) -> None:
    student = Student(bert, FloatProducts(), max_length=16)
    plain, tiled = (cascade.write_student(student, tiled=flag).SerializeToString() for flag in (False, True))
    assert plain == tiled


@pytest.mark.parametrize(
    ("changes", "has_them"),
    [
        ({"model.max_length": 128}, False),
        ({"model.max_length": LONG}, True),
        ({"model.max_length": 512, "export.standard_operators": True}, False),
    ],
)
def test_a_recipe_of_long_texts_has_them(changes: dict[str, object], has_them: bool) -> None:
    assert recipe.load("quickstart", changes).has_long_texts == has_them


def test_a_recipe_of_short_texts_cannot_ask_for_them() -> None:
    asked: dict[str, object] = {"export.variants": ["long-int8"]}
    with pytest.raises(RecipeError, match=r"long-int8 needs model\.max_length of 192 or more, found 128"):
        recipe.load("quickstart", asked)
    assert recipe.load("imdb-8k-minilm", asked).export.variants == ("long-int8",)


@pytest.mark.parametrize("family", list(tiny_models.FAMILIES))
def test_a_checkpoint_says_whether_its_attention_can_be_tiled(family: str, tmp_path: Path) -> None:
    tiny_models.save(family, tmp_path)
    tiled = families.read(tmp_path).can_be_tiled
    assert families.can_be_tiled(tmp_path) == tiled == (family not in UNTILED)
    assert ("long" in capabilities(tmp_path)) == tiled
