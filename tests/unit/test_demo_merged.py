"""Metrics of several processes as those of one server."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from sentopt.demo.counters import Counters
from sentopt.demo.merged import Merged, added, summed


def report(pid: int, texts: list[int], *, status: str = "200", working: float = 0.0) -> dict[str, Any]:
    """What a process tells that answered a request of each number of texts."""
    counters = Counters()
    counters.watch("sentopt_requests_in_progress", "Requests being answered", lambda: working)
    model = counters.of_model("a")
    for count in texts:
        counters.requests.labels("/predict", status).inc()
        model.batch_texts.observe(count)
    return json.loads(json.dumps({"pid": pid, "stats": {"texts": sum(texts)}, "metrics": counters.families()}))


def values(page: bytes) -> dict[str, float]:
    families = text_string_to_metric_families(page.decode())
    return {
        f"{one.name}{dict(sorted(one.labels.items())) or ''}": one.value
        for family in families
        for one in family.samples
    }


def test_counts_are_summed_and_each_process_has_its_own_gauges() -> None:
    merged = Merged({"1": report(11, [1, 3], working=2.0), "2": report(12, [3], status="503")}, [])
    found = values(merged.page())
    assert found["sentopt_requests_total{'endpoint': '/predict', 'status': '200'}"] == 2
    assert found["sentopt_requests_total{'endpoint': '/predict', 'status': '503'}"] == 1
    assert (found["sentopt_batch_texts_count"], found["sentopt_batch_texts_sum"]) == (3, 7)
    assert found["sentopt_batch_texts_bucket{'le': '1.0'}"] == 1
    assert found["sentopt_batch_texts_bucket{'le': '4.0'}"] == found["sentopt_batch_texts_bucket{'le': '+Inf'}"] == 3
    assert found["sentopt_requests_in_progress{'process': '1'}"] == 2
    assert found["sentopt_requests_in_progress{'process': '2'}"] == 0
    assert "sentopt_requests_in_progress" not in found
    assert merged.stats() == {"processes": {"1": {"pid": 11, "texts": 4}, "2": {"pid": 12, "texts": 3}}}


def test_what_a_process_counted_before_its_end_stays() -> None:
    ended = report(11, [5, 5], working=1.0)
    past = added(added([], summed(ended["metrics"])), summed(report(12, [1])["metrics"]))
    found = values(Merged({"1": report(13, [1])}, past).page())
    assert (found["sentopt_batch_texts_count"], found["sentopt_batch_texts_sum"]) == (4, 12)
    assert "sentopt_requests_in_progress{'process': '1'}" in found
    created = [sample for family in past for sample in family["samples"] if sample[0] == "sentopt_batch_texts_created"]
    earliest = [s for f in ended["metrics"] for s in f["samples"] if s[0] == "sentopt_batch_texts_created"]
    assert created == earliest, "a time is no count"


def test_one_process_has_the_metrics_that_it_tells() -> None:
    counters = Counters(several=True)
    counters.of_model("a").unlogged.inc(2)
    alone = values(counters.page())
    told = {"pid": 1, "stats": {}, "metrics": counters.families()}
    assert values(Merged({"1": told}, []).page()) == alone
    assert alone["sentopt_unlogged_texts_total{'model': 'a'}"] == 2
