"""Memory and time of ModernBERT's attention over long texts: in blocks and tiles, or with all scores.

    python benchmarks/local_attention.py [--layers 4] [--tokens 1024 2048 4096] [--threads 1]

The model has the width of ModernBERT-base, a small vocabulary, random weights and so many layers, of which every third
is global; FP32. Each form and length has a process of its own, which answers one text and says what it had in memory at
most, less what it had before.

- blocks and tiles: `lean.write(..., tiled=True)`, as in `long-int8`;
- blocks: `lean.write(...)`, as in `lean-int8`;
- all scores: local layers compute them all as well, and mask those of far tokens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import full_size

from sentopt.graph import attention, families, lean
from sentopt.graph.architecture import Architecture
from sentopt.graph.products import FloatProducts
from sentopt.measure import memory
from sentopt.runtime.session import OnnxSession

VOCABULARY = 1_000
FORMS = {
    "blocks and tiles": (attention.BLOCKS, True),
    "blocks": (attention.BLOCKS, False),
    "all scores": (10**6, False),
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        print(json.dumps(answered(options.answer, options.tokens[0], options.threads)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        full_size.save("modernbert", folder, num_hidden_layers=options.layers, vocab_size=VOCABULARY, pad_token_id=0)
        model = families.read(folder)
        print("| tokens | form | MiB | seconds |\n|---:|---|---:|---:|")
        for form, (blocks, tiled) in FORMS.items():
            write(model, folder / "model.onnx", blocks=blocks, tiled=tiled)
            for tokens in options.tokens:
                found = in_process(folder / "model.onnx", tokens, options.threads)
                print(f"| {tokens} | {form} | {found['bytes'] / 2**20:.0f} | {found['seconds']:.2f} |", flush=True)


def write(model: Architecture, path: Path, *, blocks: int, tiled: bool) -> None:
    """Write the graph in which local attention over more than so many blocks is computed in them."""
    usual, attention.BLOCKS = attention.BLOCKS, blocks
    try:
        path.write_bytes(lean.write(model, FloatProducts(), tiled=tiled).SerializeToString())
    finally:
        attention.BLOCKS = usual


def in_process(path: Path, tokens: int, threads: int) -> dict[str, float]:
    """What `answered` finds in a process of its own."""
    command = [sys.executable, __file__, "--answer", str(path), "--tokens", str(tokens), "--threads", str(threads)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def answered(path: Path, tokens: int, threads: int) -> dict[str, float]:
    """Answer one text without padding: bytes beyond those of the loaded model, and seconds of the second call."""
    session = OnnxSession(path, threads=threads)
    session.run(full_size.batch_of([16], VOCABULARY, 0))
    before = memory.peak_bytes()
    batch = full_size.batch_of([tokens], VOCABULARY, 0)
    session.run(batch)
    begin = time.perf_counter()
    session.run(batch)
    return {"bytes": memory.peak_bytes() - before, "seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    main()
