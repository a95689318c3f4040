"""Answer a JSON array of texts with the graph that takes texts: python predict.py BUNDLE < texts.json

The bundle is made by `sentopt export --string-input`. Needs neither sentopt nor a tokenizer:
pip install numpy onnxruntime onnxruntime-extensions
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime_extensions import get_library_path

if len(sys.argv) != 2:
    sys.exit("usage: python predict.py BUNDLE < texts.json")
try:
    bundle = Path(sys.argv[1])
    labels = json.loads((bundle / "sentopt.json").read_text(encoding="utf-8"))["labels"]
    texts = json.loads(sys.stdin.buffer.read())  # bytes, because the encoding of a console may be another than UTF-8
except (OSError, ValueError) as error:
    sys.exit(f"cannot answer: {error}")
if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
    sys.exit(f"stdin must be a JSON array of texts, found {texts!r:.60}")
model = bundle / "onnx" / "model_string.onnx"
if not model.is_file():
    sys.exit(f"{model} is missing: make the bundle with `sentopt export --string-input`")

options = onnxruntime.SessionOptions()
options.register_custom_ops_library(get_library_path())
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
# JSON may hold half a surrogate pair, which the graph refuses; sentopt reads it as U+FFFD.
repaired = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
best, rows = session.run(["label_ids", "probabilities"], {"texts": np.array(repaired, dtype=object)})
answers = [
    {"label": labels[i], "probabilities": dict(zip(labels, row.tolist(), strict=True))}
    for i, row in zip(best, rows, strict=True)
]
sys.stdout.buffer.write(json.dumps(answers, ensure_ascii=False).encode())
