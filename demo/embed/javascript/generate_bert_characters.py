"""Writes sentopt-classifier/bert-characters.mjs: what BERT's normalizer and pre-tokenizer do to every code point.

Nothing is taken from Python's `unicodedata`. The tables are read off `tokenizers` itself, the library that trained the
model and answers in Python, because it mixes several versions of Unicode: categories of one, decompositions of another,
lower case of a third. Run it in an environment with the newest `tokenizers`; a test compares file and library.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import normalizers, pre_tokenizers

FILE = Path(__file__).parent / "sentopt-classifier" / "bert-characters.mjs"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
"""Syllables, which an arithmetic rule decomposes (The Unicode Standard, section 3.12)."""
_HEAD = """\
// Made by generate_bert_characters.py from tokenizers {version}: change nothing here.
//
// Code points are hexadecimal. first-last is a run; +n behind a run is the distance of its members, 1 if there is none.
"""


def normalizer(**on: bool) -> Callable[[str], str]:
    """BERT's normalizer with one of its four steps."""
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    normalize: Callable[[str], str] = normalizers.BertNormalizer(**(off | on)).normalize_str
    return normalize


def generate() -> str:
    """The file's text.

    Raises:
        ValueError: `tokenizers` does something that the file cannot express.
    """
    clean, chinese = changes(normalizer(clean_text=True)), changes(normalizer(handle_chinese_chars=True))
    decomposed, stripped = changes(normalizers.NFD().normalize_str), normalizer(strip_accents=True)
    words = {code: _spaced(chr(code)) for code in CODES}
    expect(set(clean.values()), {"", " "})
    expect(set(chinese.values()), {f" {chr(code)} " for code in chinese})
    expect({code: decomposed.pop(code) for code in HANGUL}, {code: hangul(code) for code in HANGUL})
    sets = {
        "DROPPED": (code for code, text in clean.items() if text == ""),
        "BLANK": (code for code, text in clean.items() if text == " "),
        "IDEOGRAPHS": chinese,
        "MARKS": (code for code in CODES if stripped(chr(code)) == ""),
        "SPACES": (code for code, text in words.items() if text == " "),
        "PUNCTUATION": (code for code, text in words.items() if len(text) == 3),
    }
    lower = changes(normalizer(lowercase=True))
    parts = [_HEAD.format(version=tokenizers.__version__)]
    parts += [_constant(name, _runs(codes)) for name, codes in sets.items()]
    parts += [_constant("CLASSES", _classes()), _constant("LOWER", _shifts(lower))]
    return "\n".join([*parts, _constant("DECOMPOSED", map(_mapped, decomposed.items()))])


def changes(change: Callable[[str], str]) -> dict[int, str]:
    """What becomes of the code points that are changed."""
    found = {code: change(chr(code)) for code in CODES}
    return {code: text for code, text in found.items() if text != chr(code)}


def expect(found: object, expected: object) -> None:
    """Refuse what the file has no words for."""
    if found != expected:
        raise ValueError(f"tokenizers {tokenizers.__version__} gives {found!r:.200}, expected {expected!r:.200}")


def hangul(code: int) -> str:
    """The letters of a syllable."""
    lead, rest = divmod(code - HANGUL.start, 21 * 28)
    vowel, tail = divmod(rest, 28)
    return chr(0x1100 + lead) + chr(0x1161 + vowel) + (chr(0x11A7 + tail) if tail else "")


_pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def _spaced(character: str) -> str:
    words = [word for word, _ in _pre_tokenizer.pre_tokenize_str(f"a{character}a")]
    if words == ["a", "a"]:
        return " "
    if words == [f"a{character}a"]:
        return character
    expect(words, ["a", character, "a"])
    return f" {character} "


def _classes() -> Iterator[str]:
    """Marks by their place among the marks behind a letter: the order of their canonical combining classes.

    A mark steps before another one if its class is lower, and no class is zero: so each is compared with one mark of
    every class that was found so far.
    """
    order = normalizers.NFD().normalize_str

    def before(one: int, other: int) -> bool:
        return bool(order(f"a{chr(other)}{chr(one)}") == f"a{chr(one)}{chr(other)}")

    last, first = 0x345, 0x334  # the highest class there is, and the lowest
    kept = [code for code in CODES if order(chr(code)) == chr(code)]
    marks = [code for code in kept if before(code, last) or before(first, code)]
    classes: list[list[int]] = []
    for mark in marks:
        lower = [found for found in classes if before(found[0], mark)]
        higher = [found for found in classes if before(mark, found[0])]
        if len(lower) + len(higher) == len(classes):
            classes.insert(len(lower), [mark])
        else:
            classes[len(lower)].append(mark)
    for rank, members in enumerate(classes, start=1):
        for run in _runs(members):
            yield f"{run}={rank}"


def _runs(codes: Iterable[int]) -> Iterator[str]:
    return (_run(first, last, 1) for first, last in _consecutive(codes, 1))


def _consecutive(codes: Iterable[int], step: int) -> list[list[int]]:
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and code == runs[-1][1] + step:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return runs


def _run(first: int, last: int, step: int) -> str:
    if first == last:
        return f"{first:X}"
    return f"{first:X}-{last:X}" + (f"+{step}" if step > 1 else "")


def _shifts(lower: dict[int, str]) -> Iterator[str]:
    """Runs that are shifted by the same distance, of neighbours or of every other code point; and the rest."""
    by_shift: dict[int, list[int]] = {}
    for code, text in lower.items():
        if len(text) == 1:
            by_shift.setdefault(ord(text) - code, []).append(code)
        else:
            yield _mapped((code, text))
    for shift, codes in by_shift.items():
        step = 2 if shift == 1 else 1
        for first, last in _consecutive(codes, step):
            yield f"{_run(first, last, step)}={first + shift:X}"


def _mapped(pair: tuple[int, str]) -> str:
    code, text = pair
    return f"{code:X}={'.'.join(f'{ord(c):X}' for c in text)}"


def _constant(name: str, items: Iterable[str]) -> str:
    lines = textwrap.wrap(" ".join(items), 116, break_on_hyphens=False)
    return "\n".join([f"export const {name} = `", *lines, "`;", ""])


if __name__ == "__main__":
    FILE.write_text(generate(), encoding="utf-8")
