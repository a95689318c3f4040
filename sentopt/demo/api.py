"""The HTTP endpoints: JSON in, JSON out, described by `/openapi.json`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from os import getppid
from typing import Annotated, Any

import orjson
from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from sentopt._version import __version__
from sentopt.demo import protocols
from sentopt.demo.explanation import Explanation
from sentopt.demo.merged import Merged
from sentopt.demo.models import Models
from sentopt.demo.protocols import (
    AtMost,
    Classification,
    Inferred,
    Inputs,
    LabelScore,
    OneText,
    Pair,
    ToClassify,
    ToInfer,
    as_given,
    set_of,
)
from sentopt.demo.routes import INFER, RELOAD, endpoint_of, model_of
from sentopt.demo.service import Answers
from sentopt.runtime.classifier import Prediction
from sentopt.runtime.description import Text as Given

Answer = Callable[..., Awaitable[Response]]
Read = Callable[[bytes], BaseModel]
Reports = Callable[[], Awaitable[Merged | None]]
_WHICH = Field(default=None, description="the name of a bundle, where the server has several; else the first answers")


class Text(BaseModel):
    """One text, or one pair of texts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: OneText = Field(examples=["The soup was cold and nobody cared."])
    pair: OneText | None = Field(default=None, description="the second text, for a model of text pairs")
    model: str | None = _WHICH

    @property
    def given(self) -> Given:
        """What the model is to answer."""
        return self.text if self.pair is None else (self.text, self.pair)


class ToExplain(Text):
    """One text, or one pair of texts, and the label that is in question."""

    label: str | None = Field(default=None, description="the label whose probability is explained; else the likeliest")


class Texts(BaseModel):
    """Several texts, or several pairs of texts as lists of two."""

    model_config = ConfigDict(extra="forbid", strict=True)
    texts: Annotated[list[OneText | Pair], AtMost] = Field(examples=[["Lovely people!", "It opens at nine."]])
    model: str | None = _WHICH

    @property
    def given(self) -> list[Given]:
        """What the model is to answer."""
        return [as_given(text) for text in self.texts]


class Label(BaseModel):
    """The answer to one text, or to one pair of texts.

    A multi-label model gives `labels`, which may be none; `label` is the most probable one all the same.
    """

    label: str
    score: float = Field(description="probability of the label")
    labels: list[str] = Field(
        default=[], description="of a multi-label model: those that reach their thresholds, the most probable one first"
    )
    probabilities: dict[str, float] = Field(
        description="of every label; of a multi-label model they do not add up to 1"
    )
    truncated: bool = Field(description="whether the text was longer than the model reads")


class LabelAndTime(Label):
    """The answer to one text, and how long it took on the server."""

    milliseconds: float


class Labels(BaseModel):
    """The answers, in the order of the texts."""

    predictions: list[Label]
    milliseconds: float


class WordWeight(BaseModel):
    """A part of the text, and by how much it raises the probability of the label; `of` is 1 in the second of a pair."""

    text: str
    start: int
    end: int
    weight: float
    of: int


class Reasons(LabelAndTime):
    """The answer and the weight of each word for the label `explained`; `texts` is how many were answered for it."""

    explained: str
    words: list[WordWeight]
    texts: int


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


_NOT_BY_FASTAPI: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""Recent versions would record what they answer, and texts with it in what fails; `sentopt.demo.telemetry` records."""
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": meaning}
    for status, meaning in {
        400: "not an HTTP request that this server takes",
        401: "a name and a password are asked for",
        404: "there is no such endpoint, or no such model",
        408: "the request did not arrive in time",
        413: "too long, or too many",
        415: "not application/json",
        422: "not the JSON that is asked for",
        429: "too many requests from this address",
        503: "busy, or stopping; try again after Retry-After seconds",
    }.items()
}


class Api:
    """The endpoints, and FastAPI for everything else.

    FastAPI describes the endpoints, but its layers slow down every request. So a request to one of them is validated
    by the same model and answered by the same function directly.
    """

    def __init__(self, models: Models, app: FastAPI) -> None:
        self._app, self._models = app, models
        self._direct: dict[str, tuple[Read, Answer]] = {}
        for path, read, gives, made_for in _TABLE:
            answer = made_for(models)
            self._direct[path] = read, answer
            app.post(path, response_model=gives, responses=_REFUSALS)(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it; `receive` gives a body in one piece."""
        endpoint = endpoint_of(scope["path"]) if scope["type"] == "http" else ""
        if name := model_of(endpoint, scope["path"]) if endpoint else "":
            self._models.named(name)  # or there is no such model
        if endpoint not in self._direct:
            await self._app(scope, receive, send)
            return
        read, answer = self._direct[endpoint]
        body = (await receive())["body"]
        try:
            asked = read(body)
        except ValidationError as error:
            reply = problem(422, _what_is_wrong(error), path=scope["path"])
        else:
            reply = await (answer(asked, name) if name else answer(asked))
        await reply(scope, receive, send)


