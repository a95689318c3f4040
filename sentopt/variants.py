"""The table of variants. A variant is one way to compute the tuned model's logits; adding one is adding a row.

`made_by` names the stage that writes its file: `export` writes an FP32 graph from the checkpoint, `quantize` an INT8
one; variants made by nothing run the checkpoint itself, or the file of their `parent` in another engine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Need = Literal["bf16", "cuda", "onnxruntime-cuda", "openvino", "lean", "wordpiece"]
"""What a row needs: of the checkpoint `lean`, that `graph` knows its architecture, and `wordpiece`, that its vocabulary
can be trimmed; the others of the machine."""
REFERENCE = "torch"


@dataclass(frozen=True)
class QuantizeOptions:
    """Options of dynamic INT8 quantization.

    Some weight products can stay FP32: the share `keep_first` of them, counted from the input, because an error made
    there passes through every later layer; and the last `keep_last` ones, the head, because they cost next to nothing
    and nothing after them can make up for an error.
    """

    per_channel: bool = False
    keep_first: float = 0.0
    keep_last: int = 0


@dataclass(frozen=True)
class VariantSpec:
    """One row. `ships` says whether a bundle can hold it; `needs` what must be there to make and run it.

    `quantize` are the options of a traced graph's INT8; a lean graph is calibrated instead. `stands_in_for` names the
    row whose place this one takes where that one cannot be made; otherwise it is only made when asked for. So are
    `trimmed` rows, which leave rare tokens out of the vocabulary and so have a tokenizer of their own. `risk` is the
    place in the order in which variants are tested where the validation split does not decide it: the safest first.
    """

    name: str
    summary: str
    made_by: Literal["nothing", "export", "quantize"]
    backend: Literal["torch", "onnx", "openvino"]
    parent: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    quantize: QuantizeOptions | None = None
    needs: tuple[Need, ...] = ()
    stands_in_for: str | None = None
    trimmed: bool = False
    compiled: bool = False
    ships: bool = False
    risk: int = 0

    @property
    def bundle_file(self) -> str:
        """Where a bundle keeps the graph: the names that optimum and transformers.js look for."""
        return "onnx/model_quantized.onnx" if self.dtype == "int8" else "onnx/model.onnx"

    @property
    def engine(self) -> str:
        """What a bundle of this variant is run with."""
        return "openvino" if self.backend == "openvino" else "onnxruntime"

    @property
    def file_owner(self) -> str:
        """The variant whose folder holds the ONNX file that this one runs."""
        return str(self.parent) if self.made_by == "nothing" and self.parent else self.name


VARIANTS: dict[str, VariantSpec] = {
    spec.name: spec
    for spec in (
        VariantSpec(REFERENCE, "PyTorch eager, FP32: the reference", "nothing", "torch"),
        VariantSpec("torch-bf16", "PyTorch eager, BF16", "nothing", "torch", dtype="bfloat16", needs=("bf16",)),
        VariantSpec("onnx-fp32", "ONNX, FP32, the traced graph", "export", "onnx", ships=True),
        VariantSpec(
            "onnx-int8",
            "ONNX, dynamic INT8, one scale per weight matrix",
            "quantize",
            "onnx",
            parent="onnx-fp32",
            dtype="int8",
            quantize=QuantizeOptions(),
            ships=True,
            risk=7,
        ),
        VariantSpec(
            "onnx-int8-per-channel",
            "ONNX, dynamic INT8, one scale per weight column",
            "quantize",
            "onnx",
            parent="onnx-fp32",
            dtype="int8",
            quantize=QuantizeOptions(per_channel=True),
            stands_in_for="lean-int8",
            ships=True,
            risk=6,
        ),
        VariantSpec(
            "onnx-int8-mixed",
            "as per-channel, with the first sixth of the weight products and the head in FP32",
            "quantize",
            "onnx",
            parent="onnx-fp32",
            dtype="int8",
            quantize=QuantizeOptions(per_channel=True, keep_first=1 / 6, keep_last=2),
            stands_in_for="lean-int8",
            ships=True,
            risk=5,
        ),
        VariantSpec("lean-fp32", "the lean graph, FP32", "export", "onnx", needs=("lean",), ships=True),
        VariantSpec(
            "lean-int8",
            "the lean graph, INT8 with calibrated activations and one scale per weight column",
            "quantize",
            "onnx",
            parent="lean-fp32",
            dtype="int8",
            needs=("lean",),
            ships=True,
            risk=3,
        ),
        VariantSpec(
            "lean-int8-trimmed",
            "lean-int8 with the embedding rows that its training texts and common words need",
            "quantize",
            "onnx",
            parent="lean-fp32",
            dtype="int8",
            needs=("lean", "wordpiece"),
            trimmed=True,
            ships=True,
            risk=8,
        ),
        VariantSpec(
            "openvino-bf16",
            "the lean FP32 graph in OpenVINO, which computes in BF16",
            "nothing",
            "openvino",
            parent="lean-fp32",
            dtype="bfloat16",
            needs=("lean", "openvino", "bf16"),
            ships=True,
            risk=2,
        ),
        VariantSpec(
            "openvino-int8",
            "the lean INT8 graph in OpenVINO",
            "nothing",
            "openvino",
            parent="lean-int8",
            dtype="int8",
            needs=("lean", "openvino"),
            ships=True,
            risk=4,
        ),
        VariantSpec("torch-cuda", "PyTorch eager on the GPU, FP32", "nothing", "torch", device="cuda", needs=("cuda",)),
        VariantSpec(
            "torch-cuda-fp16",
            "PyTorch eager on the GPU, FP16",
            "nothing",
            "torch",
            device="cuda",
            dtype="float16",
            needs=("cuda",),
        ),
        VariantSpec(
            "torch-cuda-bf16",
            "PyTorch eager on the GPU, BF16",
            "nothing",
            "torch",
            device="cuda",
            dtype="bfloat16",
            needs=("cuda",),
        ),
        VariantSpec(
            "torch-cuda-compiled",
            "torch.compile on the GPU, FP16, a CUDA graph for each shape",
            "nothing",
            "torch",
            device="cuda",
            dtype="float16",
            needs=("cuda",),
            compiled=True,
        ),
        VariantSpec(
            "onnx-cuda",
            "the ONNX FP32 graph on the GPU",
            "nothing",
            "onnx",
            parent="onnx-fp32",
            device="cuda",
            needs=("onnxruntime-cuda",),
        ),
        VariantSpec(
            "lean-cuda",
            "the lean FP32 graph on the GPU",
            "nothing",
            "onnx",
            parent="lean-fp32",
            device="cuda",
            needs=("onnxruntime-cuda", "lean"),
        ),
    )
}


def runnable(have: Collection[Need], wanted: Collection[str] = ()) -> list[VariantSpec]:
    """The rows that a machine with the capabilities `have` can run, in table order.

    `wanted` restricts them; the reference and the files that wanted rows are made from always stay.

    Raises:
        ValueError: `wanted` names a variant that is not in the table.
    """
    unknown = sorted(set(wanted) - VARIANTS.keys())
    if unknown:
        raise ValueError(f"unknown variant {', '.join(unknown)}; known: {', '.join(VARIANTS)}")
    possible = {name for name, spec in VARIANTS.items() if set(spec.needs) <= set(have)}
    kept = set(wanted) or {
        name for name in possible if VARIANTS[name].stands_in_for not in possible and not VARIANTS[name].trimmed
    }
    pending = [REFERENCE, *kept]
    while pending:
        name = pending.pop()
        kept.add(name)
        parent = VARIANTS[name].parent
        if parent and parent not in kept:
            pending.append(parent)
    return [spec for spec in VARIANTS.values() if spec.name in kept & possible]
