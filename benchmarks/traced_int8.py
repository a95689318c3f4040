"""INT8 of a traced graph, calibrated and dynamic, beside its FP32: how near the answers are, and how fast they come.

    python benchmarks/traced_int8.py RUN_DIR
    python benchmarks/traced_int8.py --family megatron-bert --outliers 20

With a run, its fine-tuned model answers the test split. With a family, a model of full size with random weights
answers random texts; `--outliers` multiplies a few channels of each layer normalization of a Megatron-BERT, as training
does in large models (Dettmers et al. 2022), and divides the weights that read them. Prints Markdown: labels that differ
from FP32, the change of probabilities, labels of the first 320 texts that depend on the batch, megabytes, then for each
shape the time in that of the FP32 graph: median and quartiles of the ratios in interleaved rounds. They vary with what
else the machine does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import full_size
import numpy as np
import numpy.typing as npt
import onnx

from sentopt import recipe
from sentopt.data import store
from sentopt.graph import families, lean, traced
from sentopt.graph.calibration import calibrate
from sentopt.graph.products import Int8Products
from sentopt.measure.timing import interleave
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import softmax
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.tokenization import TextEncoder
from sentopt.stages import exporters, quantize, tracing
from sentopt.stages.silence import silenced
from sentopt.variants import VARIANTS

SHAPES = ((1, 16), (1, 128), (16, 64))
_TRAINING, _TEST, _LONGEST, _MAX_LENGTH = 300, 300, 60, 128
_ALONE = 320


@dataclass(frozen=True)
class Texts:
    """What is answered: texts for calibration, for comparison, and their right labels if they have any."""

    encoder: TextEncoder
    training: Sequence[str]
    test: Sequence[str]
    labels: npt.NDArray[np.int64] | None = None


def of_run(run_dir: RunDir, limit: int | None) -> Texts:
    """The texts of a run, with the first `limit` of its test split."""
    settings = recipe.load(str(run_dir.recipe))
    test = store.read_split(run_dir, "test")
    return Texts(
        TextEncoder.load(run_dir.checkpoint, max_length=settings.model.max_length),
        list(store.read_split(run_dir, "train").texts),
        list(test.texts)[:limit],
        np.array([example.label for example in test])[:limit],
    )


def of_random(checkpoint: Path, family: str, outliers: float) -> Texts:
    """Save a model with random weights; texts of its tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    model = full_size.save(family, checkpoint)
    if outliers != 1:
        widen(model, outliers)
        model.save_pretrained(checkpoint)
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(model.config.vocab_size)}, unk_token="w3"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    random = np.random.default_rng(0)

    def drawn(texts: int) -> list[str]:
        lengths = random.integers(3, _LONGEST, texts)
        return [" ".join(f"w{i}" for i in random.integers(5, model.config.vocab_size, n)) for n in lengths]

    encoder = TextEncoder(tokenizer, max_length=_MAX_LENGTH, pad_token_id=model.config.pad_token_id or 0)
    return Texts(encoder, drawn(_TRAINING), drawn(_TEST))


