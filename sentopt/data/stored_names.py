"""Apply the label names that `datasets` stores in a file (`ClassLabel`) to the numbers of the label column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sentopt.data.duplicates import normal_form
from sentopt.data.rows import Rows
from sentopt.errors import DataError
from sentopt.run_dir import Split

_SHOWN = 5
_WHOLE = re.compile(r"-?\d{1,9}(\.0)?")
Names = tuple[str, ...]


def of_feature(feature: object) -> Names:
    """The names that `datasets` keeps beside the numbers of a column, or of the lists in it."""
    if isinstance(feature, list) and len(feature) == 1:  # as older versions write a list
        return of_feature(feature[0])
    inner = getattr(feature, "feature", None)
    return of_feature(inner) if inner is not None else tuple(getattr(feature, "names", None) or ())


def named(rows: Rows, names: Names) -> Rows:
    """The rows with numbers replaced by label names; -1 means no label."""
    return rows.relabelled(lambda label: _name(label, names)) if names else rows


def apply(
    splits: Mapping[Split, Rows], declared: Names, stored: Mapping[Names, str], notices: list[str]
) -> tuple[Names, Mapping[Split, Rows]]:
    """The label names to use, and the rows with those names.

    `stored` maps each stored list of names to its file. If the declared names are the stored ones, their order is used.
    Other declared names replace the stored ones by position, with a notice. Stored names that no row has are dropped,
    unless they are declared.

    Raises:
        DataError: some declared names are stored names at other positions, or their number differs.
    """
    all_names = tuple(dict.fromkeys(name for names in stored for name in names))
    if not all_names:
        return declared, splits
    if not declared:
        _note_names(stored, notices)
        rows = {split: rows.relabelled(lambda label: _by_number(label, all_names)) for split, rows in splits.items()}
        used = _used(all_names, rows)
        _note_unused([name for name in all_names if name not in used], stored, notices)
        return used, rows
    names, replacements = _reconcile(declared, all_names, _used(all_names, splits), stored, notices)
    renamed = {
        split: rows.relabelled(lambda label: _renamed(label, replacements)) if replacements else rows
        for split, rows in splits.items()
    }
    return names, renamed


def _reconcile(
    declared: Names, all_names: Names, used: Names, stored: Mapping[Names, str], notices: list[str]
) -> tuple[Names, dict[str, str]]:
    """The label names to use, and the mapping of replaced stored names to declared ones."""
    declared_forms = [normal_form(name) for name in declared]
    for names in (all_names, used):
        forms = [normal_form(name) for name in names]
        if set(forms) <= set(declared_forms):
            return declared, {}
        in_place = all(name not in declared_forms or declared_forms.index(name) == i for i, name in enumerate(forms))
        if len(declared_forms) == len(forms) and in_place:
            renamed = {old: new for old, new in zip(names, declared, strict=True) if old != new}
            renaming = ", ".join(f"{old} is {new}" for old, new in list(renamed.items())[:_SHOWN])
            notices.append(f"data.labels renames the labels in {', '.join(stored.values())}: {renaming}")
            return declared, renamed
    raise DataError(
        f"data.labels ({', '.join(declared)}) does not fit the label names in {', '.join(stored.values())} "
        f"({', '.join(all_names)}): use the same names, or as many others in the same order"
    )


def _used(names: Names, splits: Mapping[Split, Rows]) -> Names:
    """The names that occur in rows, ignoring case and blanks; all names if none occurs."""
    labels = [
        label
        for rows in splits.values()
        for written in rows.distinct()
        for label in (written if isinstance(written, list | tuple) else [written])
    ]
    forms = {normal_form(label) for label in labels if isinstance(label, str)}
    return tuple(name for name in names if normal_form(name) in forms) or names


def _note_names(stored: Mapping[Names, str], notices: list[str]) -> None:
    for names, where in stored.items():
        examples = ", ".join(f"{i} is {name}" for i, name in enumerate(names[:_SHOWN]))
        notices.append(f"label names are those in {where}: {examples}{', ...' if len(names) > _SHOWN else ''}")


def _note_unused(unused: Sequence[str], stored: Mapping[Names, str], notices: list[str]) -> None:
    if unused:
        more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
        notices.append(
            f"left out {len(unused)} label name(s) in {', '.join(stored.values())} that no row has: "
            f"{', '.join(map(repr, unused[:_SHOWN]))}{more}"
        )


def _by_number(label: object, names: Names) -> object:
    """The name of a number in a file without stored names, if another file of the data has stored names."""
    if isinstance(label, list | tuple):
        return [_by_number(one, names) for one in label]
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, str) and label not in names and _WHOLE.fullmatch(label.strip()):
        label = int(float(label))
    return _name(label, names)


def _renamed(label: object, others: Mapping[str, str]) -> object:
    if isinstance(label, list | tuple):
        return [_renamed(one, others) for one in label]
    return others.get(label, label) if isinstance(label, str) else label


def _name(label: object, names: Names) -> object:
    if isinstance(label, list | tuple):
        return [_name(one, names) for one in label]
    if not isinstance(label, int) or isinstance(label, bool):
        return label
    if label == -1:
        return None
    return names[label] if 0 <= label < len(names) else label
