"""The label names that `datasets` keeps beside the numbers of a column: numbers become names before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sentopt.data.duplicates import normal_form
from sentopt.data.examples import RawRow
from sentopt.errors import DataError

_SHOWN = 5
Names = tuple[str, ...]


def named(rows: Sequence[RawRow], names: Names) -> list[RawRow]:
    """The rows with the name that each number stands for; -1 stands for none."""
    return [replace(row, label=_name(row.label, names)) for row in rows] if names else list(rows)


def reconcile(declared: Names, stored: Mapping[Names, str], notices: list[str]) -> tuple[Names, dict[str, str]]:
    """The label names to use, and which stored name each of them replaces.

    `stored` says where each list of names was found. Declared names that are the stored ones may have another order;
    other names replace the stored ones by position, which is said.

    Raises:
        DataError: declared names that are partly the stored ones, in another order, or of another number.
    """
    found = tuple(dict.fromkeys(name for names in stored for name in names))
    if not found or not declared:
        for names, where in stored.items():
            told = ", ".join(f"{i} is {name}" for i, name in enumerate(names[:_SHOWN]))
            notices.append(f"label names are those in {where}: {told}{', ...' if len(names) > _SHOWN else ''}")
        return declared or found, {}
    wanted, have = [normal_form(name) for name in declared], [normal_form(name) for name in found]
    if set(have) <= set(wanted):
        return declared, {}
    in_place = all(name not in wanted or wanted.index(name) == i for i, name in enumerate(have))
    if len(wanted) != len(have) or not in_place:
        raise DataError(
            f"data.labels ({', '.join(declared)}) does not fit the label names in {', '.join(stored.values())} "
            f"({', '.join(found)}): use the same names, or as many others in the same order"
        )
    renamed = {old: new for old, new in zip(found, declared, strict=True) if old != new}
    told = ", ".join(f"{old} is {new}" for old, new in list(renamed.items())[:_SHOWN])
    notices.append(f"data.labels renames the labels in {', '.join(stored.values())}: {told}")
    return declared, renamed


def renamed(rows: Sequence[RawRow], names: Mapping[str, str]) -> list[RawRow]:
    """The rows with other names for their labels."""
    return [replace(row, label=names.get(row.label, row.label)) for row in rows] if names else list(rows)


def _name(label: object, names: Names) -> object:
    if not isinstance(label, int) or isinstance(label, bool):
        return label
    if label == -1:
        return None
    return names[label] if 0 <= label < len(names) else label
