"""Halves of surrogate pairs in JSON are repaired as the runtime repairs them in texts."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sentopt.demo.bodies import without_lone_surrogates
from sentopt.runtime.surrogates import repaired


@given(st.text(st.one_of(st.characters(), st.characters(categories=["Cs"]), st.sampled_from('\\u"d8\n')), max_size=30))
def test_the_repair_is_that_of_the_runtime(text: str) -> None:
    for sent in (json.dumps({"text": text}), json.dumps({"text": text}).replace("\\ud", "\\uD")):
        found = json.loads(without_lone_surrogates(bytearray(sent.encode())))
        assert found == {"text": repaired(json.loads(sent)["text"])}


@given(st.text(max_size=30))
def test_whole_texts_stay_byte_by_byte(text: str) -> None:
    for sent in (json.dumps([text]).encode(), json.dumps([text], ensure_ascii=False).encode()):
        assert without_lone_surrogates(bytearray(sent)) == sent


@given(st.binary(max_size=60))
def test_what_is_no_json_does_not_matter(body: bytes) -> None:
    assert isinstance(without_lone_surrogates(bytearray(body)), bytes)
