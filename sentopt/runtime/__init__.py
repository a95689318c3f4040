"""The part that applications deploy. It needs numpy, onnxruntime and tokenizers, and imports only `errors` besides."""
