"""OpenTelemetry, where its standard environment variables ask for it; else nothing of it is even imported.

A signal (traces, metrics) is exported if `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER` names an exporter, or if the
endpoint of a collector is set. All other variables are read by the SDK itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from sentopt._optional import needs_extra
from sentopt.errors import MissingExtraError

SIGNALS = ("traces", "metrics")
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
FLUSH_SECONDS = 5.0  # that a collector which does not answer may hold up the end of the server


@contextlib.contextmanager
def around(
    app: ASGIApp,
    registry: CollectorRegistry,
    *,
    prefix: str,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> Iterator[ASGIApp]:
    """The application, with each request recorded if the environment asks for it. What is left is sent at the end.

    Nothing that is wrong with telemetry keeps the server from serving: it is said, and requests are not recorded.

    Args:
        app: what answers.
        registry: the counters of the server, which become metrics.
        prefix: the path below which a proxy shows the server.
        say: is told what is missing or wrong.
        environ: the environment variables.
    """
    wanted = {signal: names for signal in SIGNALS if (names := exporters(signal, environ))}
    if not wanted:
        yield app
        return
    try:
        with needs_extra("otel"):
            from sentopt.demo import recorder
        recording = recorder.start(wanted, say)
    except MissingExtraError as error:
        missing = str(error).partition("\n")[0].partition(",")[0]
        asks = " and ".join(_asked_by(signal, environ) for signal in wanted)
        say(f'warning: {asks} is set, and requests are not recorded: {missing}: pip install "sentopt[otel]"')
        yield app
        return
    except Exception as error:  # a variable with a value that the SDK does not take
        say(f"warning: requests are not recorded: OpenTelemetry says {type(error).__name__}: {error}")
        yield app
        return
    try:
        yield recording.around(app, registry, prefix)
    finally:
        ending = threading.Thread(target=recording.close, name="sentopt-telemetry-end", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)


def exporters(signal: str, environ: Mapping[str, str]) -> list[str]:
    """The names of the exporters that a signal has; none unless the environment asks for it."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = [name.strip() for name in environ.get(_exporter_variable(signal), "").split(",") if name.strip()]
    if named:
        return [] if "none" in named else named
    return ["otlp"] if environ.get(_ENDPOINT) or environ.get(_own_endpoint(signal)) else []


def _asked_by(signal: str, environ: Mapping[str, str]) -> str:
    names = (_exporter_variable(signal), _own_endpoint(signal), _ENDPOINT)
    return next(name for name in names if environ.get(name))


def _exporter_variable(signal: str) -> str:
    return f"OTEL_{signal.upper()}_EXPORTER"


def _own_endpoint(signal: str) -> str:
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
