"""Options for reading a table file."""

from __future__ import annotations

from dataclasses import dataclass

_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True)
class TableOptions:
    """The dialect of a CSV or TSV file, as far as it should not be detected.

    An empty `encoding` or `delimiter` is detected. `quote` is `auto`, a character, or empty if quotes are ordinary
    characters. `setting` is the syntax for setting an option, for messages.
    """

    encoding: str = ""
    delimiter: str = ""
    quote: str = "auto"
    setting: str = "--set data.{}={}"

    def how(self, key: str, value: str) -> str:
        """The text to type to set `key`."""
        return self.setting.format(key, value)


def delimiter_character(name: str) -> str:
    """The delimiter with this name, such as `tab`; any other `name` is the delimiter itself."""
    return _NAMED.get(name.lower(), name)
