"""The tools that people use today, each in its ordinary way, behind the interface that sentopt's benchmarks speak.

Run as a program this is the process of one contender: `python benchmarks/peer_engines.py NAME FOLDER THREADS`, where
FOLDER is what `prepare` wrote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentopt.backends.worker import serve
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import sha256_file
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch, TextEncoder, Tokens

TASK = "text-classification"
ABOUT = "contenders.json"
STEPS_OF = {
    "optimum-fp32": ("export",),
    "optimum-int8": ("export", "optimum-int8"),
    "openvino-int8": ("export", "openvino-int8"),
    "ctranslate2-int8": ("ctranslate2-int8",),
}


def prepare(
    checkpoint: Path,
    folder: Path,
    texts: Sequence[str],
    max_length: int,
    labels: Sequence[str],
    names: Iterable[str] = STEPS_OF,
) -> dict[str, str]:
    """Write the files that the peers `names` need, as their guides show it: exported, quantized, converted.

    `texts` calibrate the static quantization of OpenVINO. What was written for the same checkpoint is not written
    again. Returned are the peers whose package is not installed, with the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "checkpoint": str(checkpoint),
        "weights": sha256_file(checkpoint / "model.safetensors"),
        "max_length": max_length,
        "labels": list(labels),
    }
    done = _done_for(about, folder)
    skipped = {}
    for name in names:
        try:
            for step in STEPS_OF.get(name, ()):
                if step not in done:
                    prepare_peer(step, checkpoint, folder, texts, max_length)
                    done.append(step)
        except ImportError as error:
            skipped[name] = f"not installed: {error.name or error}"
        (folder / ABOUT).write_text(json.dumps({**about, "steps": done}))
    return skipped


def _done_for(about: dict[str, Any], folder: Path) -> list[str]:
    """The steps that the folder records of this checkpoint."""
    path = folder / ABOUT
    recorded = json.loads(path.read_text()) if path.is_file() else {}
    steps: list[str] = recorded.pop("steps", [])
    return steps if recorded == about else []


def prepare_peer(name: str, checkpoint: Path, folder: Path, texts: Sequence[str], max_length: int) -> None:
    """One step of `prepare`, by its name."""
    if name == "export":
        _export(checkpoint, folder)
    elif name == "optimum-int8":
        _optimum_int8(folder)
    elif name == "openvino-int8":
        encoder = TextEncoder.load(checkpoint, max_length=max_length)
        _openvino_int8(folder, [encoder.pad([tokens]) for tokens in encoder.encode(list(texts))])
    else:
        _ctranslate2_int8(checkpoint, folder)


def _export(checkpoint: Path, folder: Path) -> None:
    from optimum.exporters.onnx import main_export

    main_export(str(checkpoint), output=folder / "onnx", task=TASK, opset=17, do_validation=False)


def _optimum_int8(folder: Path) -> None:
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(folder / "onnx", file_name="model.onnx").quantize(
        save_dir=folder / "optimum-int8", quantization_config=config
    )


