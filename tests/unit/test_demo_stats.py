"""What a server says of the texts that its cascade defers, as metrics and as JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import small_bundles
import small_cascades

from sentopt import Classifier
from sentopt.demo import api
from sentopt.demo.limits import Limits
from sentopt.demo.models import Models

TEXTS = small_cascades.TEXTS


def served(folder: Path, texts: list[str]) -> tuple[dict[str, float], dict[str, object]]:
    """The metrics of the model and the answer of `/stats`, after a warm-up, these texts and an explanation."""
    models = Models({"": folder}, Limits())

    async def ask() -> None:
        await models.start()
        await models.first.answer(texts)
        await models.first.explain("terrible the great the")
        await models.stop()

    asyncio.run(ask())
    lines = models.counters.page().decode().splitlines()
    metrics = {name: float(value) for name, _, value in (line.partition(" ") for line in lines if line[0] != "#")}
    (route,) = (route for route in api.create(models, lifespan=None).routes if getattr(route, "path", "") == "/stats")
    return metrics, json.loads(asyncio.run(route.endpoint()).body)  # type: ignore[attr-defined]


def test_a_cascade_counts_what_it_defers(tmp_path: Path) -> None:
    folder = small_cascades.write(tmp_path / "bundle")
    metrics, stats = served(folder, list(TEXTS))
    classifier = Classifier.load(folder)
    deferred = sum(small_cascades.deferred(classifier)) + int(classifier.routed(["terrible the great the"])[1][0])
    assert metrics["sentopt_texts_total"] == stats["texts"] == len(TEXTS) + 1
    assert metrics["sentopt_deferred_texts_total"] == stats["deferred"] == deferred
    assert metrics["sentopt_recorded_deferred_share"] == stats["recorded_share"]
    assert metrics["sentopt_latest_deferred_share"] == stats["latest_share"] == deferred / (len(TEXTS) + 1)
    assert metrics["sentopt_deferred_share_drifted"] == 0


def test_texts_of_another_kind_are_told(tmp_path: Path) -> None:
    folder = small_cascades.write(tmp_path / "bundle")
    routes = zip(TEXTS, small_cascades.deferred(Classifier.load(folder)), strict=True)
    metrics, stats = served(folder, [text for text, deferred in routes if deferred] * 3)
    assert metrics["sentopt_deferred_share_drifted"] == 1
    assert stats["drifted"] is True


def test_what_is_no_cascade_has_one_count(tmp_path: Path) -> None:
    metrics, stats = served(small_bundles.write(tmp_path / "bundle"), ["the", "great"])
    assert metrics["sentopt_texts_total"] == stats["texts"] == 3
    assert not [name for name in metrics if "deferred" in name]
    assert stats["deferred"] is None