def _text_or_inputs(body: bytes) -> BaseModel:
    """What `/predict` is asked: `text`, or `inputs` as Text Embeddings Inference has it."""
    try:
        return Text.model_validate_json(body)
    except ValidationError as error:
        missing = [e["loc"] for e in error.errors(include_input=False, include_url=False) if e["type"] == "missing"]
        if b'"inputs"' not in body or ("text",) not in missing:
            raise
    return Inputs.model_validate_json(body)


def _predict(models: Models) -> Answer:
    async def predict(body: Text | Inputs) -> Response:
        """Classify one text; with `inputs`, as Text Embeddings Inference does."""
        if isinstance(body, Inputs):
            answers = await models.meant(body.model).answer(body.texts)
            return _json(protocols.label_scores(answers, body), bundle=answers.by.short)
        answers = await models.named(body.model).answer([body.given])
        return _json(label_json(answers), bundle=answers.by.short)

    return predict


def _predict_batch(models: Models) -> Answer:
    async def predict_batch(body: Texts) -> Response:
        """Classify several texts."""
        answers = await models.named(body.model).answer(body.given)
        return _json(label_json(answers, many=True), bundle=answers.by.short)

    return predict_batch


def _explain(models: Models) -> Answer:
    async def explain(body: ToExplain) -> Response:
        """Classify one text, and weigh its words by leaving out each once; of a pair those of both texts."""
        service = models.named(body.model)
        explained = await service.explain(body.given, label=body.label)
        return _json(explanation_json(explained, sets=bool(service.classifier.thresholds)), bundle=explained.bundle)

    return explain


def _classify(models: Models) -> Answer:
    async def classify(body: ToClassify) -> Response:
        """Classify texts as vLLM and SGLang do."""
        service = models.meant(body.model)
        answers = await service.answer(body.texts)
        return _json(protocols.classification(answers, body.texts, service.name), bundle=answers.by.short)

    return classify


def _infer(models: Models) -> Answer:
    async def infer(body: ToInfer, model: str) -> Response:
        """Classify texts by the Open Inference Protocol."""
        answers = await models.named(model).answer(body.inputs[0].texts)
        return _json(protocols.inferred(answers, body, model), bundle=answers.by.short)

    return infer


_TABLE: tuple[tuple[str, Read, Any, Callable[[Models], Answer]], ...] = (
    ("/predict", _text_or_inputs, LabelAndTime | list[LabelScore] | list[list[LabelScore]], _predict),
    ("/predict_batch", Texts.model_validate_json, Labels, _predict_batch),
    ("/explain", ToExplain.model_validate_json, Reasons, _explain),
    ("/classify", ToClassify.model_validate_json, Classification, _classify),
    ("/v1/classify", ToClassify.model_validate_json, Classification, _classify),
    (INFER, ToInfer.model_validate_json, Inferred, _infer),
)


def create(models: Models, *, lifespan: Any, prefix: str = "", reports: Reports | None = None) -> FastAPI:
    """The application that describes the endpoints and reports on the server; the page is mounted in it.

    Args:
        models: answer.
        lifespan: starts and stops them.
        prefix: the path below which a proxy shows the server.
        reports: gives statistics and metrics of all processes of the server; None where this is the only one.
    """
    app = FastAPI(
        title="sentopt demo",
        version=__version__,
        description="Answers texts with a verified classifier.",
        docs_url=None,  # its page would load scripts from elsewhere; the demo's own page describes the endpoints
        redoc_url=None,
        lifespan=lifespan,
        telemetry=_NOT_BY_FASTAPI,
        servers=[{"url": prefix}] if prefix else None,
    )
    _add_probes(app, models)
    _add_descriptions(app, models)
    _add_reports(app, models, reports)

    @app.post(RELOAD, include_in_schema=False)
    async def reload() -> Response:
        if reports is not None:  # the others would go on with the bundles before
            return problem(
                409, f"this server has several processes: send SIGHUP to the one with the number {getppid()}"
            )
        done = await models.reload()
        said = {one.name: {key: value for key, value in asdict(one).items() if value and key != "name"} for one in done}
        refused = [one.in_words() for one in done if one.outcome == "refused"]
        return _json({"models": said, **({"detail": "; ".join(refused)} if refused else {})}, 409 if refused else 200)

    return app


