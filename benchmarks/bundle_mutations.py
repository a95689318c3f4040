"""What comes of bundles that somebody has changed: refused in words, or answered; and what their loading opens.

    python benchmarks/bundle_mutations.py exports/quickstart/bundle --mutations 2000

A third of the mutations each change `sentopt.json`, `tokenizer.json` and the ONNX file: a quarter of them bytes, the
rest values and messages. The hashes are made to fit in nine of ten. Each bundle is loaded by another process, which
answers five texts and the golden ones. An audit hook sees what Python opens, strace what native code opens. Exits 1 if
the process dies, is too slow or raises anything but `BundleError`, or if it opens a file outside the bundle.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

KINDS = ("refused", "answered", "died", "slow", "traceback", "opened outside")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    """Change, load, count."""
    import answering
    import mutations
    from hypothesis import HealthCheck, Phase, given, settings

    arguments = _arguments()
    bundle = arguments.bundle.resolve()
    counts: Counter[str] = Counter()
    largest: dict[str, float] = {"seconds": 0.0, "peak_mib": 0.0}
    each, start = -(-arguments.mutations // 3), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        original = shutil.copytree(bundle, Path(scratch, "original"))
        process = answering.Answering(original, Path(scratch, "trace"))

        def watch(mutation: mutations.Mutation) -> None:
            folder = mutation.apply(original, Path(scratch, "changed"))
            outcome = process.of(folder)
            shutil.rmtree(folder)
            counts[f"{mutation.file}: {outcome.kind}"] += 1
            counts[outcome.kind] += 1
            counts["opened outside"] += len(outcome.opened)
            for key in largest:
                largest[key] = max(largest[key], getattr(outcome, key))
            if outcome.kind not in ("answered", "refused") or outcome.opened:
                print(f"{mutation.file}: {mutation.words}: {outcome}", file=sys.stderr)

        for file in mutations.files(original):
            quiet = settings(
                max_examples=each,
                derandomize=True,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            quiet(given(mutations.mutations(original, file))(watch))()
        process.end()
    faults = sum(counts[kind] for kind in KINDS[2:])
    print(
        json.dumps(
            {
                "mutations": 3 * each,
                **{kind: counts[kind] for kind in KINDS},
                "by_file": {key: count for key, count in sorted(counts.items()) if ": " in key},
                "largest_seconds": round(largest["seconds"], 2),
                "largest_peak_mib": round(largest["peak_mib"]),
                "watched_by": "audit hook and strace" if answering.can_trace() else "audit hook",
                "seconds": round(time.perf_counter() - start),
            },
            indent=1,
        )
    )
    sys.exit(faults > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="the folder of a bundle")
    parser.add_argument("--mutations", type=int, default=2000, metavar="N", help="default %(default)s")
    parser.add_argument("--scratch", type=Path, help="a folder for the changed bundles, by default that of the system")
    return parser.parse_args()


if __name__ == "__main__":
    main()
