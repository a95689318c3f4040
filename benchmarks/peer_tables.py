"""Tables and plots of the peer comparison, made from `results/*.json` into README.md.

python benchmarks/peer_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentopt.measure.stats import wilson_interval

BEGIN, END = "<!-- peers: begin (made by peer_tables.py) -->", "<!-- peers: end -->"
BASELINES = ("optimum-int8", "openvino-int8")
PIPELINE = "hf-pipeline"
OURS = "sentopt "
RANDOM = " (random weights)"
_MEASURED = "median; random ids, no padding, no tokenization"
_PACKAGES = ("torch", "transformers", "onnxruntime", "optimum-onnx")
COMPARED = ("optimum-int8", "sentopt lean-int8")
"""What the table of families compares: theirs, then ours."""


def write(results: Path, readme: Path) -> None:
    """Put the tables of every result file between the two markers, and plots beside the results."""
    parts = []
    for path in sorted(results.glob("*.json")):
        document = json.loads(path.read_text())
        parts.append(f"## {document['machine']}")
        parts.extend(families(document["models"]))
        for number, (model, result) in enumerate(document["models"].items()):
            if _is_compared_only(model, result):
                continue  # all that was measured stands in the table of families
            plot = path.with_name(f"{path.stem}-{number}.png")
            _plot(model, result, plot)
            parts.extend(sections(model, result, f"{results.name}/{plot.name}"))
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + after)


def sections(model: str, result: Mapping[str, Any], plot: str) -> Iterable[str]:
    """The parts of the page on one model, its plot first."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield f"### {model}\n\n{versions}\n\n![latency and throughput of {model}]({plot})"
    yield from side_by_side(result)
    yield from by_shape(result)
    yield "Start and size:\n\n" + _costs(result)
    yield ceiling_table(result)
    if result["skipped"]:
        yield "Not measured: " + "; ".join(f"{name} ({why})" for name, why in result["skipped"].items())


