"""The routes that are open, and the methods that each takes.

Gradio has many more (uploads, files by path, proxies, code editing for developers). Each of them has been the subject
of an advisory or may be of the next.
"""

from __future__ import annotations

from sentopt.errors import RequestRefused

_MODEL = "/v2/models/{model}"
INFER = f"{_MODEL}/infer"
RELOAD = "/reload"
ENDPOINTS = {
    **dict.fromkeys(("/predict", "/predict_batch", "/explain", "/classify", "/v1/classify", INFER, RELOAD), "POST"),
    **dict.fromkeys(("/healthz", "/readyz", "/stats", "/metrics", "/openapi.json"), "GET"),
    **dict.fromkeys(("/v1/models", "/v2", "/v2/health/live", "/v2/health/ready", _MODEL, f"{_MODEL}/ready"), "GET"),
}
"""The method of each endpoint; GET stands for HEAD, too. Any name may stand for the model."""
PROBES = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")  # come without a password
UNNAMED = (
    "/v2/",
    RELOAD,
)  # whose clients do not say that they send JSON; pages of other sites are told by their origin
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


def endpoint_of(path: str) -> str:
    """The endpoint that a path belongs to, as `ENDPOINTS` names it; empty if it belongs to the page."""
    if path in ENDPOINTS:
        return path
    if not path.startswith("/v2/models/"):
        return ""
    _, _, _, model, *rest = path.split("/")
    rest = rest[2:] if rest[:2] == ["versions", "1"] else rest
    name = "/".join((_MODEL, *rest))
    return name if model and name in ENDPOINTS else ""


def model_of(endpoint: str, path: str) -> str:
    """The name of the model in a path of the Open Inference Protocol; empty for endpoints without one."""
    return path.split("/")[3] if endpoint.startswith(_MODEL) else ""


def methods(path: str, *, page: bool = True) -> tuple[str, ...]:
    """The methods that an open route takes; none where nothing is there. `page` says whether there is a page."""
    if endpoint := endpoint_of(path):
        found = [ENDPOINTS[endpoint]]
    elif not page or any(part in path for part in ("..", "\\", "//", "\0")):
        found = []
    else:
        found = [method for method in _PAGE if path in _PAGE[method] or _is_below(path, _PAGE_BELOW[method])]
    if "GET" in found and not path.startswith(EVENTS):
        found.insert(1, "HEAD")
    return tuple(found)


_OF_ENDPOINTS = {path: methods(path) for path in ENDPOINTS}


_THERE = "; ".join(
    f"{method} {', '.join(path for path, taken in ENDPOINTS.items() if taken == method)}" for method in ("POST", "GET")
)


def check(path: str, method: str, *, page: bool = True) -> None:
    """Refuse what is no open route, or not the method of one.

    Raises:
        RequestRefused: with 404 or 405.
    """
    taken = _OF_ENDPOINTS.get(path) or methods(path, page=page)
    if not taken:
        raise RequestRefused(404, f"there is nothing here; the endpoints are: {_THERE}")
    if method not in taken:
        raise RequestRefused(405, f"this takes {' and '.join(taken)}")


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return path.startswith(folders) and path not in folders
