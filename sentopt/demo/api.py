"""The HTTP endpoints: JSON in, JSON out, described by `/openapi.json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from sentopt import __version__
from sentopt.demo.limits import Limits
from sentopt.demo.service import Service
from sentopt.errors import RequestRefused
from sentopt.runtime.classifier import Prediction


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
    """The answer, and what it rests on; `texts` had to be answered for it."""

    words: list[WordWeight]
    texts: int


class Problem(BaseModel):
    """What was wrong with a request."""

    detail: str


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": meaning}
    for status, meaning in {
        400: "not an HTTP request that this server takes",
        401: "a name and a password are asked for",
        408: "the request did not arrive in time",
        413: "too long, or too many",
        415: "not application/json",
        422: "not the JSON that is asked for",
        429: "too many requests from this address",
        503: "busy, or stopping; try again after Retry-After seconds",
    }.items()
}


def create(service: Service, *, lifespan: Any) -> FastAPI:
    """The application with the endpoints, without the page."""
    app = FastAPI(
        title="sentopt demo",
        version=__version__,
        description="Answers texts with a verified classifier.",
        docs_url=None,  # its page would load scripts from elsewhere; the demo's own page describes the endpoints
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.post("/predict", response_model=LabelAndTime, responses=_REFUSALS)
    async def predict(body: Text) -> Response:
        """Classify one text."""
        answers = await service.answer([body.text])
        return _json({**_label(answers.predictions[0]), "milliseconds": answers.milliseconds})

    @app.post("/predict_batch", response_model=Labels, responses=_REFUSALS)
    async def predict_batch(body: Texts) -> Response:
        """Classify several texts."""
        answers = await service.answer(body.texts)
        labels = [_label(p) for p in answers.predictions]
        return _json({"predictions": labels, "milliseconds": answers.milliseconds})

    @app.post("/explain", response_model=Reasons, responses=_REFUSALS)
    async def explain(body: Text) -> Response:
        """Classify one text, and tell which words the answer rests on: each is left out once."""
        found = await service.explain(body.text)
        words = [asdict(word) for word in found.words]
        about = {"words": words, "texts": found.texts, "milliseconds": found.milliseconds}
        return _json({**_label(found.prediction), **about})

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        return _json({"status": "ready"}) if service.ready else _json({"status": "not ready"}, 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.counters.page(), media_type=CONTENT_TYPE_LATEST)

    app.add_exception_handler(RequestRefused, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


def problem(status: int, detail: str, **headers: str) -> Response:
    """The answer to a request that gets none."""
    return _json({"detail": detail}, status, {name.replace("_", "-"): value for name, value in headers.items()})


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def _label(prediction: Prediction) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "score": prediction.score,
        "probabilities": prediction.probabilities,
        "truncated": prediction.truncated,
    }


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)
    headers = {"Retry_After": str(error.retry_after)} if error.retry_after else {}
    return problem(error.status, str(error), **headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """Where and why, without repeating what was sent."""
    assert isinstance(error, RequestValidationError)
    return problem(422, "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]))
