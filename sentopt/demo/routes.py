"""The routes that are open, and the methods that each takes.

Gradio has many more (uploads, files by path, proxies, code editing for developers). Each of them has been the subject
of an advisory or may be of the next.
"""

from __future__ import annotations

from sentopt.errors import RequestRefused

ENDPOINTS = {
    **dict.fromkeys(("/predict", "/predict_batch", "/explain"), "POST"),
    **dict.fromkeys(("/healthz", "/readyz", "/stats", "/metrics", "/openapi.json"), "GET"),
}
"""The method of each endpoint; GET stands for HEAD, too."""
PROBES = ("/healthz", "/readyz")  # come without a password
GRADIO = "/gradio_api/"
STREAMS = (GRADIO + "heartbeat/",)  # endless: never waited for
EVENTS = (*STREAMS, GRADIO + "queue/data", GRADIO + "call/")  # are spent by who reads them: HEAD would lose them
_PAGE: dict[str, tuple[str, ...]] = {
    "GET": (
        *("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"),
        *(GRADIO + name for name in ("info", "queue/data", "startup-events", "theme.css", "app_id")),
    ),
    "POST": tuple(GRADIO + name for name in ("queue/join", "cancel", "reset")),
}
_PAGE_BELOW: dict[str, tuple[str, ...]] = {
    "GET": ("/assets/", "/static/", GRADIO + "heartbeat/", GRADIO + "call/"),
    "POST": (GRADIO + "call/", GRADIO + "run/"),
}
FIRST_FOLDERS = frozenset(path.split("/")[1] for paths in (ENDPOINTS, *_PAGE.values()) for path in paths) | {
    *("assets", "static"),
}
"""The first parts of all open paths, which no prefix of a proxy may have."""


def methods(path: str) -> tuple[str, ...]:
    """The methods that an open route takes; none where nothing is there."""
    if path in ENDPOINTS:
        found = [ENDPOINTS[path]]
    elif any(part in path for part in ("..", "\\", "//", "\0")):
        found = []
    else:
        found = [method for method in _PAGE if path in _PAGE[method] or _is_below(path, _PAGE_BELOW[method])]
    if "GET" in found and not path.startswith(EVENTS):
        found.insert(1, "HEAD")
    return tuple(found)


_OF_ENDPOINTS = {path: methods(path) for path in ENDPOINTS}


def check(path: str, method: str) -> None:
    """Refuse what is no open route, or not the method of one.

    Raises:
        RequestRefused: with 404 or 405.
    """
    taken = _OF_ENDPOINTS.get(path) or methods(path)
    if not taken:
        raise RequestRefused(404, "there is nothing here")
    if method not in taken:
        raise RequestRefused(405, f"this takes {' and '.join(taken)}")


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return path.startswith(folders) and path not in folders
