"""The findings about a dataset as text for a terminal: what matters most comes first, each with what to do about it."""

from __future__ import annotations

from sentopt.audit.data_check import DataCheck
from sentopt.audit.doubts import Doubt, Kind
from sentopt.runtime.names import printable

_SHOWN = 5
_LONGEST = 100
_HEADINGS: dict[Kind, str] = {
    "wrong label": "likely wrong labels",
    "conflict": "nearly the same text with another label",
    "leak": "texts that are nearly the same in two splits",
    "empty text": "empty texts",
}
_DO = {
    "wrong label": "read them, and correct those that are wrong",
    "conflict": "decide which label is right; training keeps the most frequent one of equal texts",
    "leak": "remove them from that split; training drops equal texts itself, but not similar ones, which flatter "
    "the test figures",
    "empty text": "nothing: training drops them; fill them in if they should have a text",
}


def said(check: DataCheck, output: str = "") -> str:
    """The findings in a few lines; `output` is the file that has all doubts, if there is one."""
    total = sum(check.texts.values())
    splits = ", ".join(f"{split} {count:,}" for split, count in check.texts.items())
    labels = ", ".join(f"{label} {count:,}" for label, count in check.labels.items())
    lines = [f"{check.source}: {total:,} texts ({splits}); {len(check.labels)} labels ({labels})"]
    if check.refusal:
        lines += ["", f"training would refuse this data: {check.refusal}"]
    for kind, heading in _HEADINGS.items():
        doubts = check.of_kind(kind)
        lines += _listed(f"{heading}: {_counted(check, kind, len(doubts))}", doubts)
    lines += ["", *_backbone(check)]
    lines += [f"note: {notice}" for notice in check.notices]
    if check.doubts:
        lines += ["", *_next(output)]
    return "\n".join(lines)


def _counted(check: DataCheck, kind: Kind, doubts: int) -> str:
    if kind in check.left_out:
        return "not looked for"
    if kind != "wrong label":
        return f"{doubts:,} row(s)"
    share = f", {doubts / check.judged:.1%}" if check.judged else ""
    return f"about {doubts:,} of {check.judged:,} distinct texts{share}"


def _listed(heading: str, doubts: tuple[Doubt, ...]) -> list[str]:
    if not doubts:
        return ["", heading]
    more = [f"  and {len(doubts) - _SHOWN:,} more"] if len(doubts) > _SHOWN else []
    return ["", heading, *map(_line, doubts[:_SHOWN]), *more, f"  what to do: {_DO[doubts[0].kind]}"]


def _line(doubt: Doubt) -> str:
    text = printable(" ".join(doubt.text.split()), longest=_LONGEST)
    sure = f"; rather {doubt.suggested} ({doubt.confidence:.2f})" if doubt.confidence is not None else ""
    because = f"; {doubt.because}" if doubt.because else ""
    return f"  {doubt.place} ({doubt.split}), labelled {doubt.label}{sure}{because}\n    {text}"


def _backbone(check: DataCheck) -> list[str]:
    fit = check.backbone
    if fit is None:
        return ["tokens: not counted, for the backbone is not on this machine; --fetch downloads it"]
    counted = (
        f"tokens for {fit.backbone} ({fit.unknown.texts:,} texts sampled): {fit.unknown.share:.1%} unknown; "
        f"{fit.cut:.1%} of the texts have more than {fit.max_length} (model.max_length)"
    )
    return [counted, *(f"  {notice}" for notice in fit.notices)]


def _next(output: str) -> list[str]:
    if not output:
        return ["next: the same command with --output doubts.csv lists all of them"]
    return [
        f"all of them: {output}",
        "next: write the right label, or <drop>, into the column corrected, then",
        f"      sentopt train ... --set data.corrections={output}",
    ]
