"""Halves of characters become U+FFFD; whole texts stay as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentopt.runtime.surrogates import repaired


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\ud83d", "a\ufffd"), ("\ude00é", "\ufffdé"), ("\ud83d\ude00", "😀"), ("\ude00\ud83d", "\ufffd\ufffd")],
)
def test_each_half_is_replaced_and_halves_that_fit_are_joined(text: str, expected: str) -> None:
    assert repaired(text) == expected


@given(st.text())
def test_a_whole_text_is_returned_itself(text: str) -> None:
    assert repaired(text) is text