def _add_probes(app: FastAPI, models: Models) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        return _json({"status": "ready"}) if models.ready else _json({"status": "not ready"}, 503)

    @app.get("/v2/health/live", include_in_schema=False)
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> Response:
        return _json({"ready": models.ready}, 200 if models.ready else 503)

    @app.get("/v2/models/{model}/ready", include_in_schema=False)
    @app.get("/v2/models/{model}/versions/1/ready", include_in_schema=False)
    async def model_ready(model: str) -> Response:
        is_ready = models.named(model).ready
        return _json({"name": model, "ready": is_ready}, 200 if is_ready else 503)


def _add_descriptions(app: FastAPI, models: Models) -> None:
    @app.get("/v1/models", include_in_schema=False)
    async def model_list() -> Response:
        return _json(protocols.model_list(models))

    @app.get("/v2", include_in_schema=False)
    async def server_facts() -> Response:
        return _json(protocols.server_facts(models))

    @app.get("/v2/models/{model}", include_in_schema=False)
    @app.get("/v2/models/{model}/versions/1", include_in_schema=False)
    async def model_facts(model: str) -> Response:
        return _json(protocols.model_facts(models.named(model)))


def _add_reports(app: FastAPI, models: Models, reports: Reports | None) -> None:
    unknown = "what the processes have counted is not known; try again in a second"

    @app.get("/stats", include_in_schema=False)
    async def stats() -> Response:
        if reports is None:
            return _json(models.stats())
        merged = await reports()
        return _json(merged.stats()) if merged else problem(503, unknown, Retry_After="1")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        if reports is None:
            return Response(models.counters.page(), media_type=CONTENT_TYPE_LATEST)
        merged = await reports()
        if merged is None:
            return problem(503, unknown, Retry_After="1")
        return Response(merged.page(), media_type=CONTENT_TYPE_LATEST)


def label_json(answers: Answers, *, many: bool = False) -> dict[str, Any]:
    """Answers as JSON: a list for many texts, one object for a single one."""
    each = [{**_label(one), **set_of(one, answers)} for one in answers.predictions]
    said: dict[str, Any] = {"predictions": each} if many else each[0]
    return {**said, "milliseconds": answers.milliseconds}


def explanation_json(explanation: Explanation, *, sets: bool = False) -> dict[str, Any]:
    """An explanation as JSON; `sets`: the model gives any number of labels."""
    words = [asdict(word) for word in explanation.words]
    return {
        **_label(explanation.prediction),
        **({"labels": explanation.prediction.labels} if sets else {}),
        "explained": explanation.label,
        "words": words,
        "texts": explanation.texts,
        "milliseconds": explanation.milliseconds,
    }


def problem(status: int, detail: str, *, path: str = "", **headers: str) -> Response:
    """The response that says why a request is refused; under the name that the protocol of the path has, too."""
    said = {"detail": detail, "error": detail} if path.startswith("/v2") else {"detail": detail}
    return _json(said, status, {name.replace("_", "-"): value for name, value in headers.items()})


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None, *, bundle: str = "") -> Response:
    """JSON; with the beginning of the hash of the bundle that answered, so that clients see when it is replaced."""
    headers = {"Sentopt-Bundle": bundle} if bundle else headers
    return Response(orjson.dumps(content), status, headers, "application/json")


def _label(prediction: Prediction) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "score": prediction.score,
        "probabilities": prediction.probabilities,
        "truncated": prediction.truncated,
    }


def _what_is_wrong(error: ValidationError) -> str:
    """Location and reason of a validation error, without the value that was sent."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{_place(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in problems[:5])


def _place(location: tuple[int | str, ...]) -> str:
    """Where in the body, without the names that pydantic gives to the types of which one would do."""
    return ".".join(str(part) for part in location if not re.search(r"[\[(-]|^str$", str(part))) or "body"
