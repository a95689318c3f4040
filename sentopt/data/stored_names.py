"""The label names that `datasets` keeps beside the numbers of a column: numbers become names before anything else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sentopt.data.duplicates import normal_form
from sentopt.data.examples import RawRow
from sentopt.errors import DataError
from sentopt.run_dir import Split

_SHOWN = 5
_WHOLE = re.compile(r"-?\d{1,9}(\.0)?")
Names = tuple[str, ...]


def named(rows: Sequence[RawRow], names: Names) -> list[RawRow]:
    """The rows with the name that each number stands for; -1 stands for none."""
    return [replace(row, label=_name(row.label, names)) for row in rows] if names else list(rows)


def apply(
    splits: Mapping[Split, Sequence[RawRow]], declared: Names, stored: Mapping[Names, str], notices: list[str]
) -> tuple[Names, dict[Split, list[RawRow]]]:
    """The label names to use, and the rows with those names.

    `stored` says where each list of names was found. Declared names that are the stored ones may have another order;
    other names replace the stored ones by position, which is said. Stored names that no row has are left out, unless
    they are declared.

    Raises:
        DataError: declared names that are partly the stored ones, in another order, or of another number.
    """
    found = tuple(dict.fromkeys(name for names in stored for name in names))
    rows = {split: list(their) for split, their in splits.items()}
    if not found:
        return declared, rows
    if not declared:
        _tell_names(stored, notices)
        rows = {split: [replace(row, label=_by_number(row.label, found)) for row in rows[split]] for split in rows}
        used = _used(found, rows)
        _tell_unused([name for name in found if name not in used], stored, notices)
        return used, rows
    names, others = _reconcile(declared, found, _used(found, rows), stored, notices)
    renamed = {
        split: [replace(row, label=_renamed(row.label, others)) if others else row for row in their]
        for split, their in rows.items()
    }
    return names, renamed


def _reconcile(
    declared: Names, found: Names, used: Names, stored: Mapping[Names, str], notices: list[str]
) -> tuple[Names, dict[str, str]]:
    """The label names to use, and which stored name each of them replaces."""
    wanted = [normal_form(name) for name in declared]
    for names in (found, used):
        have = [normal_form(name) for name in names]
        if set(have) <= set(wanted):
            return declared, {}
        in_place = all(name not in wanted or wanted.index(name) == i for i, name in enumerate(have))
        if len(wanted) == len(have) and in_place:
            renamed = {old: new for old, new in zip(names, declared, strict=True) if old != new}
            told = ", ".join(f"{old} is {new}" for old, new in list(renamed.items())[:_SHOWN])
            notices.append(f"data.labels renames the labels in {', '.join(stored.values())}: {told}")
            return declared, renamed
    raise DataError(
        f"data.labels ({', '.join(declared)}) does not fit the label names in {', '.join(stored.values())} "
        f"({', '.join(found)}): use the same names, or as many others in the same order"
    )


def _used(found: Names, rows: Mapping[Split, Sequence[RawRow]]) -> Names:
    """The names that some row has, whatever their case and blanks; all where no row has one."""
    labels = {row.label for their in rows.values() for row in their if isinstance(row.label, str)}
    forms = {normal_form(label) for label in labels}
    return tuple(name for name in found if normal_form(name) in forms) or found


def _tell_names(stored: Mapping[Names, str], notices: list[str]) -> None:
    for names, where in stored.items():
        told = ", ".join(f"{i} is {name}" for i, name in enumerate(names[:_SHOWN]))
        notices.append(f"label names are those in {where}: {told}{', ...' if len(names) > _SHOWN else ''}")


def _tell_unused(unused: Sequence[str], stored: Mapping[Names, str], notices: list[str]) -> None:
    if unused:
        more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
        notices.append(
            f"left out {len(unused)} label name(s) in {', '.join(stored.values())} that no row has: "
            f"{', '.join(map(repr, unused[:_SHOWN]))}{more}"
        )


def _by_number(label: object, names: Names) -> object:
    """The name of a number that a file without names of its own has beside one with names."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, str) and label not in names and _WHOLE.fullmatch(label.strip()):
        label = int(float(label))
    return _name(label, names)


def _renamed(label: object, others: Mapping[str, str]) -> object:
    return others.get(label, label) if isinstance(label, str) else label


def _name(label: object, names: Names) -> object:
    if not isinstance(label, int) or isinstance(label, bool):
        return label
    if label == -1:
        return None
    return names[label] if 0 <= label < len(names) else label
