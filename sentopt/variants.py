"""The table of variants. A variant is one way to compute the fine-tuned model's logits. To add one, add a row.

`made_by` names the stage that writes a variant's file: `export` writes FP32 graphs from the checkpoint, `quantize` INT8
graphs. Variants with `made_by="nothing"` run the checkpoint itself, or the file of their `parent` in another engine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from sentopt import records

Need = Literal["bf16", "cuda", "onnxruntime-cuda", "openvino", "lean", "trimmable", "student", "long"]
"""What a variant needs. `lean` (a supported architecture) and `trimmable` (a vocabulary that can be trimmed) are
properties of the checkpoint, `student` (a distilled model of fewer layers) and `long` (texts of many tokens, attention
that is not causal) of the recipe and the checkpoint, the others of the machine."""
LONG = 192
"""Tokens of a text from which attention in tiles is worth a branch in the graph."""
REFERENCE = "torch"


@dataclass(frozen=True)
class QuantizeOptions:
    """Options of dynamic INT8 quantization.

    Some matrix products with weights can stay FP32: the first ones, as the share `keep_first`, because their errors
    pass through all later layers; and the last `keep_last` ones (the head), because they are cheap and no later layer
    can compensate for their errors.
    """

    per_channel: bool = False
    keep_first: float = 0.0
    keep_last: int = 0


@dataclass(frozen=True)
class VariantSpec:
    """One variant.

    Attributes:
        ships: whether a bundle can hold the variant.
        needs: what making and running it requires.
        quantize: options for the dynamic INT8 of a traced graph; None for INT8 that is calibrated.
        stands_in_for: the variant that this one replaces if that one is not supported. Otherwise this one is made only
            on request.
        trimmed: the vocabulary lacks rare tokens, so the variant has a tokenizer of its own. Made only on request.
        stages: "student" answers everything with the distilled student, "cascade" hands what the student is not sure of
            to the full model. Both are fitted to validation texts and to texts without labels, so these texts are no
            evidence for them. None: the model that was trained answers.
        tiled: attention is computed in tiles where nothing is padded.
        on_request: made only if a recipe names it.
        risk: rank in the fixed sequence if the validation split does not determine it; the safest variant is first.
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
    stages: Literal["student", "cascade"] | None = None
    tiled: bool = False
    on_request: bool = False
    compiled: bool = False
    ships: bool = False
    risk: int = 0

    @property
    def bundle_file(self) -> str:
        """Path of the graph in a bundle: the names that optimum and transformers.js expect."""
        return "onnx/model_quantized.onnx" if self.dtype == "int8" else "onnx/model.onnx"

    @property
    def is_calibrated_trace(self) -> bool:
        """Whether it is a traced graph whose INT8 is calibrated."""
        return self.made_by == "quantize" and self.quantize is None and "lean" not in self.needs

    @property
    def engine(self) -> str:
        """The engine that runs a bundle of this variant."""
        return "openvino" if self.backend == "openvino" else "onnxruntime"

    @property
    def file_owner(self) -> str:
        """The variant whose folder holds this variant's ONNX file."""
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
            "onnx-int8-calibrated",
            "ONNX, the traced graph, INT8 with calibrated activations and one scale per weight column",
            "quantize",
            "onnx",
            parent="onnx-fp32",
            dtype="int8",
            stands_in_for="lean-int8",
            ships=True,
            risk=4,
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
            "long-int8",
            "lean-int8 with attention in tiles where a text of 192 tokens or more is answered alone",
            "quantize",
            "onnx",
            parent="lean-fp32",
            dtype="int8",
            needs=("lean", "long"),
            tiled=True,
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
            needs=("lean", "trimmable"),
            trimmed=True,
            ships=True,
            risk=8,
        ),
        VariantSpec(
            "student-int8",
            "a distilled student of fewer layers, INT8",
            "quantize",
            "onnx",
            parent="lean-fp32",
            dtype="int8",
            needs=("lean", "student"),
            stages="student",
            ships=True,
            risk=10,
        ),
        VariantSpec(
            "cascade-int8",
            "the student, and lean-int8 for the texts that it is not sure of, in one graph",
            "quantize",
            "onnx",
            parent="lean-int8",
            dtype="int8",
            needs=("lean", "student"),
            stages="cascade",
            ships=True,
            risk=9,
        ),
        VariantSpec(
            "cascade-fp32",
            "the cascade in FP32",
            "quantize",
            "onnx",
            parent="lean-fp32",
            needs=("lean", "student"),
            stages="cascade",
            on_request=True,
            ships=True,
            risk=9,
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
    """The variants that a machine with the capabilities `have` can run, in table order.

    `wanted` restricts them; the reference and the parents of wanted variants are always included.

    Raises:
        ValueError: `wanted` names an unknown variant.
    """
    unknown = sorted(set(wanted) - VARIANTS.keys())
    if unknown:
        named = ", ".join(f"{name}{records.nearest(name, VARIANTS)}" for name in unknown)
        raise ValueError(f"unknown variant {named}; known: {', '.join(VARIANTS)}")
    possible = {name for name, spec in VARIANTS.items() if set(spec.needs) <= set(have)}
    kept = set(wanted) or {
        name
        for name in possible
        if VARIANTS[name].stands_in_for not in possible and not (VARIANTS[name].trimmed or VARIANTS[name].on_request)
    }
    pending = [REFERENCE, *kept]
    while pending:
        name = pending.pop()
        kept.add(name)
        parent = VARIANTS[name].parent
        if parent and parent not in kept:
            pending.append(parent)
    return [spec for spec in VARIANTS.values() if spec.name in kept & possible]
