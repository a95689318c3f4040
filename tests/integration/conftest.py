"""Whole runs, without a process for each contender of their benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import contenders
import pytest


@pytest.fixture(scope="module", autouse=True)
def contenders_here(request: pytest.FixtureRequest) -> Iterator[None]:
    """Benchmarks of a file start no processes, unless it is about them."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ != "test_contenders":
            patch.setattr("sentopt.backends.worker.start", contenders.start)
        yield
