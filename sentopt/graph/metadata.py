"""What a graph says of itself: labels, maximum length and version in its metadata, and a text for people.

Programs without a JSON reader find the labels one by one: `sentopt.label.0`, `sentopt.label.1`, and so on, in the order
of the logits. A multi-label model has `sentopt.threshold.0` and so on besides, and a model of pairs the names of its
two texts, `sentopt.pair.0` and `sentopt.pair.1`. The same model gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from sentopt._version import __version__

LABEL, MAX_LENGTH, VERSION = "sentopt.label.", "sentopt.max_length", "sentopt.version"
THRESHOLD, PAIR = "sentopt.threshold.", "sentopt.pair."


def describe(
    model: onnx.ModelProto,
    labels: Sequence[str],
    max_length: int,
    *,
    thresholds: Sequence[float] = (),
    pair: Sequence[str] | None = None,
) -> None:
    """Add metadata and a doc string; those of an earlier description are replaced, those of others stay."""
    values = {
        VERSION: __version__,
        MAX_LENGTH: str(max_length),
        **{f"{LABEL}{i}": label for i, label in enumerate(labels)},
        **{f"{THRESHOLD}{i}": repr(float(threshold)) for i, threshold in enumerate(thresholds)},
        **{f"{PAIR}{i}": name for i, name in enumerate(pair or ())},
    }
    others = {entry.key: entry.value for entry in model.metadata_props if not entry.key.startswith("sentopt.")}
    del model.metadata_props[:]
    for key, value in {**others, **values}.items():
        model.metadata_props.add(key=key, value=value)
    kind = "A multi-label text classifier" if thresholds else "A text classifier"
    texts = f"pairs of texts ({', '.join(pair)})" if pair else "texts"
    model.doc_string = (
        f"{kind} made by sentopt {__version__}. It gives one score a label, in this order: "
        f"{', '.join(labels)}. It was verified on {texts} of at most {max_length} tokens."
    )


def describe_file(
    path: Path,
    labels: Sequence[str],
    max_length: int,
    *,
    thresholds: Sequence[float] = (),
    pair: Sequence[str] | None = None,
) -> None:
    """`describe` for a file; weights in files beside it stay there."""
    model = onnx.load(path, load_external_data=False)
    describe(model, labels, max_length, thresholds=thresholds, pair=pair)
    onnx.save(model, path)
