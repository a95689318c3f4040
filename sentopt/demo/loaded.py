"""A bundle as the server holds it: the classifier, and the hash that tells this bundle from the one before."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sentopt.errors import BundleError
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import DESCRIPTION_FILE, read_file

_PREFIX = 12  # hexadecimal digits of a hash that people compare


@dataclass(frozen=True)
class Loaded:
    """A classifier that was loaded from a bundle.

    Attributes:
        classifier: answers.
        sha256: of `sentopt.json`, which lists the hashes of all other files, in hexadecimal digits.
        since: when it was loaded, in seconds since 1970.
    """

    classifier: Classifier
    sha256: str
    since: float

    @cached_property
    def short(self) -> str:
        """The beginning of the hash, as headers and messages show it."""
        return self.sha256[:_PREFIX]

    def facts(self) -> dict[str, Any]:
        """Which bundle this is, for those who look whether another one answers."""
        description = self.classifier.description
        named: dict[str, Any] = {}
        if description:
            named = {"run": description.name, "variant": description.variant}
            if description.pair:
                named["pair"] = description.pair
            if description.thresholds:
                named["thresholds"] = dict(zip(description.labels, description.thresholds, strict=True))
        return {"sha256": self.sha256, **named, "loaded": int(self.since)}


def load(folder: Path, *, check: bool = False, threads: int | None = None) -> Loaded:
    """Load a bundle from a folder.

    Args:
        folder: holds `sentopt.json`.
        check: compare the answers to its golden texts, too.
        threads: cores to use; None uses every core granted, or as many as `sentopt tune` found fastest.

    Raises:
        BundleError: it cannot be loaded, answers its golden texts otherwise, or was replaced meanwhile.
    """
    sha256 = sha256_of(folder)
    classifier = Classifier.load(folder, check=check, threads=threads)
    if sha256_of(folder) != sha256:
        raise BundleError(f"{folder} was replaced while it was read: load it again once its files stay as they are")
    return Loaded(classifier, sha256, time.time())


def sha256_of(folder: Path) -> str:
    """The hash of the bundle that a folder holds, from `sentopt.json` alone; empty where that cannot be read."""
    try:
        return hashlib.sha256(read_file(folder, DESCRIPTION_FILE)).hexdigest()
    except OSError:
        return ""
