"""What a variant must prove before it may ship: each criterion, the check of the reference, and the order of testing.

A variant passes if it meets *all* criteria, each tested at the full level: the probability that it meets them although
it violates one is at most the level of that one test (intersection-union test: R. L. Berger, Technometrics 24 (1982)
295-300). Several variants are tested one after the other in an order that the test split has no part in, up to the
first failure, so that the probability of passing *any* inferior one is bounded by the same level (fixed-sequence
testing: W. Maurer, L. A. Hothorn and W. Lehmacher, Biometrie in der chemisch-pharmazeutischen Industrie 6 (1995) 3-18;
A. N. Angelopoulos et al., "Learn then Test", 2021, apply it to models). `benchmarks/gate_error.py` measures both.
"""

from sentopt.gate.criteria import Answers, differing_answers, judge
from sentopt.gate.reference import check_reference
from sentopt.gate.rules import FEW_TEXTS, Rules, in_sequence, is_exact, outcome, validation_counts
from sentopt.gate.words import foresee, in_words, reason, unlabelled_can_decide, what_would_decide

__all__ = [
    "FEW_TEXTS",
    "Answers",
    "Rules",
    "check_reference",
    "differing_answers",
    "foresee",
    "in_sequence",
    "in_words",
    "is_exact",
    "judge",
    "outcome",
    "reason",
    "unlabelled_can_decide",
    "validation_counts",
    "what_would_decide",
]
