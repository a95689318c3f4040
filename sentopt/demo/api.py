"""The HTTP endpoints: JSON in, JSON out, described by `/openapi.json`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
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
from sentopt.demo.limits import Limits
from sentopt.demo.protocols import Classification, Inferred, Inputs, LabelScore, ToClassify, ToInfer
from sentopt.demo.routes import INFER, endpoint_of, model_of
from sentopt.demo.service import Answers, Service
from sentopt.runtime.classifier import Prediction

Answer = Callable[[Any], Awaitable[Response]]
Read = Callable[[bytes], BaseModel]


class Text(BaseModel):
    """One text."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str = Field(max_length=Limits.characters, examples=["The soup was cold and nobody cared."])


class Texts(BaseModel):
    """Several texts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    texts: list[Annotated[str, Field(max_length=Limits.characters)]] = Field(
        max_length=Limits.texts, examples=[["Lovely people!", "It opens at nine."]]
    )


class Label(BaseModel):
    """The answer to one text."""

    label: str
    score: float = Field(description="probability of the label")
    probabilities: dict[str, float]
    truncated: bool = Field(description="whether the text was longer than the model reads")


class LabelAndTime(Label):
    """The answer to one text, and how long it took on the server."""

    milliseconds: float


class Labels(BaseModel):
    """The answers, in the order of the texts."""

    predictions: list[Label]
    milliseconds: float


class WordWeight(BaseModel):
    """A part of the text, and by how much it raises the probability of the label."""

    text: str
    start: int
    end: int
    weight: float


class Reasons(LabelAndTime):
    """The answer and the weight of each word; `texts` is how many texts were answered for it."""

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
        404: "there is no such model",
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

    def __init__(self, service: Service, app: FastAPI) -> None:
        self._app, self._service = app, service
        self._direct: dict[str, tuple[Read, Answer]] = {}
        for path, read, gives, made_for in _TABLE:
            answer = made_for(service)
            self._direct[path] = read, answer
            app.post(path, response_model=gives, responses=_REFUSALS)(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it; `receive` gives a body in one piece."""
        endpoint = endpoint_of(scope["path"]) if scope["type"] == "http" else ""
        if name := model_of(endpoint, scope["path"]) if endpoint else "":
            protocols.check_model(self._service, name)
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
            reply = await answer(asked)
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


def _predict(service: Service) -> Answer:
    async def predict(body: Text | Inputs) -> Response:
        """Classify one text; with `inputs`, as Text Embeddings Inference does."""
        if isinstance(body, Inputs):
            return _json(protocols.label_scores(await service.answer(body.texts), body))
        return _json(label_json(await service.answer([body.text])))

    return predict


def _predict_batch(service: Service) -> Answer:
    async def predict_batch(body: Texts) -> Response:
        """Classify several texts."""
        return _json(label_json(await service.answer(body.texts), many=True))

    return predict_batch


def _explain(service: Service) -> Answer:
    async def explain(body: Text) -> Response:
        """Classify one text, and weigh its words by leaving out each once."""
        return _json(explanation_json(await service.explain(body.text)))

    return explain


def _classify(service: Service) -> Answer:
    async def classify(body: ToClassify) -> Response:
        """Classify texts as vLLM and SGLang do."""
        answers = await service.answer(body.texts)
        return _json(protocols.classification(answers, body.texts, service.classifier))

    return classify


def _infer(service: Service) -> Answer:
    async def infer(body: ToInfer, model: str = "") -> Response:
        """Classify texts by the Open Inference Protocol."""
        answers = await service.answer(body.inputs[0].texts)
        return _json(protocols.inferred(answers, body, service.classifier))

    return infer


_TABLE: tuple[tuple[str, Read, Any, Callable[[Service], Answer]], ...] = (
    ("/predict", _text_or_inputs, LabelAndTime | list[LabelScore] | list[list[LabelScore]], _predict),
    ("/predict_batch", Texts.model_validate_json, Labels, _predict_batch),
    ("/explain", Text.model_validate_json, Reasons, _explain),
    ("/classify", ToClassify.model_validate_json, Classification, _classify),
    ("/v1/classify", ToClassify.model_validate_json, Classification, _classify),
    (INFER, ToInfer.model_validate_json, Inferred, _infer),
)


def create(service: Service, *, lifespan: Any, prefix: str = "") -> FastAPI:
    """The application that describes the endpoints and reports on the server; the page is mounted in it."""
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

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        return _json({"status": "ready"}) if service.ready else _json({"status": "not ready"}, 503)

    @app.get("/v2", include_in_schema=False)
    async def server_facts() -> Response:
        return _json(protocols.server_facts())

    @app.get("/v2/health/live", include_in_schema=False)
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> Response:
        return _json({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/v2/models/{model}", include_in_schema=False)
    @app.get("/v2/models/{model}/versions/1", include_in_schema=False)
    async def model_facts(model: str) -> Response:
        return _json(protocols.model_facts(service.classifier))

    @app.get("/v2/models/{model}/ready", include_in_schema=False)
    @app.get("/v2/models/{model}/versions/1/ready", include_in_schema=False)
    async def model_ready(model: str) -> Response:
        name = protocols.model_name(service.classifier)
        return _json({"name": name, "ready": service.ready}, 200 if service.ready else 503)

    @app.get("/stats", include_in_schema=False)
    async def stats() -> Response:
        return _json(asdict(service.classifier.stats()))

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.counters.page(), media_type=CONTENT_TYPE_LATEST)

    return app


def label_json(answers: Answers, *, many: bool = False) -> dict[str, Any]:
    """Answers as JSON: a list for many texts, one object for a single one."""
    labels = [_label(prediction) for prediction in answers.predictions]
    said: dict[str, Any] = {"predictions": labels} if many else labels[0]
    return {**said, "milliseconds": answers.milliseconds}


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON."""
    words = [asdict(word) for word in explanation.words]
    return {
        **_label(explanation.prediction),
        "words": words,
        "texts": explanation.texts,
        "milliseconds": explanation.milliseconds,
    }


def problem(status: int, detail: str, *, path: str = "", **headers: str) -> Response:
    """The response that says why a request is refused; under the name that the protocol of the path has, too."""
    said = {"detail": detail, "error": detail} if path.startswith("/v2") else {"detail": detail}
    return _json(said, status, {name.replace("_", "-"): value for name, value in headers.items()})


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
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
    return ".".join(str(part) for part in location if not re.search(r"[\[(-]", str(part))) or "body"
