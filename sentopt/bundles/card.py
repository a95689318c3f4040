"""A model card in Markdown, made from the facts that a bundle records."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from sentopt.bundles import facts
from sentopt.measure.stats import wilson_interval
from sentopt.report.markup import as_code, in_markdown
from sentopt.report.tables import Table, as_markdown
from sentopt.runtime.description import BundleDescription
from sentopt.runtime.names import printable

_CONFIDENCE = 0.95
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def write(description: BundleDescription, *, license_id: str = "") -> str:
    """The whole file.

    Raises:
        BundleError: what the bundle says of itself is incomplete or malformed; so do the other functions here.
    """
    return front_matter(description, license_id=license_id) + "\n" + body(description)


def front_matter(description: BundleDescription, *, license_id: str = "") -> str:
    """The YAML block that the hub reads. Values are JSON, which is YAML, so that any name is quoted correctly."""
    origin, verified = facts.origin(description), facts.verified(description)
    dataset = origin.dataset if origin else "test split"
    metrics = [("accuracy", verified.accuracy), ("f1", verified.macro_f1)]
    lines = [
        "pipeline_tag: text-classification",
        "library_name: sentopt",
        'tags: ["sentopt", "onnx", "onnxruntime", "transformers.js", "text-classification"]',
        *([f"license: {_yaml(license_id)}"] if license_id else []),
        *([f"base_model: {_yaml(origin.backbone)}"] if origin and origin.revision else []),
        *([f"datasets: [{_yaml(dataset)}]"] if _HUB_ID.fullmatch(dataset) else []),
        "model-index:",
        f"- name: {_yaml(description.name)}",
        "  results:",
        "  - task: {type: text-classification}",
        f"    dataset: {{name: {_yaml(dataset)}, type: {_yaml(dataset)}, split: test}}",
        "    metrics:",
        *(f"    - {{type: {kind}, value: {value:.4f}}}" for kind, value in metrics),
    ]
    return "\n".join(["---", *lines, "---", ""])


def _yaml(text: str) -> str:
    """A text as JSON, which is YAML too. Characters beyond U+FFFF stand as they are: YAML has no surrogate pairs."""
    return json.dumps(printable(text), ensure_ascii=False)


def body(description: BundleDescription) -> str:
    """Summary, use, quality, data, speed, limits and files."""
    parts = (_summary, _use, _quality, _data, _speed, _limits, _files)
    return "\n\n".join(part(description) for part in parts) + "\n"


def _summary(d: BundleDescription) -> str:
    what = f"A classifier of pairs of texts ({_listed(d.pair)})" if d.pair else "A text classifier"
    return f"""# {in_markdown(d.name)}

{what} for the labels {_listed(d.labels)}{_freely(d)}. It runs in onnxruntime on any CPU, without PyTorch.

It is the variant {as_code(d.variant)} of a fine-tuned model. A statistical test on the test split showed that it loses
less accuracy against that model in PyTorch than the margin allows. Made with sentopt."""


def _use(d: BundleDescription) -> str:
    kind = "q8" if d.model_file.endswith("_quantized.onnx") else "fp32"
    return f"""## Use

```python
from sentopt import Classifier  # numpy, onnxruntime, tokenizers

clf = Classifier.load("path/of/this/folder", check=True)
clf({example(d)})  # {_prediction(d)}
```
{_thresholds(d)}
Optimum (`ORTModelForSequenceClassification`) and transformers.js (`dtype: "{kind}"`, `top_k`) read the same folder.
{_given(d)}{_cut(d)}"""


def _given(d: BundleDescription) -> str:
    """How a pipeline of transformers is given pairs."""
    if not d.pair:
        return ""
    return 'A pipeline is given `{"text": "a text", "text_pair": "another text"}`, with `truncation=True`.\n'


def _cut(d: BundleDescription) -> str:
    if not d.pair:
        return f"Texts are cut: the {_read_end(d)} {d.max_length} tokens of each are read."
    return (
        f"Pairs are cut: {d.max_length} tokens of each are read, the {_read_end(d)} ones of its texts. The longer text "
        "is cut first (`longest_first`)."
    )


def example(d: BundleDescription, quote: str = '"') -> str:
    """What the classifier is called with, in Python."""
    first, second = f"{quote}a text{quote}", f"{quote}another text{quote}"
    return f"({first}, {second})" if d.pair else first


def _freely(d: BundleDescription) -> str:
    return ", of which a text may have any number (multi-label)" if d.thresholds else ""


def _prediction(d: BundleDescription) -> str:
    if d.thresholds:
        return "Prediction(labels=(...), probabilities={...}, ...): labels may be empty"
    return "Prediction(label=..., score=..., probabilities=...)"


def _thresholds(d: BundleDescription) -> str:
    """How a program that does not read sentopt.json gets the same labels."""
    if not d.thresholds:
        return ""
    rows = [(in_markdown(label), f"{limit:.6g}") for label, limit in zip(d.labels, d.thresholds, strict=True)]
    return f"""
The `problem_type` is `multi_label_classification`: the probability of a label is the sigmoid of its logit, and a text
has every label whose probability reaches its threshold. The pipeline of transformers gives the probabilities with
`function_to_apply="sigmoid"` and `top_k=None`; the thresholds were tuned on the validation split, for the F1 of each
label:

