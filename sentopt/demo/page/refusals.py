"""Refusals as the named endpoints tell them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import gradio as gr

from sentopt.errors import InputError, RequestRefused

P = ParamSpec("P")
R = TypeVar("R")


def shown(handler: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """`handler`, with its refusals as errors of Gradio, which its client raises."""

    @functools.wraps(handler)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(*args, **kwargs)
        except (RequestRefused, InputError) as error:
            raise gr.Error(str(error), title="Not answered", duration=6, print_exception=False) from error

    return wrapped
