"""What a user may say about a table file that its name does not."""

from __future__ import annotations

from dataclasses import dataclass

_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True)
class TableOptions:
    """How a CSV or TSV file is written, where that should not be detected.

    An empty `encoding` or `delimiter` is detected. `quote` is `auto`, empty where quotes mean nothing, or a character.
    `setting` is how a user sets one of them, for messages.
    """

    encoding: str = ""
    delimiter: str = ""
    quote: str = "auto"
    setting: str = "--set data.{}={}"

    def how(self, key: str, value: str) -> str:
        """What to type to set `key`."""
        return self.setting.format(key, value)


def delimiter_character(name: str) -> str:
    """The delimiter that `name` stands for: itself, or a word such as `tab`."""
    return _NAMED.get(name.lower(), name)
