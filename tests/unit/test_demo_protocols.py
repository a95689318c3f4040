"""Requests as other servers' clients send them: what is read, what is answered, and what is refused in words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sentopt.demo import protocols, routes
from sentopt.demo.loaded import Loaded
from sentopt.demo.protocols import Inputs, ToClassify, ToInfer
from sentopt.demo.service import Answers
from sentopt.runtime.classifier import Prediction
from sentopt.runtime.description import Text

LABELS = ("bad", "fair", "good")


class Encoder:
    def encode(self, texts: list[str]) -> list[Any]:
        return [type("Tokens", (), {"ids": text.split()})() for text in texts]


class Model:
    labels, thresholds, description, encoder = LABELS, (), None, Encoder()


def answers(count: int) -> Answers:
    one = Prediction("good", 0.6, dict(zip(LABELS, (0.1, 0.3, 0.6), strict=True)), False)
    return Answers((one,) * count, 1.0, Loaded(Model(), "ab" * 32, 0.0))  # type: ignore[arg-type]


SORTED = [{"label": "good", "score": 0.6}, {"label": "fair", "score": 0.3}, {"label": "bad", "score": 0.1}]


@pytest.mark.parametrize(
    ("inputs", "texts", "said"),
    [
        ("a", ["a"], SORTED),
        (["a"], ["a"], SORTED),
        ([["a"]], ["a"], [SORTED]),
        ([["a"], ["b"]], ["a", "b"], [SORTED, SORTED]),
        (["a", "b"], [("a", "b")], SORTED),
        ([["a", "b"]], [("a", "b")], [SORTED]),
    ],
)
def test_inputs_are_read_and_answered_as_by_text_embeddings_inference(
    inputs: Any, texts: list[Text], said: Any
) -> None:
    asked = Inputs.model_validate({"inputs": inputs, "truncate": True, "parameters": {"top_k": None}})
    assert asked.texts == texts
    assert protocols.label_scores(answers(len(texts)), asked) == said


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"inputs": ["a", "b", "c"]}, "is a pair there"),
        ({"inputs": [["a", "b", "c"]]}, "of two texts that are a pair"),
        ({"inputs": [["a"], []]}, "of two texts that are a pair"),
        ({"inputs": [["a"], "b"]}, "is a pair there"),
        ({"inputs": []}, "at least 1 item"),
        ({"inputs": 3}, "valid string"),
        ({"inputs": "a", "raw_scores": True}, "False"),
    ],
)
def test_inputs_that_this_server_does_not_answer_are_refused(body: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Inputs.model_validate(body)


def test_texts_are_classified_as_by_vllm() -> None:
    asked = ToClassify.model_validate({"model": "any", "input": ["one two", "three"], "user": "me"})
    said = protocols.classification(answers(2), asked.texts, "mine")
    assert said["object"] == "list"
    assert said["data"][1] == {"index": 1, "label": "good", "probs": [0.1, 0.3, 0.6], "num_classes": 3}
    assert said["usage"] == {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}
    assert ToClassify.model_validate({"input": "one"}).texts == ["one"]


def infer(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"], **changes}]}


def test_tensors_are_answered_by_the_open_inference_protocol() -> None:
    asked = ToInfer.model_validate({"id": "7", **infer(shape=[2, 1], data=[["a"], ["b"]])})
    assert asked.inputs[0].texts == ["a", "b"]
    said = protocols.inferred(answers(2), asked, "mine")
    assert (said["id"], said["model_name"]) == ("7", "mine")
    assert [(one["name"], one["datatype"], one["shape"]) for one in said["outputs"]] == [
        ("label", "BYTES", [2]),
        ("score", "FP32", [2]),
        ("probabilities", "FP32", [2, 3]),
    ]
    assert said["outputs"][2]["data"] == [0.1, 0.3, 0.6] * 2
    one = ToInfer.model_validate({**infer(), "outputs": [{"name": "label", "parameters": {"binary_data": False}}]})
    assert [out["data"] for out in protocols.inferred(answers(2), one, "mine")["outputs"]] == [["good", "good"]]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (infer(shape=[3]), "is not that of 2 texts"),
        (infer(datatype="FP32"), "BYTES"),
        ({"inputs": []}, "at least 1 item"),
        ({**infer(), "outputs": [{"name": "logits"}]}, "label"),
        ({**infer(), "outputs": [{"name": "label"}] * 5}, "at most 4"),
        (infer(shape=[2, 2], data=[["a", "b"], ["c"]]), "is not that of 3 texts"),
        (infer(shape=[2, 1], data=[["a", "b"]]), "is not that of 2 texts"),
        (infer(shape=[1, 3], data=["a", "b", "c"]), "is not that of 3 texts"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(body: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ToInfer.model_validate(body)


@pytest.mark.parametrize("data", [["a", "b", "c", "d"], [["a", "b"], ["c", "d"]]])
def test_a_tensor_of_two_columns_has_pairs(data: Any) -> None:
    asked = ToInfer.model_validate(infer(shape=[2, 2], data=data))
    assert asked.inputs[0].texts == [("a", "b"), ("c", "d")]


def test_the_model_of_a_path_is_any_name_but_nothing_else_is_open() -> None:
    assert routes.endpoint_of("/v2/models/mine/infer") == routes.INFER
    assert routes.model_of(routes.INFER, "/v2/models/mine/infer") == "mine"
    assert routes.methods("/v2/models/mine") == ("GET", "HEAD")
    assert routes.endpoint_of("/v2/models/mine/versions/1/infer") == routes.INFER
    for path in ("/v2/models/", "/v2/models//infer", "/v2/models/mine/versions/2/infer", "/v2/models/mine/load"):
        assert routes.methods(path) == ()
