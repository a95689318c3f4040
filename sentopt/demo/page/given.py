"""What a visitor gives the model: the field of a text, or the two fields of a pair, and what stands in them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sentopt.data import pairs
from sentopt.demo.service import Service
from sentopt.runtime.description import Text


def boxes(service: Service, start: Text, *, names: tuple[str, str], lines: int, **options: Any) -> list[gr.Textbox]:
    """The field of a text, or of each text of a pair under its name.

    Args:
        service: says which of them, and how much is answered.
        start: what stands there at the start.
        names: ids of the elements.
        lines: height of the first one.
        options: of the first one.
    """
    labels = service.pair or ("Text",)
    given = list(zip(pairs.parts(start), labels, names, strict=False))
    return [
        gr.Textbox(
            text,
            label=label,
            lines=max(1, lines // 2) if number else lines,
            max_lines=12,
            max_length=service.limits.characters,
            elem_id=name,
            **({} if number else options),
        )
        for number, (text, label, name) in enumerate(given)
    ]


def text_of(values: tuple[object, ...]) -> Text:
    """The text, or the pair, of the values of `boxes`; what is no text counts as nothing."""
    first, *second = (value if isinstance(value, str) else "" for value in values)
    return (first, second[0]) if second else first


def is_blank(text: Text) -> bool:
    """Whether there is nothing to answer: no text, or neither of a pair."""
    return not any(part.strip() for part in pairs.parts(text))
