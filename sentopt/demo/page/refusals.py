"""What a visitor sees where a request is refused: the reason, as Gradio shows errors."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

import gradio as gr

from sentopt.errors import InputError, RequestRefused

P = ParamSpec("P")
R = TypeVar("R")


def shown(handler: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """`handler`, with its refusals as messages on the page."""

    @functools.wraps(handler)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with _as_message():
            return await handler(*args, **kwargs)

    return wrapped


def shown_steps(handler: Callable[P, AsyncIterator[R]]) -> Callable[P, AsyncIterator[R]]:
    """The same for a handler that shows its result step by step."""

    @functools.wraps(handler)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        with _as_message():
            async for step in handler(*args, **kwargs):
                yield step

    return wrapped


@contextlib.contextmanager
def _as_message() -> Iterator[None]:
    try:
        yield
    except (RequestRefused, InputError) as error:
        raise gr.Error(str(error), title="Not answered", duration=6, print_exception=False) from error
