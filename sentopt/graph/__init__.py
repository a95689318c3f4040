"""Lean ONNX graphs, written directly from a checkpoint's weights: exact rewrites of the families that are known here.

checkpoint -> `families` -> `Architecture` (neutral names) -> `lean.write` with a `Products` policy -> ONNX

The policy decides how weight products are computed: FP32, FP32 with taps for calibration, or calibrated INT8.
"""
