"""The bundled corpus: sizes, balance, and that nothing of one split can be recognized in another."""

import re
from collections import Counter
from itertools import combinations

import pytest
from csv_files import LABELS, SAMPLE, read_csv

LEAST = {"train": 2100, "validation": 300, "test": 600}
SPLITS = {name: read_csv(SAMPLE / f"{name}.csv") for name in LEAST}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + size]) for i in range(len(found) - size + 1)} or {tuple(found) or (text,)}


@pytest.mark.parametrize("split", LEAST)
def test_size_labels_and_balance(split: str) -> None:
    rows = SPLITS[split]
    counts = Counter(row["label"] for row in rows)
    assert len(rows) >= LEAST[split]
    assert set(counts) == set(LABELS)
    assert max(counts.values()) <= 1.1 * min(counts.values())


@pytest.mark.parametrize(("one", "other"), list(combinations(LEAST, 2)))
def test_no_five_words_in_a_row_are_shared_between_splits(one: str, other: str) -> None:
    seen = set().union(*(shingles(row["text"]) for row in SPLITS[one]))
    copies = [row["text"] for row in SPLITS[other] if shingles(row["text"]) & seen]
    assert copies == []


def test_no_text_twice() -> None:
    normal = [" ".join(words(row["text"])) or row["text"] for rows in SPLITS.values() for row in rows]
    assert [text for text, count in Counter(normal).items() if count > 1] == []


def test_texts_are_clean_and_varied() -> None:
    texts = [row["text"] for rows in SPLITS.values() for row in rows]
    assert all(text == text.strip() and text and "\n" not in text for text in texts)
    lengths = sorted(len(words(text)) for text in texts)
    assert lengths[len(lengths) // 10] <= 8
    assert lengths[-len(lengths) // 50] >= 50
    openings = Counter(" ".join(words(text)[:3]) for text in texts)
    assert openings.most_common(1)[0][1] < 0.01 * len(texts)


def test_no_single_word_gives_a_label_away() -> None:
    rows = SPLITS["train"]
    total = Counter(word for row in rows for word in set(words(row["text"])))
    for label in LABELS:
        inside = Counter(word for row in rows if row["label"] == label for word in set(words(row["text"])))
        size = sum(row["label"] == label for row in rows)
        telling = [word for word, count in inside.items() if count > 0.9 * total[word] and count > 0.05 * size]
        assert telling == []
