import pytest

from sentopt.variants import VARIANTS, runnable


def names(have: set[str], wanted: tuple[str, ...] = ()) -> list[str]:
    return [spec.name for spec in runnable(have, wanted)]  # type: ignore[arg-type]


def test_a_plain_cpu_runs_what_needs_nothing() -> None:
    assert names(set()) == ["torch", "onnx-fp32", "onnx-int8", "onnx-int8-per-channel", "onnx-int8-mixed"]


def test_capabilities_add_rows() -> None:
    assert {"torch-bf16"} == set(names({"bf16"})) - set(names(set()))
    assert {"torch-cuda", "torch-cuda-fp16", "onnx-cuda"} == set(names({"cuda", "onnxruntime-cuda"})) - set(
        names(set())
    )


def test_wanted_rows_bring_reference_and_parents() -> None:
    assert names(set(), ("onnx-int8",)) == ["torch", "onnx-fp32", "onnx-int8"]


def test_unknown_rows_are_named() -> None:
    with pytest.raises(ValueError, match="unknown variant onnx-int9"):
        runnable(set(), ("onnx-int9",))


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=lambda spec: spec.name)
def test_rows_are_consistent(spec) -> None:  # type: ignore[no-untyped-def]
    assert (spec.made_by == "quantize") == (spec.quantize is not None)
    assert spec.parent is None or spec.parent in VARIANTS
    assert not spec.ships or (spec.backend == "onnx" and spec.device == "cpu")
