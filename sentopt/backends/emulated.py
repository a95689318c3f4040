"""The process on an emulated CPU: it answers texts one at a time, with nothing but the base install.

Run as a module. It reads one JSON document from standard input (see `sentopt.backends.emulation`) and prints a line of
JSON when the classifier is open, then one for each text as soon as that is answered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from sentopt.errors import SentoptError
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.options import Options
from sentopt.runtime.tokenization import TextEncoder
from sentopt.runtime.tuning import default


def main() -> int:
    """Answer the texts of standard input. Returns the exit code."""
    request = json.load(sys.stdin)
    try:
        classifier = _open(request)
        _send({"onnxruntime": onnxruntime.__version__, "cascade": classifier.is_cascade})
        for text in request["texts"]:
            logits, deferred = classifier.routed([text])
            _send({"logits": logits[0].tolist(), "deferred": bool(deferred[0])})
    except SentoptError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _open(request: Mapping[str, Any]) -> Classifier:
    if "bundle" in request:
        return Classifier.load(request["bundle"], threads=1)
    encoder = TextEncoder.load(Path(request["tokenizer"]), max_length=request["max_length"], pairs=request["pairs"])
    options = Options(engine=request["engine"], tuning=default(1))
    return Classifier.open(Path(request["model"]), encoder, request["labels"], options=options)


def _send(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
