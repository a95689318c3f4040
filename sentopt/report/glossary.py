"""The terms of a report, each in one sentence; a report explains those that it uses."""

from __future__ import annotations

import re
from collections.abc import Collection

from sentopt.report.tables import Table
from sentopt.variants import VARIANTS

LEAN = "an ONNX graph that sentopt writes from the weights; same function, fewer operations"

TERMS: dict[str, str] = {
    "abstain below": "a limit of the score: an application leaves a text unanswered whose score is lower",
    "accuracy": "share of the test texts that get their true label",
    "95 % interval": "a range that contains the true value in 95 of 100 such measurements (Wilson's score interval)",
    "agreement": "share of the test texts that get the label that PyTorch gives",
    "reference": "the fine-tuned model in PyTorch, FP32: every variant is compared with it",
    "PyTorch": "the library that trains; in tables, the fine-tuned model as PyTorch runs it",
    "verdict": "whether a variant may ship: pass, pass*, refused or untested; PyTorch is the reference",
    "pass": "every criterion is proven, or the graph is exact",
    "majority baseline": "the accuracy of always giving the most frequent label",
    "balanced accuracy": "the mean of the recalls of all labels; rare labels count as much as frequent ones",
    "precision": "of the texts that get a label, the share for which it is right",
    "recall": "of the texts that have a label, the share that gets it",
    "F1": "the harmonic mean of precision and recall of a label",
    "micro F1": "the F1 of all labels of all texts counted together",
    "subset accuracy": "share of the test texts whose labels are all right",
    "average precision": "the mean precision over all thresholds of a label, weighted by the recall that each gains",
    "threshold": "a text has a label if the probability of the label reaches this",
    "macro F1": "the mean over the labels of the harmonic mean of precision and recall",
    "macro precision": "the mean of the precisions of all labels",
    "macro recall": "the mean of the recalls of all labels",
    "true \\ answered": "the label that a text has in the data, and the one that a model gives it",
    "right": "share of some texts that get their true label",
    "lost / gained": "texts that PyTorch answers correctly and the variant does not, and the reverse",
    "lost": "a text that the other model answers correctly, and this one does not",
    "gained": "a text that this model answers correctly, and the other one does not",
    "points": "percentage points: the difference of two shares in percent",
    "criterion": "one of the statements that a variant must be proven to meet",
    "outcome": "of a criterion: pass, undecided (too few texts, and the loss seen is within the margin) or fail",
    "loss": "of a criterion, how much less a variant has than PyTorch; of a training, the cross entropy that falls",
    "at most": "the upper one-sided confidence limit of the loss; the criterion passes where it is below the margin",
    "one-sided limit": "a value that the true one is beyond, in one direction, with the stated confidence",
    "decided by": "labels: true labels were compared; changes: an answer that does not change is not lost",
    "largest change of a probability": "over all test texts and labels, between a variant and PyTorch",
    "labels changed": "texts that get another label in another batch, or on another CPU",
    "batching": "answering several texts at once, padded to one length",
    "validation loss": "the cross entropy on the validation split, which training does not see",
    "margin": "how many percentage points a variant may lose; verify.margin and verify.recall_margin set it",
    "exact": "an FP32 graph with PyTorch's labels and probabilities: there is no loss that would have to be tested",
    "refused": "some criterion was not proven; a refused variant does not ship",
    "untested": "not tested, because a variant earlier in the order of testing failed",
    "unverified": "no verdict: its answers were not compared with PyTorch's",
    "pass*": "passed, but some criterion has too few texts to decide; the loss seen is within the margin",
    "split": "a part of the data: for training, for choices during training (validation), or for the verdicts (test)",
    "row": "the number of a text in its split, from 1",
    "token": "a piece of a word, as the model reads it",
    "cut at max length": "texts of which the model reads the first tokens only; model.max_length says how many",
    "stage": "a step of the run; one that is unchanged is skipped the next time",
    "step": "one update of the weights, from one batch of training texts",
    "epoch": "one pass over all training texts",
    "layer": "one of the like blocks of a transformer, computed one after the other",
    "cost": "of a student, the expected time of a text by its cascade; 1 is the full model's",
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
    "all deferred": "the time of a text where every text is deferred",
    "texts/s": "texts per second where many are answered together",
    "ms": "milliseconds of one text, tokenization included where nothing else is said",
    "load": "what a fresh process takes to import the engine and read the model",
    "first answer": "the first text in a fresh process, which is slower than later ones",
    "peak memory": "the largest resident memory of a process during its benchmark",
    "MB": "millions of bytes; of a variant, the size of its model file",
    "MiB": "2^20 bytes",
    "mean": "average: what one text costs where many are answered one after the other",
    "p50": "median: half of the texts are answered in this time",
    "p95": "95 of 100 texts are answered in this time",
    "p99": "99 of 100 texts are answered in this time",
    "speedup": "PyTorch's time of one text divided by the variant's, by the figure that select.percentile names",
    "logit": "the model's output for a label before it is turned into a probability",
    "calibration error": "mean difference between the score of an answer and how often such answers are right",
    "answered": "not left unanswered for its score; in a confusion matrix, the label that was given",
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
