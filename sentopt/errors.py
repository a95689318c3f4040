"""All exceptions of sentopt, in one tree below `SentoptError`.

An application catches all of them with `except SentoptError`. Messages say what was found, what was expected and what
to do. A variant that fails verification is a result (a verdict), not an exception; an exception means that an operation
could not be completed.
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
    "NodeError",
    "OutputError",
    "PublishError",
    "RankError",
    "RecipeError",
    "RequestRefused",
    "RunDirError",
    "SentoptError",
    "ServingError",
    "TrainingInterrupted",
    "WorkerError",
]


class SentoptError(Exception):
    """Base class of all exceptions of sentopt."""


class RecipeError(SentoptError):
    """A recipe is invalid. `problems` lists everything that is wrong with it."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(
            f"{source}: {count} in the recipe\n" + "\n".join(f"  - {problem}" for problem in self.problems)
        )


class DataError(SentoptError):
    """A dataset cannot be read, or is unsuitable for training."""


class BackboneError(SentoptError):
    """A model cannot be found, has another hash than the pinned one, or is of an unsupported kind."""


class MissingExtraError(SentoptError, ImportError):
    """An operation needs a package that the base install does not include."""


class RankError(SentoptError):
    """In a rank of a distributed training: another rank has failed, and says why itself."""


class NodeError(SentoptError):
    """In a distributed training: a process or its machine cannot take part, or was lost."""


class RunDirError(SentoptError):
    """A run directory is missing, incomplete, in use, or written by a newer sentopt."""


class OutputError(SentoptError):
    """An output file cannot be written: it exists already, or its path is invalid."""


class ExportError(SentoptError):
    """A model cannot be exported, or the exported graph differs from the model."""


class TrainingInterrupted(SentoptError):
    """A signal stopped training after its state was saved; the same command resumes it."""


class BundleError(SentoptError):
    """A bundle cannot be loaded."""


class BundleIntegrityError(BundleError):
    """A file of a bundle is missing or changed, or the golden texts are answered differently."""


class BundleVersionError(BundleError):
    """A bundle has a newer schema than this runtime reads."""


class EmulationError(SentoptError):
    """Another CPU cannot be emulated here, or the emulated program failed."""


class PublishError(SentoptError):
    """A bundle cannot be pushed to a hub."""


class ServingError(SentoptError):
    """The demo cannot be served: the port is in use, or the credentials are invalid."""


class RequestRefused(SentoptError):
    """The demo refuses a request: it is too large, or there are too many.

    `status` is the HTTP status; `retry_after` is the number of seconds to wait, or None if waiting does not help.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(message)


class InputError(SentoptError, TypeError):
    """A value cannot be used: a text that is no string, an invalid option, name or path; or a classifier is copied."""


class WorkerError(SentoptError):
    """A benchmark process could not be started, or ended unexpectedly."""
