"""Lean ONNX graphs, written directly from the weights of a checkpoint of a supported model family.

checkpoint -> `families` -> `Architecture` (neutral names) -> `lean.write` with a `Products` policy -> ONNX

The policy decides how matrix products are computed: FP32, FP32 with taps for calibration, or calibrated INT8.
"""