def widen(model: object, factor: float) -> None:
    """Make four channels of what products read larger by `factor`; the function of the model stays what it was.

    A normalization before products alone is widened: its products take that back.
    """
    import torch

    modules = dict(model.named_modules())  # type: ignore[attr-defined]
    with torch.no_grad():
        for name, norm in modules.items():
            readers = [f"{name.removesuffix('ln')}self.{part}" for part in ("query", "key", "value")]
            if name.endswith("attention.ln"):
                pass
            elif name.endswith(".ln") and ".layer." in name:
                readers = [f"{name.removesuffix('ln')}intermediate.dense"]
            else:
                continue
            channels = torch.arange(4) * (norm.weight.numel() // 4)
            norm.weight[channels] *= factor
            norm.bias[channels] *= factor
            for reader in readers:
                modules[reader].weight[:, channels] /= factor


def contenders(checkpoint: Path, texts: Texts, folder: Path) -> Mapping[str, Path | bytes]:
    """The graphs by name: FP32 first."""
    files = {name: folder / f"{name}.onnx" for name in ("onnx-fp32", "onnx-int8", "onnx-int8-per-channel")}
    trace = tracing.trace_with_optimum if exporters.choose("auto")[0] == "optimum" else tracing.trace_with_torch
    (folder / "trace").mkdir()
    with silenced():
        trace(checkpoint, folder / "trace" / "model.onnx", opset=17)
        (folder / "trace" / "model.onnx").rename(files["onnx-fp32"])
        for name in ("onnx-int8", "onnx-int8-per-channel"):
            options = VARIANTS[name].quantize
            assert options is not None
            quantize.with_onnxruntime(files["onnx-fp32"], files[name], options)
    graph = traced.TracedGraph(onnx.load(files["onnx-fp32"]))
    found = traced.calibrate(graph, texts.encoder, texts.training)
    made = {
        **files,
        "onnx-int8-calibrated": traced.write(graph, found, Int8Products(found.calibration.sites)).SerializeToString(),
    }
    if families.unsupported_reason(checkpoint) is None:
        architecture = families.read(checkpoint)
        sites = calibrate(architecture, texts.encoder, texts.training).sites
        made["lean-int8"] = lean.write(architecture, Int8Products(sites)).SerializeToString()
    return made


def logits(session: OnnxSession, texts: Texts, asked: Sequence[str], size: int) -> FloatArray:
    """The logits of `asked` in batches of `size`."""
    tokens = texts.encoder.encode(list(asked))
    batches = [texts.encoder.pad(tokens[i : i + size]) for i in range(0, len(tokens), size)]
    return np.concatenate([session.run(batch) for batch in batches])


def print_answers(sessions: Mapping[str, OnnxSession], sizes: Mapping[str, int], texts: Texts) -> None:
    """How near the answers are to those of FP32."""
    accuracy = "" if texts.labels is None else " accuracy | lost | gained |"
    print(
        f"| {len(texts.test)} texts |{accuracy} labels changed | mean change of p | largest | changed by the batch "
        "| MB |"
    )
    print(f"|---|{'' if texts.labels is None else '---:|---:|---:|'}---:|---:|---:|---:|---:|")
    exact: FloatArray | None = None
    for name, session in sessions.items():
        together = logits(session, texts, texts.test, 32)
        alone = logits(session, texts, texts.test[:_ALONE], 1)
        exact = together if exact is None else exact
        moved = np.abs(softmax(together) - softmax(exact))
        answers, expected = together.argmax(axis=1), exact.argmax(axis=1)
        right = ""
        if texts.labels is not None:
            now, before = answers == texts.labels, expected == texts.labels
            right = f" {now.mean():.3f} | {(before & ~now).sum()} | {(now & ~before).sum()} |"
        by_batch = (alone.argmax(axis=1) != answers[:_ALONE]).sum()
        print(
            f"| `{name}` |{right} {(answers != expected).sum()} | {moved.mean():.4f} | {moved.max():.3f} | "
            f"{by_batch} | {sizes[name] / 1e6:.0f} |",
            flush=True,
        )


def print_speed(sessions: Mapping[str, OnnxSession], padding: int, rounds: int) -> None:
    """The time of each graph in that of the first one, by shape."""
    print(f"\n| texts x tokens | {' | '.join(f'`{name}`' for name in sessions)} |\n|---|{'---:|' * len(sessions)}")
    for texts, tokens in SHAPES:
        batch = full_size.batch_of([tokens] * texts, 1_000, padding)

        def turn(session: OnnxSession) -> Callable[[], list[float]]:
            def work() -> list[float]:
                start = time.perf_counter()
                session.run(batch)  # noqa: B023  # called in this round of the loop only
                return [(time.perf_counter() - start) * 1e3]

            return work

        samples = interleave({name: turn(session) for name, session in sessions.items()}, rounds=rounds)
        base = np.array(samples[next(iter(samples))])
        cells = [f"{np.median(base):.1f} ms"]
        for name in list(samples)[1:]:
            low, middle, high = np.percentile(np.array(samples[name]) / base, [25, 50, 75])
            cells.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
        print(f"| {texts} x {tokens} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Make the graphs and print both tables."""
    parser = argparse.ArgumentParser(description="INT8 of a traced graph.")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN_DIR")
    parser.add_argument("--family", choices=[*full_size.SIZES, *full_size.TRACED], default="megatron-bert")
    parser.add_argument("--outliers", type=float, default=1.0, metavar="FACTOR")
    parser.add_argument("--texts", type=int, help="of the test split; all without it")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, checkpoint = Path(name), Path(name) / "checkpoint"
        if options.run:
            checkpoint = RunDir(options.run).checkpoint
            texts = of_run(RunDir(options.run), options.texts)
        else:
            checkpoint.mkdir()
            texts = of_random(checkpoint, options.family, options.outliers)
        models = contenders(checkpoint, texts, folder)
        sizes = {name: len(m) if isinstance(m, bytes) else m.stat().st_size for name, m in models.items()}
        sessions = {name: OnnxSession(model, threads=options.threads) for name, model in models.items()}
        print_answers(sessions, sizes, texts)
        print_speed(sessions, texts.encoder.pad_token_id, options.rounds)


if __name__ == "__main__":
    main()
