"""A model card in Markdown, made from the facts that a bundle records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sentopt.measure.stats import wilson_interval
from sentopt.report.tables import Table, as_markdown
from sentopt.runtime.description import BundleDescription

_CONFIDENCE = 0.95


def write(description: BundleDescription, *, license_id: str = "") -> str:
    """The whole file."""
    return front_matter(description, license_id=license_id) + "\n" + body(description)


def front_matter(description: BundleDescription, *, license_id: str = "") -> str:
    """The YAML block that the hub reads. Values are JSON, which is YAML, so that any name is quoted correctly."""
    made_from, verified = description.facts.get("made_from", {}), description.facts["verified"]
    dataset = str(made_from.get("dataset", "test split"))
    metrics = [("accuracy", verified["accuracy"]), ("f1", verified["macro_f1"])]
    lines = [
        "pipeline_tag: text-classification",
        "library_name: sentopt",
        'tags: ["sentopt", "onnx", "onnxruntime", "transformers.js", "text-classification"]',
        *([f"license: {json.dumps(license_id)}"] if license_id else []),
        *([f"base_model: {json.dumps(made_from['backbone'])}"] if made_from.get("backbone_revision") else []),
        *([f"datasets: [{json.dumps(dataset)}]"] if _is_hub_id(dataset) else []),
        "model-index:",
        f"- name: {json.dumps(description.name)}",
        "  results:",
        "  - task: {type: text-classification}",
        f"    dataset: {{name: {json.dumps(dataset)}, type: {json.dumps(dataset)}, split: test}}",
        "    metrics:",
        *(f"    - {{type: {kind}, value: {value:.4f}}}" for kind, value in metrics),
    ]
    return "\n".join(["---", *lines, "---", ""])


def body(description: BundleDescription) -> str:
    """Summary, use, quality, data, speed, limits and files."""
    parts = (_summary, _use, _quality, _data, _speed, _limits, _files)
    return "\n\n".join(part(description) for part in parts) + "\n"


def _summary(d: BundleDescription) -> str:
    return f"""# {d.name}

A text classifier for the labels {_listed(d.labels)}. It runs in onnxruntime on any CPU, without PyTorch.

It is the variant `{d.variant}` of a fine-tuned model. A statistical test on the test split showed that it loses less
accuracy against that model in PyTorch than the margin allows. Made with sentopt."""


def _use(d: BundleDescription) -> str:
    kind = "q8" if d.model_file.endswith("_quantized.onnx") else "fp32"
    return f"""## Use

```python
from sentopt import Classifier  # numpy, onnxruntime, tokenizers

clf = Classifier.load("path/of/this/folder", check=True)
clf("a text")  # Prediction(label=..., score=..., probabilities=...)
```

Optimum (`ORTModelForSequenceClassification`) and transformers.js (`dtype: "{kind}"`) read the same folder.
Texts are cut: the {_read_end(d)} {d.max_length} tokens of each are read."""


def _read_end(d: BundleDescription) -> str:
    return "last" if d.truncation_side == "left" else "first"


def _quality(d: BundleDescription) -> str:
    verified = d.facts["verified"]
    n, accuracy = int(verified["test_texts"]), float(verified["accuracy"])
    low, high = wilson_interval(round(accuracy * n), n, _CONFIDENCE)
    rows = [
        ("accuracy", f"{accuracy:.4f} (95 %: {low:.4f} to {high:.4f})"),
        ("macro F1", f"{verified['macro_f1']:.4f}"),
        ("the same label as PyTorch", f"{verified['agreement_with_pytorch']:.4f}"),
    ]
    if "confidence" in d.facts:
        rows.append(("expected calibration error", f"{d.facts['confidence']['error']:.4f}"))
    parts = [
        f"## Quality\n\nOn the {n} texts of the test split:\n\n{as_markdown(Table(('measure', 'value'), tuple(rows)))}"
    ]
    if verified.get("per_label"):
        columns = ("label", "precision", "recall", "f1", "support")
        scores = [
            (s["label"], *(f"{s[c]:.4f}" for c in columns[1:4]), str(s["support"])) for s in verified["per_label"]
        ]
        parts.append(as_markdown(Table(columns, tuple(scores))))
    parts.append(f"The test against PyTorch: {verified['reason']}.")
    return "\n\n".join(parts)


def _data(d: BundleDescription) -> str:
    made_from: Mapping[str, Any] = d.facts.get("made_from", {})
    if not made_from:
        return "## Data\n\nThe bundle does not say what it was trained on."
    texts = ", ".join(f"{count} {split}" for split, count in made_from["texts"].items())
    how = "made elsewhere as" if made_from["tuned_elsewhere"] else "fine-tuned from"
    revision = f" at revision `{made_from['backbone_revision']}`" if made_from["backbone_revision"] else ""
    license_id = made_from.get("backbone_license")
    return (
        f"## Data\n\n`{made_from['dataset']}` ({made_from['files']}): {texts} texts. The model was {how} "
        f"`{made_from['backbone']}`{revision}.\n\n## Licence\n\n"
        + (
            f"The licence of that model is {license_id}. "
            if license_id
            else "The licence of that model is not recorded in the bundle. "
        )
        + "The data may have terms of its own. Both apply to this model."
    )


def _speed(d: BundleDescription) -> str:
    measured = d.facts["measured"]
    row, hardware = measured["row"], measured["hardware"]
    return f"""## Speed

One test text takes {row["latency"]["p50"]:.2f} ms (median, tokenization included; 99 of 100 take less than
{row["latency"]["p99"]:.2f} ms), and many are answered at {row["texts_per_second"]:.0f} texts/s: measured with
{measured["threads"]} thread(s) on {hardware["cpu"]} ({hardware["cores"]} cores; {", ".join(hardware["isa"])})."""


def _limits(d: BundleDescription) -> str:
    return f"""## Intended use and limits

It sorts texts like those of its training data into {_listed(d.labels)}. The figures above hold for such
texts: on other kinds of text, other languages, or later times it may be much worse, so measure it on your own before
you rely on it. It reads the {_read_end(d)} {d.max_length} tokens only. It repeats prejudices of its training texts and
of its backbone; do not decide about people with it alone. INT8 arithmetic differs between CPUs: `check=True`
compares the answers on this one with those that were verified.{_elsewhere(d)}"""


def _elsewhere(d: BundleDescription) -> str:
    """What emulated CPUs answered; a bundle has one record of it, a list of them, or none."""
    found = d.facts["verified"].get("cpu_flips") or []
    told = [f"{flips['changed']} of {flips['texts']} on {flips['model']}" for flips in _as_list(found)]
    return f" Labels that changed on emulated CPUs: {', '.join(told)}." if told else ""


def _as_list(found: Any) -> Sequence[Mapping[str, Any]]:
    return found if isinstance(found, list) else [found]


def _files(d: BundleDescription) -> str:
    rows = [(f"`{name}`", str(size), f"`{digest}`") for name, (size, digest) in sorted(d.files.items())]
    return f"## Files\n\n{as_markdown(Table(('file', 'bytes', 'SHA-256'), tuple(rows)))}"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def _is_hub_id(name: object) -> bool:
    return isinstance(name, str) and name.count("/") == 1 and not name.startswith(("/", "."))
