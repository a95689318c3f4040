"""Options for reading a table file."""

from __future__ import annotations

from dataclasses import dataclass

from sentopt.errors import DataError

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

    def check(self) -> None:
        """Refuse what `csv` takes for no delimiter and no quote.

        Raises:
            DataError: one of them is several characters or a line end, or both are the same character.
        """
        delimiter, quote = delimiter_character(self.delimiter), '"' if self.quote == "auto" else self.quote
        if not _is_character(delimiter):
            raise DataError(
                f"{self.how('delimiter', repr(self.delimiter))}: expected one character within a line, or one of "
                f"{', '.join(_NAMED)}"
            )
        if not _is_character(quote):
            raise DataError(f"{self.how('quote', repr(quote))}: expected auto, nothing, or one character within a line")
        if delimiter and delimiter == quote:
            raise DataError(
                f"{self.how('delimiter', repr(delimiter))}: fields are enclosed by the same character; if quotes mean "
                f"nothing in this file: {self.how('quote', chr(34) * 2)}"
            )


def delimiter_character(name: str) -> str:
    """The delimiter with this name, such as `tab`; any other `name` is the delimiter itself."""
    return _NAMED.get(name.lower(), name)


def _is_character(text: str) -> bool:
    return len(text) < 2 and text not in ("\n", "\r")
