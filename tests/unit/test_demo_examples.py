"""Which texts the page offers to try."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")

from sentopt.data.examples import Example
from sentopt.demo.limits import Limits
from sentopt.demo.page import examples
from sentopt.runtime.description import Golden


def service(*golden: Golden) -> Any:
    """Answers "good" to everything, the more surely the longer a text is."""
    description = SimpleNamespace(golden=golden)

    def predict(texts: list[str]) -> list[Any]:
        return [SimpleNamespace(label="good", score=0.5 + len(text) / 1_000) for text in texts]

    classifier = SimpleNamespace(labels=("bad", "good"), thresholds=(), description=description, predict=predict)
    return SimpleNamespace(classifier=classifier, limits=Limits(characters=500), pair=None)


def run_with(*found: Example) -> Any:
    return SimpleNamespace(test_examples=lambda: list(found))


def test_texts_of_the_test_split_are_called_so() -> None:
    chosen = examples.choose(service(), run_with(*(Example(f"text {i}", i % 2) for i in range(100))))
    assert chosen.heading == "Examples from the test split:"
    assert len(set(chosen.texts)) == 6
    assert [int(text.split()[1]) % 2 for text in chosen.texts] == [1, 0, 0, 1, 0, 1]
    assert [label for (label,) in chosen.labels] == ["good", "bad", "bad", "good", "bad", "good"]
    assert chosen.labels_of(chosen.texts[1]) == ("bad",)
    assert chosen.labels_of("another text") is None


def test_the_first_one_is_answered_rightly_and_surely() -> None:
    texts = [Example("w" * 60, 0), Example("a" * 20, 1), Example("b" * 50, 1), Example("c" * 30, 1)]
    chosen = examples.choose(service(), run_with(*texts))
    assert (chosen.texts[0], chosen.labels[0]) == ("b" * 50, ("good",))
    wrong = examples.choose(service(), run_with(Example("one", 0), Example("two", 0)))
    assert wrong.labels == (("bad",), ("bad",))


def test_lengths_differ() -> None:
    picked = examples.pick([["w" * n for n in range(1, 161)]], longest=500)
    lengths = [len(text) for text in picked]
    assert lengths[0] < 20
    assert lengths[-1] > 140


def test_lengths_differ_where_each_label_has_one_example() -> None:
    picked = examples.pick([[letter * n for n in range(1, 161)] for letter in "abcdef"], longest=500)
    assert len(picked) == 6
    assert len({len(text) // 25 for text in picked}) >= 5


def test_a_text_with_two_labels_is_no_example() -> None:
    twice = [Example("both", 0), Example("both", 1), Example("clear", 0), Example("fine", 1)]
    chosen = examples.choose(service(), run_with(*twice))
    assert set(chosen.texts) == {"clear", "fine"}


@pytest.mark.parametrize("facts", [None, run_with()], ids=["no run", "a run without its data"])
def test_without_the_data_nothing_is_claimed(facts: Any) -> None:
    chosen = examples.choose(service(Golden("awful", (0.9, 0.1)), Golden("lovely", (0.2, 0.8))), facts)
    assert chosen == examples.Examples("Examples:", ("awful", "lovely"))
    assert examples.choose(service(), facts).texts == ("This is an example.",)


def test_long_texts_are_shown_only_where_a_label_has_no_others() -> None:
    picked = examples.pick([["short", "x" * 161], ["y" * 300, "z" * 200, "w" * 501]], longest=500)
    assert picked == ("short", "z" * 200)
    assert examples.pick([["w" * 501]], longest=500) == ()


def test_repeats_and_blanks_are_left_out() -> None:
    assert examples.pick([["a", "a", " ", "b"], ["a", "c"]], longest=10) == ("a", "b", "c")


@pytest.mark.parametrize(("labels", "count"), [(2, 6), (6, 6), (7, 7), (12, 12), (77, 12)])
def test_every_label_has_a_text_up_to_twelve(labels: int, count: int) -> None:
    by_label = [[f"{label} {i}" for i in range(10)] for label in range(labels)]
    picked = examples.pick(by_label, longest=100)
    assert len(picked) == count
    assert len({text.split()[0] for text in picked}) == min(labels, count)


def test_a_test_split_that_was_changed_since_is_not_used(finished_run: Path, tmp_path: Path) -> None:
    from sentopt.demo.run_facts import RunFacts

    run = shutil.copytree(finished_run, tmp_path / "run")
    variant = json.loads((run / "bundle" / "sentopt.json").read_text())["variant"]
    facts = RunFacts.of(run / "bundle", variant)
    assert facts is not None
    assert len(facts.test_examples()) == 120
    with (run / "data" / "test.jsonl").open("a") as stream:
        stream.write(json.dumps({"text": "not of this run", "label": 0}) + "\n")
    assert facts.test_examples() == []
    (run / "data" / "test.jsonl").unlink()
    assert facts.test_examples() == []
