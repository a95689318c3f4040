import pytest

from sentopt.variants import VARIANTS, Need, runnable

STAND_INS = ["onnx-int8-per-channel", "onnx-int8-calibrated", "onnx-int8-mixed"]


def names(have: set[str], wanted: tuple[str, ...] = ()) -> list[str]:
    return [spec.name for spec in runnable(have, wanted)]  # type: ignore[arg-type]


def test_a_plain_cpu_runs_what_needs_nothing() -> None:
    assert names(set()) == ["torch", "onnx-fp32", "onnx-int8", *STAND_INS]


def test_lean_rows_take_the_place_of_those_that_stand_in_for_them() -> None:
    assert names({"lean"}) == ["torch", "onnx-fp32", "onnx-int8", "lean-fp32", "lean-int8"]
    assert all(name in names({"lean"}, (name,)) for name in STAND_INS)


def test_lean_rows_are_left_out_where_the_architecture_is_unknown_even_if_wanted() -> None:
    assert names(set(), ("lean-int8", "onnx-fp32")) == ["torch", "onnx-fp32"]


def test_trimmed_rows_are_only_made_when_asked_for() -> None:
    assert "lean-int8-trimmed" not in names({"lean", "trimmable"})
    assert names({"lean", "trimmable"}, ("lean-int8-trimmed",)) == ["torch", "lean-fp32", "lean-int8-trimmed"]
    assert names({"lean"}, ("lean-int8-trimmed",)) == ["torch", "lean-fp32"]


def test_openvino_runs_lean_graphs_only() -> None:
    assert names({"openvino"}) == names(set())
    assert set(names({"lean", "openvino"})) - set(names({"lean"})) == {"openvino-int8"}
    assert set(names({"lean", "openvino", "bf16"})) - set(names({"lean", "bf16"})) == {"openvino-bf16", "openvino-int8"}


def test_capabilities_add_rows() -> None:
    assert {"torch-bf16"} == set(names({"bf16"})) - set(names(set()))
    on_torch = {"torch-cuda", "torch-cuda-fp16", "torch-cuda-bf16", "torch-cuda-compiled"}
    assert set(names({"cuda"})) - set(names(set())) == on_torch
    assert set(names({"cuda", "onnxruntime-cuda"})) - set(names({"cuda"})) == {"onnx-cuda"}
    with_lean: set[Need] = {"cuda", "lean"}
    assert set(names({*with_lean, "onnxruntime-cuda"})) - set(names(with_lean)) == {"onnx-cuda", "lean-cuda"}


def test_wanted_rows_bring_reference_and_parents() -> None:
    assert names(set(), ("onnx-int8",)) == ["torch", "onnx-fp32", "onnx-int8"]
    assert names({"lean", "openvino"}, ("openvino-int8",)) == ["torch", "lean-fp32", "lean-int8", "openvino-int8"]


def test_unknown_rows_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown variant onnx-int9 \(did you mean 'onnx-int8'\?\)"):
        runnable(set(), ("onnx-int9",))


def test_calibrated_int8_is_tested_before_dynamic_int8() -> None:
    dynamic = [spec.risk for spec in VARIANTS.values() if spec.quantize]
    assert VARIANTS["lean-int8"].risk < VARIANTS["onnx-int8-calibrated"].risk < min(dynamic)


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=lambda spec: spec.name)
def test_rows_are_consistent(spec) -> None:  # type: ignore[no-untyped-def]
    is_lean = "lean" in spec.needs
    is_dynamic = spec.made_by == "quantize" and not is_lean and not spec.is_calibrated_trace
    assert (spec.quantize is not None) == is_dynamic
    assert spec.is_calibrated_trace == (spec.name == "onnx-int8-calibrated")
    assert spec.parent is None or spec.parent in VARIANTS
    assert spec.parent is None or ("lean" in VARIANTS[spec.parent].needs) == is_lean
    assert spec.stands_in_for is None or "lean" in VARIANTS[spec.stands_in_for].needs
    assert VARIANTS[spec.file_owner].made_by != "nothing" or spec.backend == "torch"
    assert not spec.ships or (spec.backend in ("onnx", "openvino") and spec.device == "cpu")
