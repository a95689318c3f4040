"""Answer a JSON array of texts with Optimum and a transformers pipeline: python predict.py BUNDLE < texts.json

Nothing of sentopt is imported. Needs: pip install transformers optimum optimum-onnx onnxruntime
"""

import json
import sys
from pathlib import Path

from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

bundle = Path(sys.argv[1])
graph = Path(json.loads((bundle / "sentopt.json").read_text(encoding="utf-8"))["model_file"])
model = ORTModelForSequenceClassification.from_pretrained(bundle, subfolder=str(graph.parent), file_name=graph.name)
classify = pipeline("text-classification", model, tokenizer=AutoTokenizer.from_pretrained(bundle), top_k=None)
# JSON may hold half a surrogate pair, which tokenizers refuse; sentopt reads it as U+FFFD.
texts = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in json.load(sys.stdin.buffer)]
answers = [
    # Best first; texts are cut at the length that the bundle's tokenizer_config.json names.
    {"label": found[0]["label"], "probabilities": {one["label"]: one["score"] for one in found}}
    for found in classify(texts, truncation=True)
]
sys.stdout.buffer.write(json.dumps(answers, ensure_ascii=False).encode())