{as_markdown(Table(("label", "threshold"), tuple(rows)))}
"""


def _read_end(d: BundleDescription) -> str:
    return "last" if d.truncation_side == "left" else "first"


def _quality(d: BundleDescription) -> str:
    verified, error = facts.verified(d), facts.calibration_error(d)
    n, accuracy = verified.test_texts, verified.accuracy
    low, high = wilson_interval(round(accuracy * n), n, _CONFIDENCE)
    of_sets = bool(d.thresholds)
    rows = [
        ("all labels right" if of_sets else "accuracy", f"{accuracy:.4f} (95 %: {low:.4f} to {high:.4f})"),
        *([("micro F1", f"{verified.micro_f1:.4f}")] if verified.micro_f1 is not None else []),
        ("macro F1", f"{verified.macro_f1:.4f}"),
        *(
            [("average precision", f"{verified.average_precision:.4f}")]
            if verified.average_precision is not None
            else []
        ),
        (f"the same label{'s' if of_sets else ''} as PyTorch", f"{verified.agreement:.4f}"),
    ]
    if error is not None:
        rows.append(("expected calibration error", f"{error:.4f}"))
    parts = [
        f"## Quality\n\nOn the {n} texts of the test split:\n\n{as_markdown(Table(('measure', 'value'), tuple(rows)))}"
    ]
    if verified.per_label:
        columns = ("label", "precision", "recall", "f1", "support")
        scores = [
            (in_markdown(s.label), f"{s.precision:.4f}", f"{s.recall:.4f}", f"{s.f1:.4f}", str(s.support))
            for s in verified.per_label
        ]
        parts.append(as_markdown(Table(columns, tuple(scores))))
    parts.append(f"The test against PyTorch: {in_markdown(verified.reason)}.")
    return "\n\n".join(parts)


def _data(d: BundleDescription) -> str:
    origin = facts.origin(d)
    if origin is None:
        return "## Data\n\nThe bundle does not say what it was trained on."
    texts = ", ".join(f"{count} {in_markdown(split)}" for split, count in origin.texts)
    how = "made elsewhere as" if origin.tuned_elsewhere else "fine-tuned from"
    revision = f" at revision {as_code(origin.revision)}" if origin.revision else ""
    return (
        f"## Data\n\n{as_code(origin.dataset)} ({in_markdown(origin.files)}): {texts} texts. The model was {how} "
        f"{as_code(origin.backbone)}{revision}.\n\n## Licence\n\n"
        + (
            f"The licence of that model is {in_markdown(origin.license)}. "
            if origin.license
            else "The licence of that model is not recorded in the bundle. "
        )
        + "The data may have terms of its own. Both apply to this model."
    )


def _speed(d: BundleDescription) -> str:
    measured = facts.measured(d)
    return f"""## Speed

{latency_in_words(d)} Many are answered at {measured.texts_per_second:.0f} texts/s.
Measured with {measured.threads} thread(s) on {in_markdown(measured.cpu)} ({measured.cores} cores; \
{in_markdown(", ".join(measured.isa))})."""


def latency_in_words(d: BundleDescription) -> str:
    """What one test text takes, and what a cascade does with it; what is not recorded is left out."""
    measured, share = facts.measured(d), facts.share_deferred(d)
    average = "" if measured.mean is None else f"One test text takes {measured.mean:.2f} ms on average. "
    within = [("50 take", measured.p50), ("95", measured.p95), ("99", measured.p99)]
    percentiles = ", ".join(f"{count} at most {ms:.2f} ms" for count, ms in within if ms is not None)
    told = f"{average}Of 100 texts, {percentiles} (one at a time, tokenization included)."
    if share is not None:
        told += (
            " A small student answers first, and defers what it is not sure of to the full model in the same file: "
            f"{share:.1%} of the test texts."
        )
    if measured.all_deferred is not None:
        told += f" Where every text is deferred, a text takes {measured.all_deferred:.2f} ms on average."
    return told


def _limits(d: BundleDescription) -> str:
    return f"""## Intended use and limits

It {_does(d)} {_listed(d.labels)}. The figures above hold for such
texts: on other kinds of text, other languages, or later times it may be much worse, so measure it on your own before
you rely on it. It reads the {_read_end(d)} {d.max_length} tokens only. It repeats prejudices of its training texts and
of its backbone; do not decide about people with it alone. INT8 arithmetic differs between CPUs: `check=True`
compares the answers on this one with those that were verified.{_elsewhere(d)}"""


def _does(d: BundleDescription) -> str:
    if d.thresholds:
        return "gives texts like those of its training data any number of the labels"
    return "sorts texts like those of its training data into"


def _elsewhere(d: BundleDescription) -> str:
    told = [f"{on.changed} of {on.texts} on {in_markdown(on.cpu)}" for on in facts.verified(d).elsewhere]
    return f" Labels that changed on emulated CPUs: {', '.join(told)}." if told else ""


def _files(d: BundleDescription) -> str:
    rows = [(as_code(name), str(size), as_code(digest)) for name, (size, digest) in sorted(d.files.items())]
    return f"## Files\n\n{as_markdown(Table(('file', 'bytes', 'SHA-256'), tuple(rows)))}"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(map(as_code, labels))
