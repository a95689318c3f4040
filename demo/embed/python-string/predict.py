"""Answer a JSON array of texts, or of pairs, with a graph that takes texts: python predict.py BUNDLE < texts.json

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
    facts = json.loads((bundle / "sentopt.json").read_text(encoding="utf-8"))
    texts = json.loads(sys.stdin.buffer.read())  # bytes, because the encoding of a console may be another than UTF-8
except (OSError, ValueError) as error:
    sys.exit(f"cannot answer: {error}")
labels, inputs = facts["labels"], facts.get("pair", ["texts"])
rows = [[text] if len(inputs) == 1 else text for text in texts] if isinstance(texts, list) else [[]]
if not all(isinstance(row, list) and [*map(type, row)] == [str] * len(inputs) for row in rows):
    kind = f"pairs of texts, [[{', '.join(inputs)}], ...]" if len(inputs) == 2 else "texts"
    sys.exit(f"stdin must be a JSON array of {kind}, found {texts!r:.60}")
model = bundle / "onnx" / "model_string.onnx"
if not model.is_file():
    sys.exit(f"{model} is missing: make the bundle with `sentopt export --string-input`")

options = onnxruntime.SessionOptions()
options.register_custom_ops_library(get_library_path())
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
# JSON may hold half a surrogate pair, which the graph refuses; sentopt reads it as U+FFFD.
repaired = [[text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in row] for row in rows]
# A column for each input; a graph of pairs has two, with the names of the two texts.
given = {name: np.array([row[i] for row in repaired], dtype=object) for i, name in enumerate(inputs)}
best, probabilities, *sets = session.run(None, given)
answers = [
    {"label": labels[i], "probabilities": dict(zip(labels, row.tolist(), strict=True))}
    for i, row in zip(best, probabilities, strict=True)
]
if sets:  # of a multi-label bundle: whether each text has each label, most probable ones first here
    for answer, present in zip(answers, sets[0], strict=True):
        found = [label for label, there in zip(labels, present, strict=True) if there]
        answer["labels"] = sorted(found, key=lambda label: -answer["probabilities"][label])
sys.stdout.buffer.write(json.dumps(answers, ensure_ascii=False).encode())
