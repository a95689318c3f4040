"""What the gate lets through, what it stops, and in which words."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from sentopt import gate
from sentopt.gate import Answers, Rules
from sentopt.recipe import DataSection, Recipe, RunSection, TrainSection, VerifySection
from sentopt.results import Criterion, Outcome
from sentopt.variants import VARIANTS

RULES = Rules(margin=0.01, recall_margin=0.03, max_changed=0.05, confidence=0.95, macro_f1=False)
Ints = npt.NDArray[np.int64]


def answers(truth: Ints, wrong: int = 0, lost: npt.ArrayLike = (), gained: npt.ArrayLike = ()) -> Answers:
    """The first `wrong` texts are wrong in the reference; the rows `lost` and `gained` change."""
    reference = truth.copy()
    reference[:wrong] = (truth[:wrong] + 1) % (truth.max() + 1)
    candidate = reference.copy()
    lost, gained = (np.array(rows, dtype=np.int64) for rows in (lost, gained))
    candidate[lost] = (truth[lost] + 1) % (truth.max() + 1)
    candidate[gained] = truth[gained]
    return Answers.labelled(truth, reference, candidate)


def labels_of(*counts: int) -> Ints:
    return np.repeat(np.arange(len(counts)), counts)


def judged(given: Answers, rules: Rules = RULES) -> dict[str, Criterion]:
    names = [f"L{i}" for i in range(int(given.truth.max()) + 1)]
    return {criterion.name: criterion for criterion in gate.judge(given, names, rules)}


def outcome(given: Answers, rules: Rules = RULES) -> Outcome:
    return gate.outcome(tuple(judged(given, rules).values()))


def test_a_label_that_loses_half_of_its_recall_is_not_hidden_by_the_others() -> None:
    """Accuracy alone passes: 9 of 2,000 texts are lost, all of one label with 40 texts."""
    given = answers(labels_of(1960, 40), lost=np.arange(1960, 1969))
    found = judged(given)
    assert found["accuracy"].outcome == "pass"
    assert found["recall of L1"].outcome == "fail"
    assert outcome(given) == "fail"


def test_a_label_whose_recall_falls_to_nothing_fails() -> None:
    """3,000 texts, 30 of the rare label, its recall from 0.60 to 0: accuracy 0.996 to 0.990."""
    truth = labels_of(2970, 30)
    reference = truth.copy()
    reference[2988:] = 0
    candidate = np.zeros_like(truth)
    assert outcome(Answers.labelled(truth, reference, candidate)) == "fail"


def test_few_texts_of_a_label_are_undecided_in_words() -> None:
    given = answers(labels_of(1000, 20), lost=[5])
    found = judged(given)["recall of L1"]
    assert (found.outcome, found.texts, found.needed) == ("undecided", 20, 99)
    assert gate.describe(found) == "recall of L1 not decided: 20 texts, 99 needed"
    assert outcome(given) == "undecided"


def test_few_texts_of_a_label_still_fail_by_what_is_seen() -> None:
    found = judged(answers(labels_of(1000, 20), lost=[1000]))["recall of L1"]
    assert (found.outcome, found.loss) == ("fail", 0.05)


def test_many_rare_labels_are_decided_together_and_do_not_fail_by_chance() -> None:
    """77 intents of 40 texts: one lost text is 2.5 points of a label, and nothing of all of them."""
    random = np.random.default_rng(0)
    truth = labels_of(*[40] * 77)
    given = answers(truth, lost=random.choice(len(truth), 8, replace=False))
    found = judged(given)
    assert outcome(given) == "pass"
    (group,) = (c for name, c in found.items() if name.startswith("recall"))
    assert (group.texts, group.name) == (3080, "recall of 77 labels with few texts (L0, L1, L2, ...)")


def test_one_of_many_rare_labels_that_is_proven_worse_fails() -> None:
    given = answers(labels_of(*[40] * 77), lost=np.arange(13))
    found = judged(given)
    assert found["accuracy"].outcome == "pass"
    assert found["recall of L0"].outcome == "fail"


@pytest.mark.parametrize(("texts", "expected"), [(98, "undecided"), (99, "pass")])
def test_identical_answers_are_proven_from_99_texts_on(texts: int, expected: str) -> None:
    assert judged(answers(labels_of(1000, texts)))["recall of L1"].outcome == expected


def test_lost_and_gained_cannot_cancel() -> None:
    """A reference at chance: 200 lost, 200 gained, accuracy unchanged, half of the labels changed."""
    truth = np.tile([0, 1], 400)
    given = answers(truth, wrong=400, lost=np.arange(400, 600), gained=np.arange(200))
    found = judged(given)
    assert found["accuracy"].loss == 0.0
    assert found["agreement"].outcome == "fail"
    assert "400 of 800 labels change" in gate.describe(found["agreement"])


def test_macro_f1_is_tested_where_it_is_the_metric() -> None:
    """Recall is within 3 points everywhere and accuracy within 1, macro F1 is not."""
    truth = labels_of(4500, 300)
    reference = truth.copy()
    candidate = truth.copy()
    candidate[:25] = 1  # precision of the rare label falls from 1 to 0.92
    given = Answers.labelled(truth, reference, candidate)
    assert outcome(given) == "pass"
    found = judged(given, replace(RULES, macro_f1=True))["macro F1"]
    assert found.outcome == "fail"
    assert found.loss == pytest.approx(0.0213, abs=1e-3)


def test_macro_f1_is_undecided_where_a_label_has_too_few_texts_to_show_it() -> None:
    given = answers(labels_of(1000, 20))
    found = judged(given, replace(RULES, macro_f1=True))["macro F1"]
    assert (found.outcome, found.needed) == ("undecided", 150)
    assert gate.describe(found) == "macro F1 not decided: 1020 texts, 150 needed of each label"


def with_further(given: Answers, texts: int, changed: int) -> Answers:
    reference = np.tile([0, 1], texts // 2)
    candidate = reference.copy()
    candidate[:changed] = 1 - candidate[:changed]
    return replace(given, free_reference=reference, free_candidate=candidate)


def test_texts_without_labels_prove_what_400_labelled_ones_cannot() -> None:
    """Half a percent of the labels change: no label can be lost that does not change."""
    given = answers(labels_of(200, 200), wrong=40, lost=[100, 350])
    rules = replace(RULES, macro_f1=True)
    assert judged(given, rules)["accuracy"].outcome == "fail"
    found = judged(with_further(given, 5000, 25), rules)
    assert {name: c.outcome for name, c in found.items()} == dict.fromkeys(found, "pass")
    assert (found["accuracy"].by, found["recall of L0"].by, found["macro F1"].by) == ("changes",) * 3
    assert found["accuracy"].limit == pytest.approx(0.0073, abs=2e-4)
    assert "by the share of changed labels alone" in gate.describe(found["accuracy"])


def test_texts_without_labels_whose_labels_change_prove_nothing() -> None:
    given = answers(labels_of(200, 200), wrong=40, lost=[100, 350])
    assert judged(with_further(given, 5000, 60))["accuracy"].outcome == "fail"


def test_only_what_changes_away_from_a_label_counts_against_its_recall() -> None:
    """All changes are from label 0 to 1: nothing of label 1 can be lost."""
    given = answers(labels_of(300, 100))
    reference = np.zeros(4000, dtype=np.int64)
    candidate = reference.copy()
    candidate[:20] = 1
    found = judged(replace(given, free_reference=reference, free_candidate=candidate))
    assert found["recall of L1"].limit < 0.005
    assert found["recall of L0"].limit > 0.005


def test_variants_after_the_first_failure_are_not_tested() -> None:
    outcomes: dict[str, Outcome] = {"a": "pass", "b": "undecided", "c": "fail", "d": "pass", "e": "fail"}
    assert gate.fixed_sequence(outcomes) == {"a": True, "b": True, "c": True, "d": False, "e": False}


@pytest.mark.parametrize(
    ("difference", "changed", "exact"), [(0.0, 0, True), (1e-3, 0, True), (2e-3, 0, False), (1e-5, 1, False)]
)
def test_exact_means_no_label_and_hardly_a_probability_changed(difference: float, changed: int, exact: bool) -> None:
    before = np.zeros(10, dtype=np.int64)
    after = before.copy()
    after[:changed] = 1
    assert gate.is_exact(before, after, difference) is exact


def checked(truth: Ints, given: Ints, *, unnamed: bool = False) -> tuple[bool, str]:
    found = gate.check_reference(truth, given, confidence=0.95, allowed=False, unnamed=unnamed)
    return found.passed, found.words


def test_a_reference_that_knows_something_is_proven() -> None:
    truth = np.tile([0, 1, 2], 50)
    given = np.where(np.arange(150) % 4 == 0, (truth + 1) % 3, truth)
    passed, words = checked(truth, given)
    assert passed
    assert words.startswith("the PyTorch model is proven better than the majority label: balanced accuracy 0.74")


def test_a_reference_at_chance_ships_nothing() -> None:
    truth = np.tile([0, 1], 300)
    passed, words = checked(truth, np.random.default_rng(1).integers(0, 2, 600))
    assert not passed
    assert "not proven better than the majority label" in words


def test_skewed_labels_are_judged_fairly() -> None:
    truth = labels_of(950, 50)
    assert not checked(truth, np.zeros(1000, dtype=np.int64))[0]
    given = truth.copy()
    given[950:970] = 0
    assert checked(truth, given)[0]


@pytest.mark.parametrize(
    ("unnamed", "words"), [(True, "the names of its labels (LABEL_0, ...)"), (False, "its labels")]
)
def test_swapped_labels_are_suspected(unnamed: bool, words: str) -> None:
    truth = np.tile([0, 1], 200)
    passed, found = checked(truth, 1 - truth, unnamed=unnamed)
    assert not passed
    assert f"worse than always giving one label: {words} are probably in the wrong order" in found
    assert ("data.labels" in found) is unnamed


def test_a_weak_reference_may_be_insisted_on() -> None:
    truth = np.tile([0, 1], 200)
    found = gate.check_reference(truth, 1 - truth, confidence=0.95, allowed=True, unnamed=False)
    assert found.passed
    assert not found.proven


@pytest.mark.parametrize(
    ("test", "validation", "unlabelled", "expected"),
    [
        ({"a": 600, "b": 600}, {}, False, []),
        (
            {"a": 100, "b": 100},
            {},
            False,
            ["200 test texts: only exact FP32 graphs can pass at margin 1; at least 299"],
        ),
        ({"a": 200, "b": 200}, {"a": 50, "b": 50}, False, ["400 test texts and 100 validation texts: a variant that"]),
        ({"a": 100, "b": 100}, {}, True, []),
        ({"a": 980, "b": 20}, {}, False, ["recall of b cannot be decided at 3 points: 20 texts, 99 needed"]),
        ({"a": 980, "b": 60, "c": 60}, {}, False, []),
    ],
)
def test_what_the_test_split_can_decide_is_said_before(
    test: dict[str, int], validation: dict[str, int], unlabelled: bool, expected: list[str]
) -> None:
    found = gate.foresee(test, validation, RULES, unlabelled=unlabelled)
    assert len(found) == len(expected)
    for words, start in zip(found, expected, strict=True):
        assert words.startswith(start)


def test_the_margin_that_is_foreseen_is_one_that_identical_answers_pass() -> None:
    (words,) = gate.foresee({"a": 100, "b": 100}, {}, RULES, unlabelled=False)
    margin = float(words.split("prove a margin of ")[1].split()[0]) / 100
    assert judged(answers(labels_of(100, 100)), replace(RULES, margin=margin))["accuracy"].outcome == "pass"


def followed(words: str, before: str, unit: float = 1.0) -> float:
    """The number that an advice gives after some words."""
    return float(words.split(before)[1].split()[0].rstrip(",")) * unit


def test_every_advice_works_when_it_is_followed() -> None:
    given = answers(labels_of(200, 200), wrong=20, lost=[100])
    found = gate.judge(given, ["a", "b"], RULES)
    (words,) = gate.advise(found, RULES)
    assert words.endswith(" would decide accuracy")
    n = int(followed(words, "about "))
    factor = n / 400
    more = answers(labels_of(n // 2, n - n // 2), wrong=20, lost=np.arange(100, 100 + round(factor)))
    assert judged(more)["accuracy"].outcome == "pass"
    free = int(followed(words, "or about "))
    assert judged(with_further(given, free, round(free / 400)))["accuracy"].outcome == "pass"
    margin = followed(words, "verify.margin=", 0.01)
    assert judged(given, replace(RULES, margin=margin))["accuracy"].outcome == "pass"


def test_what_is_outside_the_margin_gets_no_advice() -> None:
    outside = gate.judge(answers(labels_of(200, 200), lost=np.arange(20)), ["a", "b"], RULES)
    assert not any("accuracy" in words for words in gate.advise(outside, RULES))


def test_agreement_and_macro_f1_are_advised_a_margin_that_passes() -> None:
    rules = replace(RULES, macro_f1=True, max_changed=0.01)
    given = answers(labels_of(300, 300), lost=[0, 1, 2, 300], gained=[])
    advice = gate.advise(gate.judge(given, ["a", "b"], rules), rules)
    assert len(advice) == 3
    wider = replace(
        rules,
        margin=max(followed(words, "verify.margin=", 0.01) for words in advice if "verify.margin" in words),
        max_changed=next(followed(words, "verify.max_changed=", 0.01) for words in advice if "max_changed" in words),
    )
    assert outcome(given, wider) == "pass"


def test_texts_without_labels_excuse_no_loss_that_was_seen() -> None:
    """12 of 400 texts are lost; 5,000 others hardly change."""
    given = answers(labels_of(200, 200), wrong=20, lost=np.arange(100, 112))
    found = judged(with_further(given, 5000, 15))
    assert found["accuracy"].outcome == "fail"
    assert found["recall of L0"].outcome == "fail"


def test_texts_without_labels_that_change_much_less_often_decide_nothing() -> None:
    given = answers(labels_of(1000, 1000), wrong=200, lost=np.arange(300, 312), gained=np.arange(9))
    assert judged(with_further(given, 5000, 2))["agreement"].texts == 2000
    assert judged(with_further(given, 5000, 50))["agreement"].texts == 7000


@pytest.mark.parametrize("further", [2, 100, 600])
def test_a_few_texts_without_labels_take_no_power(further: int) -> None:
    given = answers(labels_of(160, 160))
    assert outcome(given) == outcome(with_further(given, further, 0)) == "pass"


@pytest.mark.parametrize(("shift", "differ"), [(0.0, False), (0.15, True)])
def test_texts_that_pytorch_answers_otherwise_are_of_another_kind(shift: float, differ: bool) -> None:
    random = np.random.default_rng(2)
    labelled, free = (random.random(400) < 0.5).astype(int), (random.random(3000) < 0.5 + shift).astype(int)
    words = gate.distribution_shift(labelled, free, ["a", "b"])
    assert bool(words) is differ
    assert not differ or "of the texts without labels" in words


def test_a_label_without_a_test_text_is_undecided() -> None:
    truth = labels_of(300, 300)
    found = {c.name: c for c in gate.judge(Answers.labelled(truth, truth, truth), ["a", "b", "c"], RULES)}
    assert found["recall of c"].outcome == "undecided"
    assert gate.describe(found["recall of c"]) == "recall of c not decided: 0 texts, 99 needed"
    (words,) = gate.foresee({"a": 400, "b": 500, "c": 0}, {}, RULES, unlabelled=False)
    assert words == "recall of c cannot be decided at 3 points: 0 texts, 99 needed"


def test_macro_f1_is_not_diluted_by_labels_that_no_text_has() -> None:
    truth = labels_of(3000, 300)
    candidate = truth.copy()
    candidate[:22] = 1
    given, rules = Answers.labelled(truth, truth, candidate), replace(RULES, macro_f1=True)
    for labels in (2, 28):
        found = {c.name: c for c in gate.judge(given, [f"L{i}" for i in range(labels)], rules)}
        assert found["macro F1"].outcome == "fail"
        assert found["macro F1"].loss == pytest.approx(0.0195, abs=1e-3)


@pytest.mark.parametrize(("labels", "alone"), [(10, 10), (20, 0)])
def test_of_many_labels_those_that_would_fail_by_chance_are_tested_together(labels: int, alone: int) -> None:
    found = judged(answers(labels_of(*[110] * labels)))
    assert sum(name.startswith("recall of L") for name in found) == alone
    assert len(found) == 2 + max(alone, 1)


def test_a_test_split_of_one_label_shows_nothing() -> None:
    truth = np.zeros(200, dtype=np.int64)
    given = truth.copy()
    given[:10] = 1
    passed, words = checked(truth, given)
    assert not passed
    assert words == "the 200 test texts all have the same label: they cannot show whether the PyTorch model is any good"


@pytest.mark.parametrize("sizes", [(30, 30), (100, 10), (50, 50, 50)])
def test_a_reference_at_chance_is_seldom_taken_for_one_that_knows_something(sizes: tuple[int, ...]) -> None:
    random, truth = np.random.default_rng(7), labels_of(*sizes)
    proven = [checked(truth, random.integers(0, len(sizes), len(truth)))[0] for _ in range(600)]
    assert np.mean(proven) < 0.075  # 5 %, and three standard errors of 600 draws


def recipe(order: str, validation: str = "") -> Recipe:
    verify = VerifySection(order=order)  # type: ignore[arg-type]
    return Recipe(RunSection("x"), data=DataSection(validation=validation), verify=verify)


@pytest.mark.parametrize(
    ("given", "texts", "expected"),
    [
        (recipe("auto"), 999, True),
        (recipe("auto"), 1000, False),
        (recipe("validation"), 100, False),
        (recipe("table"), 5000, True),
        (recipe("table", validation="test"), 100, False),
    ],
)
def test_validation_texts_count_only_where_they_order_nothing(given: Recipe, texts: int, expected: bool) -> None:
    assert gate.validation_counts(given, texts) is expected


def test_rules_are_fractions_of_the_recipes_points() -> None:
    given = Recipe(RunSection("x"), train=TrainSection(metric="accuracy"))
    assert Rules.of(given) == Rules(0.01, 0.03, 0.05, 0.95, macro_f1=False)
    assert Rules.of(Recipe(RunSection("x"))).macro_f1


def test_a_variant_that_cannot_ship_is_not_in_the_sequence() -> None:
    specs = [VARIANTS[name] for name in ("torch", "torch-bf16", "onnx-fp32", "lean-int8", "openvino-bf16", "onnx-cuda")]
    assert gate.testing_order(specs, {"torch"}, None) == ["onnx-fp32", "openvino-bf16", "lean-int8"]
    assert gate.testing_order(specs, {"torch", "onnx-fp32"}, None) == ["openvino-bf16", "lean-int8"]


def test_agreement_on_validation_orders_the_sequence_and_risk_breaks_ties() -> None:
    specs = [VARIANTS[name] for name in ("torch-bf16", "onnx-fp32", "onnx-int8", "lean-int8")]
    agreement = {"torch-bf16": 1.0, "onnx-fp32": 0.98, "onnx-int8": 0.99, "lean-int8": 0.98}
    assert gate.testing_order(specs, (), agreement) == ["onnx-int8", "onnx-fp32", "lean-int8"]


def test_validation_texts_count_when_texts_without_labels_are_called_too_few() -> None:
    enough = next(n for n in range(1, 5000) if gate.unlabelled_can_decide(n, RULES))
    assert gate.too_few_unlabelled(400, enough - 500, RULES) == (
        f"{enough - 500} texts without labels are too few to prove a margin; they count for the agreement"
    )
    assert gate.too_few_unlabelled(500, enough - 500, RULES) == ""
