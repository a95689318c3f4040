"""Other servers' ways to ask for labels, so that their clients can be used.

Text Embeddings Inference (`/predict` with `inputs`), vLLM and SGLang (`/classify`), and the Open Inference Protocol of
KServe and Triton (`/v2/...`), version 2, with JSON. What they have and this server has not, is refused in words.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sentopt._version import __version__
from sentopt.demo.limits import Limits
from sentopt.demo.models import Models
from sentopt.demo.service import Answers, Service
from sentopt.runtime.classifier import Prediction
from sentopt.runtime.description import Text

# `Service.check` refuses what is longer, with 413 and not the 422 of what has another form.
OneText = Annotated[str, Field(json_schema_extra={"maxLength": Limits.characters})]
AtMost = Field(json_schema_extra={"maxItems": Limits.texts})
Pair = Annotated[list[OneText], Field(min_length=2, max_length=2, description="both texts of a model of text pairs")]
_FLOAT, _BYTES = "FP32", "BYTES"
_OTHERS_KEYS = ConfigDict(extra="ignore", strict=True)  # clients send keys that other models need


def as_given(text: str | list[str]) -> Text:
    """A text of a request as the runtime takes it: a list of two is a pair. `Service.check` says what a model takes."""
    return text if isinstance(text, str) else (text[0], text[1])


class Inputs(BaseModel):
    """One text, or several as lists of one; one pair as a list of two texts, or a list of pairs.

    That is how Text Embeddings Inference has it.
    """

    model_config = _OTHERS_KEYS
    model: Any = None
    inputs: OneText | Annotated[list[OneText | list[OneText]], Field(min_length=1), AtMost] = Field(
        examples=["The soup was cold and nobody cared."]
    )
    raw_scores: Literal[False] = False

    @field_validator("inputs")
    @classmethod
    def _are_single_texts(cls, inputs: Any) -> Any:
        if isinstance(inputs, list):
            several = [one for one in inputs if isinstance(one, list)]
            if (several and len(several) < len(inputs)) or (not several and len(inputs) > 2):
                raise ValueError("a list of two texts is a pair there: send each text as a list of one")
            if any(len(one) not in (1, 2) for one in several):
                raise ValueError("expected lists of one text each, or of two texts that are a pair")
        return inputs

    @property
    def texts(self) -> list[Text]:
        """The texts, or pairs of them, in their order."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        given = self.inputs if self.is_batch else [self.inputs]
        return [one if isinstance(one, str) else _one_or_two(one) for one in given]

    @property
    def is_batch(self) -> bool:
        """Whether the answer is a list for each text."""
        return isinstance(self.inputs, list) and isinstance(self.inputs[0], list)


def _one_or_two(texts: list[Any]) -> Text:
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])


class LabelScore(BaseModel):
    """A label and its probability."""

    label: str
    score: float


def label_scores(answers: Answers, asked: Inputs) -> list[Any]:
    """All labels of each text, the most probable first."""
    of_texts = [
        [{"label": label, "score": p} for label, p in sorted(one.probabilities.items(), key=lambda item: -item[1])]
        for one in answers.predictions
    ]
    return of_texts if asked.is_batch else of_texts[0]


class ToClassify(BaseModel):
    """One text or several, as vLLM and SGLang have it."""

    model_config = _OTHERS_KEYS
    model: Any = None
    input: OneText | Annotated[list[OneText | Pair], AtMost] = Field(
        description="a text, or a list of texts, or a list of pairs of texts as lists of two",
        examples=[["Lovely people!", "It opens at nine."]],
    )

    @property
    def texts(self) -> list[Text]:
        """The texts, or pairs of them, in their order."""
        return [self.input] if isinstance(self.input, str) else [as_given(one) for one in self.input]


class Classified(BaseModel):
    """The label of a text and the probabilities of all, in the order of the model's labels.

    Of a multi-label model, `label` is the most probable one, and `labels` are those that reach their thresholds.
    """

    index: int
    label: str
    probs: list[float]
    num_classes: int
    labels: list[str] | None = None


class Usage(BaseModel):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class Classification(BaseModel):
    """The answers in the order of the texts."""

    id: str
    object: str
    created: int
    model: str
    data: list[Classified]
    usage: Usage


