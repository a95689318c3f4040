"""How a variant is run for verification and benchmarks: always inside the `Classifier` that ships."""
