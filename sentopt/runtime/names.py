"""What texts from a bundle may hold. A bundle is somebody else's folder, and its names end up in other formats.

Labels and names go into the metadata of wheels, file names, Markdown, HTML, terminals and tables. Characters that break
lines, move a cursor or reorder what is displayed are refused at the door: no format needs them, and each format treats
them differently. Everything else is escaped where it is written.
"""

from __future__ import annotations

import re
import unicodedata

from sentopt.runtime.file_names import refusal

LONGEST_NAME, LONGEST_LABEL, LONGEST_PATH = 200, 1000, 500

# C0 and C1 controls, line and paragraph separators, bidirectional embeddings, overrides and isolates, surrogates, and
# the noncharacters that YAML and XML forbid. Joiners and marks stay: scripts and emoji are spelled with them.
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
# What spreadsheets execute where they open a table of answers: a call, or another program (DDE).
_FORMULA, _BEGINS_FORMULA = r".*(\w\(|\|)", "=+-@＝＋－＠"


def _first_control(text: str) -> str:
    """The first control character. Patterns are compiled when they are first needed, which is next to never."""
    found = None if text.isprintable() else re.search(_CONTROL, text)
    return found[0] if found else ""


def printable(text: object, *, longest: int = LONGEST_LABEL) -> str:
    """`text` for a message or a page: control characters become U+FFFD, and what is longer than `longest` is cut."""
    shown = re.sub(_CONTROL, "�", str(text).strip())
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def fault_of_name(text: str, longest: int = LONGEST_NAME) -> str:
    """Why `text` cannot be a name, or an empty string."""
    if all(character.isspace() or unicodedata.category(character) == "Cf" for character in text):
        return "it is empty"
    if len(text) > longest:
        return f"it has {len(text):,} characters, at most {longest:,} are allowed"
    if found := _first_control(text):
        return f"it holds the control character U+{ord(found):04X}"
    return ""


def fault_of_label(text: str) -> str:
    """Why `text` cannot be a label, or an empty string."""
    if fault := fault_of_name(text, LONGEST_LABEL):
        return fault
    runs = text[0] in _BEGINS_FORMULA and re.match(_FORMULA, text[1:]) is not None
    return "a spreadsheet would run it as a formula" if runs else ""


def fault_of_path(name: str) -> str:
    """Why `name` cannot be the name of a file in a bundle on every system, or an empty string."""
    if fault := fault_of_name(name, LONGEST_PATH):
        return fault
    reason = refusal(name)
    return f"it {reason}" if reason else ""