def _openvino_int8(folder: Path, batches: Sequence[Batch]) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(folder / "onnx" / "model.onnx")
    names = [port.get_any_name() for port in model.inputs]
    feeds = [{name: getattr(batch, name) for name in names} for batch in batches]
    quantized = nncf.quantize(model, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(quantized, folder / "openvino-int8.xml")


def _ctranslate2_int8(checkpoint: Path, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(checkpoint)).convert(str(folder / "ctranslate2-int8"), quantization="int8", force=True)


class OrtPeer:
    """An onnxruntime session with the options that it has by default."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.names = [node.name for node in self.session.get_inputs()]

    def run(self, batch: Batch) -> FloatArray:
        """Logits of one batch."""
        return np.asarray(self.session.run(["logits"], {name: getattr(batch, name) for name in self.names})[0])


class OpenVinoPeer:
    """A compiled model with the latency hint."""

    def __init__(self, model: Path, threads: int) -> None:
        import openvino

        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        self.model = openvino.Core().compile_model(str(model), "CPU", settings)
        self.names = [port.get_any_name() for port in self.model.inputs]
        self.request = self.model.create_infer_request()

    def run(self, batch: Batch) -> FloatArray:
        """Logits of one batch."""
        self.request.infer({name: getattr(batch, name) for name in self.names}, share_inputs=True)
        return np.array(self.request.get_output_tensor(0).data)


class CTranslate2Peer:
    """The encoder in CTranslate2, the head in numpy, as CTranslate2's guide does it for classifiers."""

    def __init__(self, folder: Path, checkpoint: Path, threads: int) -> None:
        import ctranslate2
        from safetensors.numpy import load_file

        self.encoder = ctranslate2.Encoder(str(folder), compute_type="int8", intra_threads=threads)
        tensors = load_file(checkpoint / "model.safetensors")
        is_bert = "classifier.weight" in tensors and "bert.pooler.dense.weight" in tensors
        first = "bert.pooler.dense" if is_bert else "pre_classifier"
        self.first, self.second = (_dense(tensors, name) for name in (first, "classifier"))
        self.activation: Callable[[FloatArray], FloatArray] = np.tanh if is_bert else lambda x: np.maximum(x, 0)

    def run(self, batch: Batch) -> FloatArray:
        """Logits of one batch."""
        import ctranslate2

        lengths = batch.attention_mask.sum(axis=1).astype(np.int32)
        output = self.encoder.forward_batch(
            ctranslate2.StorageView.from_array(batch.input_ids.astype(np.int32)),
            lengths=ctranslate2.StorageView.from_array(lengths),
        )
        hidden = np.array(output.last_hidden_state)[:, 0]
        hidden = self.activation(hidden @ self.first[0] + self.first[1])
        return np.asarray(hidden @ self.second[0] + self.second[1], dtype=np.float32)


def _dense(tensors: dict[str, FloatArray], name: str) -> tuple[FloatArray, FloatArray]:
    return np.ascontiguousarray(tensors[f"{name}.weight"].T), tensors[f"{name}.bias"]


class PipelinePeer(Classifier):
    """`transformers.pipeline`, which takes texts; it cannot be given token ids."""

    def __init__(self, checkpoint: Path, encoder: TextEncoder, labels: Sequence[str]) -> None:
        from transformers import pipeline

        from sentopt.backends.torch import TorchEngine

        self.pipeline = pipeline(TASK, model=str(checkpoint), top_k=None, device="cpu")
        engine = TorchEngine(self.pipeline.model)
        if not engine.takes_type_ids:  # a random DistilBERT is given BERT's tokenizer
            self.pipeline.tokenizer.model_input_names = ["input_ids", "attention_mask"]
        super().__init__(engine, encoder, labels)

    def logits(self, texts: Sequence[str], *, batch_size: int | None = None) -> FloatArray:
        """Logarithms of the pipeline's probabilities; their softmax is the pipeline's answer."""
        found = self.pipeline(
            list(texts), batch_size=batch_size or 1, truncation=True, max_length=self.encoder.max_length
        )
        rows = [{answer["label"]: answer["score"] for answer in answers} for answers in found]
        return np.log(np.array([[row[label] for label in self.labels] for row in rows], dtype=np.float32))

    def logits_of(self, tokens: Sequence[Tokens], *, batch_size: int | None = None) -> FloatArray:
        """Not possible."""
        raise NotImplementedError


def _torch(checkpoint: Path, threads: int, dtype: str = "float32") -> Any:
    from sentopt.backends.torch import TorchEngine

    return TorchEngine.load(checkpoint, dtype=dtype, threads=threads)


def _torch_int8(checkpoint: Path, threads: int) -> Any:
    import torch

    engine = _torch(checkpoint, threads)
    engine.module = torch.ao.quantization.quantize_dynamic(engine.module, {torch.nn.Linear}, dtype=torch.qint8)
    return engine


def _torch_compile(checkpoint: Path, threads: int) -> Any:
    import torch

    engine = _torch(checkpoint, threads)
    engine.module = torch.compile(engine.module, dynamic=True)
    return engine


ENGINES: dict[str, Callable[[Path, Path, int], Any]] = {
    "torch": lambda checkpoint, folder, threads: _torch(checkpoint, threads),
    "torch-bf16": lambda checkpoint, folder, threads: _torch(checkpoint, threads, "bfloat16"),
    "torch-int8": lambda checkpoint, folder, threads: _torch_int8(checkpoint, threads),
    "torch-compile": lambda checkpoint, folder, threads: _torch_compile(checkpoint, threads),
    "optimum-fp32": lambda checkpoint, folder, threads: OrtPeer(folder / "onnx" / "model.onnx", threads),
    "optimum-int8": lambda checkpoint, folder, threads: OrtPeer(
        folder / "optimum-int8" / "model_quantized.onnx", threads
    ),
    "openvino-int8": lambda checkpoint, folder, threads: OpenVinoPeer(folder / "openvino-int8.xml", threads),
    "ctranslate2-int8": lambda checkpoint, folder, threads: CTranslate2Peer(
        folder / "ctranslate2-int8", checkpoint, threads
    ),
}
PIPELINE = "hf-pipeline"
NAMES = (PIPELINE, *ENGINES)
FILES = {
    "optimum-fp32": "onnx/model.onnx",
    "optimum-int8": "optimum-int8/model_quantized.onnx",
    "openvino-int8": "openvino-int8.bin",
    "ctranslate2-int8": "ctranslate2-int8/model.bin",
}


def open_peer(name: str, folder: Path, threads: int) -> Classifier:
    """The peer as a classifier without sentopt's workers and micro-batches."""
    about = json.loads((folder / ABOUT).read_text())
    checkpoint = Path(about["checkpoint"])
    encoder = TextEncoder.load(checkpoint, max_length=about["max_length"])
    if name == PIPELINE:
        import torch

        torch.set_num_threads(threads)
        return PipelinePeer(checkpoint, encoder, about["labels"])
    return Classifier(ENGINES[name](checkpoint, folder, threads), encoder, about["labels"])


if __name__ == "__main__":
    serve(lambda: open_peer(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
