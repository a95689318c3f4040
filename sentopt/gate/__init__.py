"""The statistical gate: the criteria of a variant, the check of the reference, and the order of testing.

A variant passes if it meets *all* criteria, each tested at the full level. The probability that a variant that violates
a criterion meets them all is then at most the level of that single test (intersection-union test: R. L. Berger,
Technometrics 24 (1982) 295-300). Several variants are tested as a fixed sequence, up to the first failure. The order
does not depend on the test split. This bounds the probability that *any* inferior variant passes by the same level (W.
Maurer, L. A. Hothorn and W. Lehmacher, Biometrie in der chemisch-pharmazeutischen Industrie 6 (1995) 3-18; A. N.
Angelopoulos et al., "Learn then Test", 2021, apply it to models). `benchmarks/gate_error.py` simulates both.
"""

from sentopt.gate.criteria import Answers, distribution_shift, judge
from sentopt.gate.label_sets import check_reference_of_sets
from sentopt.gate.label_sets import judge as judge_sets
from sentopt.gate.reference import check_reference
from sentopt.gate.rules import FEW_TEXTS, Rules, fixed_sequence, is_exact, outcome, testing_order, validation_counts
from sentopt.gate.words import advise, describe, explain, foresee, too_few_unlabelled, unlabelled_can_decide

__all__ = [
    "FEW_TEXTS",
    "Answers",
    "Rules",
    "advise",
    "check_reference",
    "check_reference_of_sets",
    "describe",
    "distribution_shift",
    "explain",
    "fixed_sequence",
    "foresee",
    "is_exact",
    "judge",
    "judge_sets",
    "outcome",
    "testing_order",
    "too_few_unlabelled",
    "unlabelled_can_decide",
    "validation_counts",
]
