"""The table of variants. A variant is one way to compute the tuned model's logits; adding one is adding a row.

`made_by` names the stage that writes its file: `export` writes an ONNX graph from the checkpoint, `quantize` derives
one from the file of `parent`; `checkpoint` variants run the checkpoint itself and write nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Need = Literal["bf16", "cuda", "onnxruntime-cuda"]
REFERENCE = "torch"


@dataclass(frozen=True)
class QuantizeOptions:
    """Options of dynamic INT8 quantization, two of them under onnxruntime's names.

    Some weight products can stay FP32: the share `keep_first` of them, counted from the input, because an error made
    there passes through every later layer; and the last `keep_last` ones, the head, because they cost next to nothing
    and nothing after them can make up for an error.
    """

    per_channel: bool = False
    reduce_range: bool = False
    keep_first: float = 0.0
    keep_last: int = 0


@dataclass(frozen=True)
class VariantSpec:
    """One row. `ships` says whether a bundle can hold it; `needs` what the machine must have to run it."""

    name: str
    summary: str
    made_by: Literal["checkpoint", "export", "quantize"]
    backend: Literal["torch", "onnx"]
    parent: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    quantize: QuantizeOptions | None = None
    needs: tuple[Need, ...] = ()
    ships: bool = False

    @property
    def bundle_file(self) -> str:
        """Where a bundle keeps the graph: the names that optimum and transformers.js look for."""
        return "onnx/model_quantized.onnx" if self.dtype == "int8" else "onnx/model.onnx"

    @property
    def file_owner(self) -> str:
        """The variant whose folder holds the ONNX file that this one runs."""
        return self.name if self.made_by != "checkpoint" or self.backend == "torch" else str(self.parent)


VARIANTS: dict[str, VariantSpec] = {
    spec.name: spec
    for spec in (
        VariantSpec(REFERENCE, "PyTorch eager, FP32: the reference", "checkpoint", "torch"),
        VariantSpec("torch-bf16", "PyTorch eager, BF16", "checkpoint", "torch", dtype="bfloat16", needs=("bf16",)),
        VariantSpec("onnx-fp32", "ONNX, FP32, exported by Optimum", "export", "onnx", ships=True),
        VariantSpec(
            "onnx-int8",
            "ONNX, dynamic INT8, one scale per weight matrix",
            "quantize",
            "onnx",
            parent="onnx-fp32",
            dtype="int8",
            quantize=QuantizeOptions(),
            ships=True,
        ),
        VariantSpec(
            "onnx-int8-per-channel",
            "ONNX, dynamic INT8, one scale per weight column",
            "quantize",
            "onnx",
            parent="onnx-fp32",
            dtype="int8",
            quantize=QuantizeOptions(per_channel=True),
            ships=True,
        ),
        VariantSpec(
            "onnx-int8-mixed",
            "as per-channel, with the first sixth of the weight products and the head in FP32",
            "quantize",
            "onnx",
            parent="onnx-fp32",
            dtype="int8",
            quantize=QuantizeOptions(per_channel=True, keep_first=1 / 6, keep_last=2),
            ships=True,
        ),
        VariantSpec(
            "torch-cuda", "PyTorch eager on the GPU, FP32", "checkpoint", "torch", device="cuda", needs=("cuda",)
        ),
        VariantSpec(
            "torch-cuda-fp16",
            "PyTorch eager on the GPU, FP16",
            "checkpoint",
            "torch",
            device="cuda",
            dtype="float16",
            needs=("cuda",),
        ),
        VariantSpec(
            "onnx-cuda",
            "the ONNX FP32 graph on the GPU",
            "checkpoint",
            "onnx",
            parent="onnx-fp32",
            device="cuda",
            needs=("onnxruntime-cuda",),
        ),
    )
}


def runnable(have: Collection[Need], wanted: Collection[str] = ()) -> list[VariantSpec]:
    """The rows that a machine with the capabilities `have` can run, in table order.

    `wanted` restricts them; the reference and the parents of wanted rows always stay.

    Raises:
        ValueError: `wanted` names a variant that is not in the table.
    """
    unknown = sorted(set(wanted) - VARIANTS.keys())
    if unknown:
        raise ValueError(f"unknown variant {', '.join(unknown)}; known: {', '.join(VARIANTS)}")
    kept = set(wanted or VARIANTS) | {REFERENCE}
    kept |= {parent for name in kept if (parent := VARIANTS[name].parent)}
    return [spec for spec in VARIANTS.values() if spec.name in kept and set(spec.needs) <= set(have)]
