"""What a graph says of itself: labels, maximum length and version in its metadata, and a text for people.

Programs without a JSON reader find the labels one by one: `sentopt.label.0`, `sentopt.label.1`, and so on, in the order
of the logits. The same model gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from sentopt._version import __version__

LABEL, MAX_LENGTH, VERSION = "sentopt.label.", "sentopt.max_length", "sentopt.version"


def describe(model: onnx.ModelProto, labels: Sequence[str], max_length: int) -> None:
    """Add metadata and a doc string; those of an earlier description are replaced, those of others stay."""
    values = {
        VERSION: __version__,
        MAX_LENGTH: str(max_length),
        **{f"{LABEL}{i}": label for i, label in enumerate(labels)},
    }
    others = {entry.key: entry.value for entry in model.metadata_props if not entry.key.startswith("sentopt.")}
    del model.metadata_props[:]
    for key, value in {**others, **values}.items():
        model.metadata_props.add(key=key, value=value)
    model.doc_string = (
        f"A text classifier made by sentopt {__version__}. It gives one score a label, in this order: "
        f"{', '.join(labels)}. It was verified on texts of at most {max_length} tokens."
    )


def describe_file(path: Path, labels: Sequence[str], max_length: int) -> None:
    """`describe` for a file; weights in files beside it stay there."""
    model = onnx.load(path, load_external_data=False)
    describe(model, labels, max_length)
    onnx.save(model, path)
