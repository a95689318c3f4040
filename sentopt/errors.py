"""Every exception that sentopt raises on purpose.

One tree, rooted at `SentoptError`, so that an application can catch everything with one clause. Messages say what was
found, what was expected and what to do. A check that *fails* is a result (a verdict), never an exception; an exception
means that something could not be done.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BackboneError",
    "BundleError",
    "BundleIntegrityError",
    "BundleVersionError",
    "DataError",
    "EmulationError",
    "ExportError",
    "InputError",
    "MissingExtraError",
    "OutputError",
    "PublishError",
    "RecipeError",
    "RequestRefused",
    "RunDirError",
    "SentoptError",
    "ServingError",
    "TrainingInterrupted",
    "WorkerError",
]


class SentoptError(Exception):
    """Base class of all errors that sentopt raises deliberately."""


class RecipeError(SentoptError):
    """A recipe cannot be used. `problems` lists everything that is wrong with it, not only the first thing."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(
            f"{source}: {count} in the recipe\n" + "\n".join(f"  - {problem}" for problem in self.problems)
        )


class DataError(SentoptError):
    """A dataset cannot be read, or cannot be learned from."""


class BackboneError(SentoptError):
    """A pretrained model could not be found in any source, or does not have the pinned hash."""


class MissingExtraError(SentoptError, ImportError):
    """A verb needs packages that the base install leaves out."""


class RunDirError(SentoptError):
    """A run directory is missing, incomplete, in use, or written by a newer sentopt."""


class OutputError(SentoptError):
    """A result cannot be written where it should go: something is there already, or nothing can be."""


class ExportError(SentoptError):
    """A model could not be exported, or the exported graph does not compute what the model computes."""


class TrainingInterrupted(SentoptError):
    """Training was stopped by a signal after its state was saved; the same command resumes it."""


class BundleError(SentoptError):
    """A bundle cannot be loaded."""


class BundleIntegrityError(BundleError):
    """A file of a bundle is missing or is not the file that was verified."""


class BundleVersionError(BundleError):
    """A bundle was written in a newer format than this runtime reads."""


class EmulationError(SentoptError):
    """Another CPU cannot be emulated here, or what ran on it failed."""


class PublishError(SentoptError):
    """A bundle could not be pushed to a hub."""


class ServingError(SentoptError):
    """The demo cannot be served: the port is taken, or its credentials cannot be used."""


class RequestRefused(SentoptError):
    """The demo does not answer a request: it is too large, or there are too many.

    `status` is the HTTP status that says so, `retry_after` the seconds after which to try again, if that can help.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)


class InputError(SentoptError, TypeError):
    """A classifier was given something that is not a text, a setting that it cannot have, or asked to be copied."""


class WorkerError(SentoptError):
    """A contender of a benchmark could not be started, or ended in the middle of it."""