def classification(answers: Answers, texts: Sequence[Text], name: str) -> dict[str, Any]:
    """`Classification` as JSON; `name` is that of the model on this server."""
    classifier = answers.by.classifier
    tokens = sum(len(one.ids) for one in classifier.encoder.encode(list(texts)))
    return {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": [
            {
                "index": index,
                "label": one.label,
                "probs": [one.probabilities[label] for label in classifier.labels],
                "num_classes": len(classifier.labels),
                **set_of(one, answers),
            }
            for index, one in enumerate(answers.predictions)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


def set_of(one: Prediction, answers: Answers) -> dict[str, Any]:
    """The labels of a text, where the model may give several; nothing of a model that gives one."""
    return {"labels": one.labels} if answers.by.classifier.thresholds else {}


class InputTensor(BaseModel):
    """Texts as a tensor of one axis, or of two with one column; pairs of texts as one of two with two columns."""

    model_config = _OTHERS_KEYS
    name: str
    shape: Annotated[list[int], Field(min_length=1, max_length=2)]
    datatype: Literal["BYTES"]
    data: Annotated[
        list[OneText | Annotated[list[OneText], Field(max_length=2)]],
        Field(json_schema_extra={"maxItems": 2 * Limits.texts}, description="in rows, or flat"),
    ]

    @property
    def values(self) -> list[str]:
        """All strings of the tensor in their order."""
        return [text for one in self.data for text in ([one] if isinstance(one, str) else one)]

    @property
    def texts(self) -> list[Text]:
        """The texts, or pairs of them, in their order."""
        values = self.values
        if self.shape[1:] == [2]:
            return list(zip(values[::2], values[1::2], strict=True))
        return list(values)

    def fits(self) -> bool:
        """Whether there are as many values as the shape says, in rows of its width."""
        width = self.shape[1] if len(self.shape) > 1 else 1
        rows = {len(one) for one in self.data if isinstance(one, list)}
        return width in (1, 2) and len(self.values) == self.shape[0] * width and rows <= {width}


class OutputName(BaseModel):
    """A tensor that is asked for; `labels` has a JSON list of the labels of each text."""

    model_config = _OTHERS_KEYS
    name: Literal["label", "labels", "score", "probabilities"]


class ToInfer(BaseModel):
    """A request of the Open Inference Protocol."""

    model_config = _OTHERS_KEYS
    id: str | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[OutputName], Field(max_length=4)] | None = None

    @field_validator("inputs")
    @classmethod
    def _fits_its_shape(cls, inputs: list[InputTensor]) -> list[InputTensor]:
        (one,) = inputs
        if not one.fits():
            count = len(one.values)
            raise ValueError(
                f"the shape {one.shape} is not that of {count} texts: [{count}], or [{count // 2}, 2] of pairs"
            )
        return inputs


class OutputTensor(BaseModel):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[str] | list[float]


class Inferred(BaseModel):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str]
    outputs: list[OutputTensor]


def inferred(answers: Answers, asked: ToInfer, name: str) -> dict[str, Any]:
    """`Inferred` as JSON, with the tensors that were asked for, or all; `name` is that of the model on this server."""
    classifier = answers.by.classifier
    given, count = answers.predictions, len(answers.predictions)
    tensors = {
        "label": (_BYTES, [count], [one.label for one in given]),
        "score": (_FLOAT, [count], [one.score for one in given]),
        "probabilities": (
            _FLOAT,
            [count, len(classifier.labels)],
            [one.probabilities[label] for one in given for label in classifier.labels],
        ),
        "labels": (_BYTES, [count], [json.dumps(one.labels, ensure_ascii=False) for one in given]),
    }
    usual = [name for name in tensors if name != "labels" or classifier.thresholds]
    wanted = dict.fromkeys(str(output.name) for output in asked.outputs or ()) or usual
    return {
        "model_name": name,
        "model_version": "1",
        **({} if asked.id is None else {"id": asked.id}),
        "parameters": {"bundle_sha256": answers.by.sha256},
        "outputs": [
            {"name": name, "datatype": tensors[name][0], "shape": tensors[name][1], "data": tensors[name][2]}
            for name in wanted
        ],
    }


def server_facts(models: Models) -> dict[str, Any]:
    """The server, as the Open Inference Protocol describes one, and the names of its models."""
    return {"name": "sentopt", "version": __version__, "extensions": [], "models": models.names}


def model_list(models: Models) -> dict[str, Any]:
    """The models, as OpenAI's API and the servers that follow it list them."""
    data = [
        {
            "id": one.name,
            "object": "model",
            "created": int(one.loaded.since),
            "owned_by": "sentopt",
            "bundle": one.loaded.facts(),
        }
        for one in models.all
    ]
    return {"object": "list", "data": data}


def model_facts(service: Service) -> dict[str, Any]:
    """The model, as the Open Inference Protocol describes one; `-1` is any number of texts."""
    classifier = service.classifier
    sets = [{"name": "labels", "datatype": _BYTES, "shape": [-1]}] if classifier.thresholds else []
    return {
        "name": service.name,
        "versions": ["1"],
        "platform": "sentopt",
        "inputs": [{"name": "text", "datatype": _BYTES, "shape": [-1, 2] if service.pair else [-1]}],
        "outputs": [
            {"name": "label", "datatype": _BYTES, "shape": [-1]},
            {"name": "score", "datatype": _FLOAT, "shape": [-1]},
            {"name": "probabilities", "datatype": _FLOAT, "shape": [-1, len(classifier.labels)]},
            *sets,
        ],
        "bundle": service.loaded.facts(),
    }
