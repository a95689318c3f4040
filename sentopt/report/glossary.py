"""The terms of a report, each in one sentence; a report explains those that it uses."""

from __future__ import annotations

import re
from collections.abc import Collection

from sentopt.report.tables import Table
from sentopt.variants import VARIANTS

LEAN = "an ONNX graph that sentopt writes from the weights; same function, fewer operations"

TERMS: dict[str, str] = {
    "accuracy": "share of the test texts that get their true label",
    "95 % interval": "a range that contains the true value in 95 of 100 such measurements (Wilson's score interval)",
    "agreement": "share of the test texts that get the label that PyTorch gives",
    "reference": "the fine-tuned model in PyTorch, FP32: every variant is compared with it",
    "majority baseline": "the accuracy of always giving the most frequent label",
    "balanced accuracy": "the mean of the recalls of all labels; rare labels count as much as frequent ones",
    "precision": "of the texts that get a label, the share for which it is right",
    "recall": "of the texts that have a label, the share that gets it",
    "macro F1": "the mean over the labels of the harmonic mean of precision and recall",
    "lost / gained": "texts that PyTorch answers correctly and the variant does not, and the reverse",
    "margin": "how many percentage points a variant may lose; verify.margin and verify.recall_margin set it",
    "exact": "an FP32 graph with PyTorch's labels and probabilities: there is no loss that would have to be tested",
    "refused": "some criterion was not proven; a refused variant does not ship",
    "untested": "not tested, because a variant earlier in the order of testing failed",
    "unverified": "no verdict: its answers were not compared with PyTorch's",
    "pass*": "passed, but some criterion has too few texts to decide; the loss seen is within the margin",
    "bundle": "the folder that an application loads: model, tokenizer, labels, and figures, with a hash for each file",
    "golden texts": "test texts in the bundle with PyTorch's probabilities: sentopt check compares the answers here",
    "lean": LEAN,
    "traced": "exported by PyTorch's exporter, operation by operation",
    "FP32": "32-bit floating point, the precision of the trained weights",
    "BF16": "16-bit floating point with 8 bits of precision",
    "FP16": "16-bit floating point with 11 bits of precision",
    "INT8": "8-bit integers for weights and activations: smaller and faster, with small errors",
    "calibrated": "the ranges of the INT8 activations are fixed from training texts and do not depend on the batch",
    "micro-batches": "texts of similar length answered together, as Classifier.predict does with many texts",
    "teacher": "a stronger model, whose answers the fine-tuned model learned beside the labels",
    "student": "a distilled model: it has fewer layers and learned to answer as the fine-tuned one does",
    "cascade": "the student answers, and the full model answers the texts of which the student is not sure",
    "deferred": "answered by the full model of a cascade, because the student was not sure",
    "mean": "average: what one text costs where many are answered one after the other",
    "p50": "median: half of the texts are answered in this time",
    "p95": "95 of 100 texts are answered in this time",
    "p99": "99 of 100 texts are answered in this time",
    "speedup": "PyTorch's time of one text divided by the variant's, by the figure that select.percentile names",
    "logit": "the model's output for a label before it is turned into a probability",
    "calibration error": "mean difference between the score of an answer and how often such answers are right",
    "score": "the probability that the model gives to the label of its answer",
    "emulated": "run in software (qemu-user) as on another CPU, whose INT8 instructions may round differently",
}


def explain(text: str) -> Table:
    """The terms that occur in text, in alphabetical order, with their meanings."""
    used = [term for term in TERMS if re.search(rf"(?<!\w){re.escape(term)}s?(?!\w)", text, re.IGNORECASE)]
    rows = tuple((term, TERMS[term]) for term in sorted(used, key=str.lower))
    return Table(("term", "meaning"), rows, title="Terms")


def describe(variants: Collection[str]) -> Table:
    """What each of some variants is, in the order of the table of variants."""
    rows = tuple((name, spec.summary) for name, spec in VARIANTS.items() if name in variants)
    return Table(("variant", "what it is"), rows, title="Variants of this run")
