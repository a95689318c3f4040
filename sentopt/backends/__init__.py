"""Run a variant for verification and benchmarks, always in the `Classifier` that ships."""
