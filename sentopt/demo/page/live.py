"""Elements that a screen reader announces when they change (WCAG 2.2, "Status Messages")."""

from __future__ import annotations

import html

# Gradio replaces what is within these elements and keeps the elements, which is what makes them announced.


def status(content: str = "") -> str:
    """An element that is announced when the reader pauses; `content` is HTML."""
    return f'<div role="status">{content}</div>'


def alert(reason: str = "") -> str:
    """An element that is announced at once, with a reason in plain text."""
    return f'<div role="alert">{f"<p class=refusal>{html.escape(reason)}</p>" if reason else ""}</div>'
