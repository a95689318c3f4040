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

bundle = Path(sys.argv[1])
labels = json.loads((bundle / "sentopt.json").read_text(encoding="utf-8"))["labels"]
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(get_library_path())
session = onnxruntime.InferenceSession(bundle / "onnx/model_string.onnx", options, providers=["CPUExecutionProvider"])

# JSON may hold half a surrogate pair, which no operator reads; sentopt reads it as U+FFFD.
texts = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in json.load(sys.stdin.buffer)]
best, rows = session.run(["label_ids", "probabilities"], {"texts": np.array(texts, dtype=object)})
answers = [
    {"label": labels[i], "probabilities": dict(zip(labels, row.tolist(), strict=True))}
    for i, row in zip(best, rows, strict=True)
]
sys.stdout.buffer.write(json.dumps(answers, ensure_ascii=False).encode())