def families(models: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Models of full size with random weights: ours against Optimum's, family by family and shape by shape.

    Only of results of these two alone; others have a section of their own.
    """
    found = {model.removesuffix(RANDOM): result for model, result in models.items() if _is_compared_only(model, result)}
    if not found:
        return
    theirs, ours = COMPARED
    grids = [grid for result in found.values() for grid in result["threads"].values()]
    shapes = list(dict.fromkeys(shape for grid in grids for shape in grid))
    rows = [
        (family, threads, *(_against(grid.get(shape, {})) for shape in shapes))
        for family, result in found.items()
        for threads, grid in result["threads"].items()
    ]
    versions = {f"{name} {r['versions'][name]}" for r in found.values() for name in _PACKAGES if name in r["versions"]}
    yield f"### Other families, full size with random weights\n\n{', '.join(sorted(versions))}"
    yield (
        f"Milliseconds per call by texts x tokens ({_MEASURED}): {theirs} / {ours} = times faster:\n\n"
        + _table(("family", "threads", *(shape.replace("x", " x ") for shape in shapes)), rows)
    )
    rate = max(max(result["ceiling"]["gmacs_per_second"].values()) for result in found.values())
    headings = [f"{what}, {name}" for what in ("texts/s", "model MB", "peak MiB") for name in COMPARED]
    tokens = list(dict.fromkeys(t for result in found.values() for t in result["ceiling"]["one_text"]))
    headings += [f"1 x {count}" for count in tokens]
    others = [(family, *_of_family(result, rate, tokens)) for family, result in found.items()]
    yield (
        "Texts per second from raw text with all cores (the better way), size and memory; then the share of the time "
        f"of {ours}, one thread, in which its weight products could be done at the fastest rate that was measured here "
        f"({rate:.0f} GMAC/s):\n\n" + _table(("family", *headings), others)
    )


def _is_compared_only(model: str, result: Mapping[str, Any]) -> bool:
    return model.endswith(RANDOM) and set(result["costs"]) == set(COMPARED)


def _against(milliseconds: Mapping[str, float]) -> str:
    """Both times and their ratio; a shape may not have been measured."""
    if not set(COMPARED) <= set(milliseconds):
        return "-"
    their, our = (milliseconds[name] for name in COMPARED)
    return f"{their:.2f} / {our:.2f} = {their / our:.2f}"


def _of_family(result: Mapping[str, Any], rate: float, tokens: Sequence[str]) -> Iterable[str]:
    costs, rates = result["costs"], next(iter(result["throughput"].values()))
    yield from (f"{best_rate(rates[name]):.0f}" for name in COMPARED)
    yield from (f"{costs[name]['bytes'] / 1e6:.1f}" for name in COMPARED)
    yield from (f"{costs[name]['peak_memory_bytes'] / 2**20:.0f}" for name in COMPARED)
    for count in tokens:
        measured = result["threads"]["1"].get(f"1x{count}", {}).get(COMPARED[1])
        macs = result["ceiling"]["one_text"].get(count, {}).get("million_macs")
        yield f"{macs / rate / measured:.0%}" if measured and macs else "-"


def summary(model: str, result: Mapping[str, Any]) -> str:
    """What matters most of one result, for the terminal: speed and accuracy side by side, and who was left out."""
    parts = [model, *side_by_side(result), *by_shape(result)]
    peak = sum(cost["peak_memory_bytes"] for cost in result["costs"].values())
    parts.append(f"Peak memory of all {len(result['costs'])} contenders together: {peak / 2**30:.1f} GiB")
    parts += [f"Not measured: {name} ({why})" for name, why in result["skipped"].items()]
    return "\n\n".join(parts)


def by_shape(result: Mapping[str, Any]) -> Iterable[str]:
    """Milliseconds by shape, a table for each number of threads."""
    for threads, grid in result["threads"].items():
        if names := list(next(iter(grid.values()), ())):
            yield (
                f"Milliseconds per call by texts x tokens, {threads} thread{'s' if threads != '1' else ''} "
                f"({_MEASURED}):\n\n" + _grid(grid, names)
            )


def side_by_side(result: Mapping[str, Any]) -> Iterable[str]:
    """Accuracy beside speed from raw text, for every contender; then how many times the pipeline's texts per second."""
    sets = list(result["throughput"])
    if single := result.get("single"):
        timed = f"Latency of one text (tokenization included; {result['texts']} texts one by one) and texts per second"
    else:
        timed = "Texts per second"
    yield (
        f"{timed} from raw text, all cores (the better of a contender's ways), beside the accuracy on the test split:"
        "\n\n" + _speed_and_accuracy(result, sets, single or {})
    )
    yield from pipeline_ratios(result)


def _speed_and_accuracy(
    result: Mapping[str, Any], sets: Sequence[str], single: Mapping[str, Mapping[str, float]]
) -> str:
    training = result.get("training", {})
    headings = ["contender (its better way)", "accuracy", "95 % interval"]
    headings += ["mean ms", "p50", "p95", "p99"] if single else []
    headings += [f"texts/s, {name}" for name in sets]
    headings += ["times the pipeline"] if PIPELINE in result["throughput"][sets[0]] else []
    headings += ["training s"] if training else []
    rows = []
    for name, ways in result["throughput"][sets[0]].items():
        row = [f"{name} ({max(ways, key=lambda way: ways[way])})", *_accuracy(result["answers"].get(name))]
        row += [f"{single[name][key]:.2f}" for key in ("mean", "p50", "p95", "p99")] if single else []
        row += [f"{best_rate(result['throughput'][s][name]):.0f}" for s in sets]
        if "times the pipeline" in headings:
            row.append(f"{_times_pipeline(result['throughput'][sets[0]], name):.1f}")
        if training:
            row.append(f"{training[name]['seconds']:.0f}" if name in training else "-")
        rows.append(row)
    return _table(headings, rows)


def _accuracy(answers: Mapping[str, Any] | None) -> tuple[str, str]:
    """The accuracy and its interval, which results of older versions lack."""
    if not answers:
        return "-", "-"
    low, high = answers.get("interval") or wilson_interval(
        round(answers["accuracy"] * answers["texts"]), answers["texts"], 0.95
    )
    return f"{answers['accuracy']:.4f}", f"{low:.3f} to {high:.3f}"


def _times_pipeline(rates: Mapping[str, Mapping[str, float]], name: str) -> float:
    return best_rate(rates[name]) / best_rate(rates[PIPELINE])


def pipeline_ratios(result: Mapping[str, Any]) -> Iterable[str]:
    """By set of texts: the fastest contender of sentopt against the Hugging Face pipeline, from raw text in one run.

    Where accuracies were measured, only one whose accuracy is proven within the margin of PyTorch's counts.
    """
    for texts, rates in result["throughput"].items():
        answers = result["answers"]
        ours = [name for name in rates if name.startswith(OURS) and (not answers or answers[name].get("proven", True))]
        if PIPELINE not in rates or not ours:
            continue
        best = max(ours, key=lambda name: best_rate(rates[name]))
        margins = {found["margin"] for found in answers.values() if "margin" in found}
        proven = "".join(f"; accuracy proven within {margin:g} points of PyTorch's" for margin in margins)
        yield (
            f"Raw text, {texts}: {best} {best_rate(rates[best]):.0f} texts/s, {PIPELINE} "
            f"{best_rate(rates[PIPELINE]):.0f}, {_times_pipeline(rates, best):.1f} times{proven}."
        )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|---" + "|---:" * (len(headings) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _grid(grid: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> str:
    cells = list(grid)
    fastest = {cell: min(grid[cell].values()) for cell in cells}
    rows = []
    for name in names:
        values = [f"**{grid[c][name]:.2f}**" if grid[c][name] == fastest[c] else f"{grid[c][name]:.2f}" for c in cells]
        rows.append((name, *values))
    ours = [name for name in names if name.startswith(OURS)]
    for baseline in (b for b in BASELINES if ours and b in names):
        best = [min(grid[c][name] for name in ours) for c in cells]
        rows.append(
            (
                f"*best sentopt, times faster than {baseline}*",
                *(f"*{grid[c][baseline] / b:.2f}*" for c, b in zip(cells, best, strict=True)),
            )
        )
    return _table(("contender", *(cell.replace("x", " x ") for cell in cells)), rows)


def best_rate(ways: Mapping[str, float]) -> float:
    """The better of the ways in which a contender was asked."""
    return max(ways.values())


def _costs(result: Mapping[str, Any]) -> str:
    rows = []
    for name, cost in result["costs"].items():
        answers = result["answers"].get(name)
        rows.append(
            (
                name,
                f"{answers['agreement']:.4f}" if answers else "-",
                _proven(answers),
                f"{cost['load_ms'] / 1e3:.2f}",
                f"{cost['peak_memory_bytes'] / 2**20:.0f}",
                f"{cost['bytes'] / 1e6:.1f}",
            )
        )
    return _table(
        ("contender", "agreement with PyTorch", "accuracy within the margin", "load s", "peak MiB", "model MB"), rows
    )


def _proven(answers: Mapping[str, Any] | None) -> str:
    """Whether the accuracy is proven within the margin of PyTorch's; results of older versions do not say."""
    if not answers or "proven" not in answers:
        return "-"
    return "proven" if answers["proven"] else "not proven"


def ceiling_table(result: Mapping[str, Any]) -> str:
    """How near the INT8 graph is to the fastest INT8 products of this machine."""
    ceiling = result["ceiling"]
    rates = ", ".join(f"{rate:.0f} in {engine}" for engine, rate in ceiling["gmacs_per_second"].items())
    grid = result["threads"]["1"]
    names = [n for n in next(iter(grid.values()), ()) if n.startswith(OURS) and "int8" in n]
    rows = []
    for tokens, floor in ceiling["one_text"].items():
        measured = grid.get(f"1x{tokens}")  # a model may read fewer tokens
        rows.append(
            (
                f"1 x {tokens}",
                f"{floor['million_macs']:.0f}",
                f"{floor['floor_ms']:.2f}",
                *(f"{measured[n]:.2f} ({floor['floor_ms'] / measured[n]:.0%})" if measured else "-" for n in names),
            )
        )
    size = ceiling["size"]
    return (
        f"INT8 ceiling of one thread, measured with a {size} x {size} x {size} product: {rates} GMAC/s. "
        "Least milliseconds in which the weight products of the lean graph could be done, and what was reached:\n\n"
        + _table(("texts x tokens", "million MACs", "floor ms", *names), rows)
    )


def _plot(model: str, result: Mapping[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(14, 5.2), layout="constrained")
    threads, grid = list(result["threads"].items())[-1]
    cells = [cell for cell in grid if cell.startswith("1x")]
    values = [grid[cell][name] for cell in cells for name in grid[cell]]
    for name in next(iter(grid.values()), ()):
        ours = name.startswith(OURS)
        left.plot(
            [int(cell[2:]) for cell in cells],
            [grid[cell][name] for cell in cells],
            marker="o",
            linewidth=2.4 if ours else 1.0,
            linestyle="-" if ours else "--",
            label=name,
        )
    left.set(xscale="log", yscale="log", xlabel="tokens of one text", ylabel="milliseconds (median)")
    left.set_xticks([int(cell[2:]) for cell in cells], [cell[2:] for cell in cells])
    left.minorticks_off()
    milliseconds = [1, 2, 5, 10, 20, 50, 100, 200]
    left.set_yticks(milliseconds, [str(n) for n in milliseconds])
    if values:
        left.set_ylim(min(values) * 0.9, max(values) * 1.1)
        left.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    left.set_title(f"One text, {threads} threads")
    first, rates = next(iter(result["throughput"].items()))
    ranked = sorted(rates, key=lambda name: best_rate(rates[name]))
    right.barh(
        ranked,
        [best_rate(rates[name]) for name in ranked],
        color=["tab:green" if name.startswith(OURS) else "tab:gray" for name in ranked],
    )
    for i, name in enumerate(ranked):
        right.text(best_rate(rates[name]), i, f" {best_rate(rates[name]):.0f}", va="center", fontsize=8)
    right.set(xlabel="texts per second, from raw text")
    if best_rate(rates[ranked[-1]]) > 50 * best_rate(rates[ranked[0]]):  # a static model is a thousand times as fast
        right.set_xscale("log")
    right.margins(x=0.12)
    right.set_title(f"Many texts: {first}")
    figure.suptitle(model)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    here = Path(__file__).parent
    write(here / "results", here / "README.md")
