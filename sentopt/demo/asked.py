"""What a request turned out to ask, noted where it is answered, for those who record requests from outside."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Asked:
    """How many texts one request brought, and how many of them a cascade deferred; None for what is no cascade."""

    texts: int = 0
    deferred: int | None = None


REQUEST: ContextVar[Asked | None] = ContextVar("sentopt_asked", default=None)
"""The notes of the request that is being answered; None where nobody reads them."""


def note(texts: int, deferred: int | None) -> None:
    """Add answered texts to the notes of the request that is being answered, if somebody reads them."""
    if (asked := REQUEST.get()) is not None:
        asked.texts += texts
        if deferred is not None:
            asked.deferred = (asked.deferred or 0) + deferred
