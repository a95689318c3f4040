"""Answer a JSON array of texts, or of pairs, with Optimum: python predict.py BUNDLE < texts.json

A pipeline of transformers answers, and nothing of sentopt is imported.
Needs: pip install transformers optimum optimum-onnx onnxruntime
"""

import json
import sys
from pathlib import Path

from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, TextClassificationPipeline, pipeline


class Pipeline(TextClassificationPipeline):
    """Reads pairs whose second text may be empty."""

    def preprocess(self, inputs, **options):
        """Put a pair into a list: outside of lists, transformers takes an empty second text for none."""
        if not isinstance(inputs, dict):
            return super().preprocess(inputs, **options)
        return self.tokenizer([inputs["text"]], [inputs["text_pair"]], return_tensors="pt", **options)


if len(sys.argv) != 2:
    sys.exit("usage: python predict.py BUNDLE < texts.json")
try:
    bundle = Path(sys.argv[1])
    facts = json.loads((bundle / "sentopt.json").read_text(encoding="utf-8"))
    graph = Path(facts["model_file"])
    texts = json.loads(sys.stdin.buffer.read())  # bytes, because the encoding of a console may be another than UTF-8
except (OSError, ValueError) as error:
    sys.exit(f"cannot answer: {error}")
pair = facts.get("pair")  # the names of the two texts, if the model is given two
rows = [text if pair else [text] for text in texts] if isinstance(texts, list) else [[]]
if not all(isinstance(row, list) and [*map(type, row)] == [str] * (2 if pair else 1) for row in rows):
    kind = f"pairs of texts, [[{', '.join(pair)}], ...]" if pair else "texts"
    sys.exit(f"stdin must be a JSON array of {kind}, found {texts!r:.60}")
# JSON may hold half a surrogate pair, which tokenizers refuse; sentopt reads it as U+FFFD.
rows = [[text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in row] for row in rows]
texts = [{"text": row[0], "text_pair": row[1]} if pair else row[0] for row in rows]

model = ORTModelForSequenceClassification.from_pretrained(bundle, subfolder=str(graph.parent), file_name=graph.name)
tokenizer = AutoTokenizer.from_pretrained(bundle)
classify = pipeline("text-classification", model, tokenizer=tokenizer, top_k=None, pipeline_class=Pipeline)
thresholds = dict(zip(facts["labels"], facts.get("thresholds", []), strict=False))  # of a multi-label model
function = "sigmoid" if thresholds else "softmax"
answers = [
    # Best first; texts are cut at the length that the bundle's tokenizer_config.json names.
    {
        "label": found[0]["label"],
        "probabilities": {one["label"]: one["score"] for one in found},
        **({"labels": [o["label"] for o in found if o["score"] >= thresholds[o["label"]]]} if thresholds else {}),
    }
    for found in classify(texts, truncation=True, function_to_apply=function)
]
sys.stdout.buffer.write(json.dumps(answers, ensure_ascii=False).encode())
