"""Tables and plots of the peer comparison, made from `results/*.json` into README.md.

python benchmarks/peer_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- peers: begin (made by peer_tables.py) -->", "<!-- peers: end -->"
BASELINES = ("optimum-int8", "openvino-int8")
OURS = "sentopt "


def write(results: Path, readme: Path) -> None:
    """Put the tables of every result file between the two markers, and plots beside the results."""
    parts = []
    for path in sorted(results.glob("*.json")):
        document = json.loads(path.read_text())
        parts.append(f"## {document['machine']}")
        for number, (model, result) in enumerate(document["models"].items()):
            plot = path.with_name(f"{path.stem}-{number}.png")
            _plot(model, result, plot)
            parts.extend(_sections(model, result, f"{results.name}/{plot.name}"))
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + after)


def _sections(model: str, result: Mapping[str, Any], plot: str) -> Iterable[str]:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield f"### {model}\n\n{versions}\n\n![latency and throughput of {model}]({plot})"
    for threads, grid in result["threads"].items():
        yield (
            f"Milliseconds per call by texts x tokens, {threads} thread{'s' if threads != '1' else ''} "
            "(median; random ids, no padding, no tokenization):\n\n" + _grid(grid)
        )
    yield "Texts per second from raw text, all cores (the better of a peer's two ways):\n\n" + _throughput(
        result["throughput"]
    )
    yield "Answers, start and size:\n\n" + _costs(result)
    yield _ceiling(result)
    if result["skipped"]:
        yield "Not measured: " + "; ".join(f"{name} ({why})" for name, why in result["skipped"].items())


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|---" + "|---:" * (len(headings) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _grid(grid: Mapping[str, Mapping[str, float]]) -> str:
    cells = list(grid)
    names = list(next(iter(grid.values())))
    fastest = {cell: min(grid[cell].values()) for cell in cells}
    rows = []
    for name in names:
        values = [f"**{grid[c][name]:.2f}**" if grid[c][name] == fastest[c] else f"{grid[c][name]:.2f}" for c in cells]
        rows.append((name, *values))
    for baseline in (b for b in BASELINES if b in names):
        best = [min(v for n, v in grid[c].items() if n.startswith(OURS)) for c in cells]
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


def _throughput(throughput: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    sets = list(throughput)
    rows = []
    for name, ways in throughput[sets[0]].items():
        way = max(ways, key=lambda w: ways[w])
        rows.append((f"{name} ({way})", *(f"{best_rate(throughput[s][name]):.0f}" for s in sets)))
    return _table(("contender (its better way)", *sets), rows)


def _costs(result: Mapping[str, Any]) -> str:
    rows = []
    for name, cost in result["costs"].items():
        answers = result["answers"].get(name)
        rows.append(
            (
                name,
                f"{answers['accuracy']:.4f}" if answers else "-",
                f"{answers['agreement']:.4f}" if answers else "-",
                f"{cost['load_ms'] / 1e3:.2f}",
                f"{cost['peak_memory_bytes'] / 2**20:.0f}",
                f"{cost['bytes'] / 1e6:.1f}",
            )
        )
    return _table(("contender", "accuracy", "agreement with PyTorch", "load s", "peak MiB", "model MB"), rows)


def _ceiling(result: Mapping[str, Any]) -> str:
    ceiling = result["ceiling"]
    rates = ", ".join(f"{rate:.0f} in {engine}" for engine, rate in ceiling["gmacs_per_second"].items())
    rows = []
    for tokens, floor in ceiling["one_text"].items():
        measured = {
            n: v for n, v in result["threads"]["1"][f"1x{tokens}"].items() if n.startswith(OURS) and "int8" in n
        }
        rows.append(
            (
                f"1 x {tokens}",
                f"{floor['million_macs']:.0f}",
                f"{floor['floor_ms']:.2f}",
                *(f"{value:.2f} ({floor['floor_ms'] / value:.0%})" for value in measured.values()),
            )
        )
    names = [n for n in result["threads"]["1"]["1x16"] if n.startswith(OURS) and "int8" in n]
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
    for name in next(iter(grid.values())):
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
    values = [grid[cell][name] for cell in cells for name in grid[cell]]
    left.set_ylim(min(values) * 0.9, max(values) * 1.1)
    left.set_title(f"One text, {threads} threads")
    left.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
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
    right.margins(x=0.12)
    right.set_title(f"Many texts: {first}")
    figure.suptitle(model)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    here = Path(__file__).parent
    write(here / "results", here / "README.md")
