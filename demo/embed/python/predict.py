"""Answer a JSON array of texts, or of pairs [text, text], with sentopt: python predict.py BUNDLE < texts.json

Needs the base install of sentopt only: numpy, onnxruntime, tokenizers.
"""

import json
import sys

from sentopt import Classifier
from sentopt.errors import SentoptError

if len(sys.argv) != 2:
    sys.exit("usage: python predict.py BUNDLE < texts.json")
try:
    texts = json.loads(sys.stdin.buffer.read())  # bytes, because the encoding of a console may be another than UTF-8
    if not isinstance(texts, list):
        sys.exit(f"stdin must be a JSON array of texts, found {texts!r:.60}")
    classifier = Classifier.load(sys.argv[1])
    answers = [
        # A text of a multi-label bundle has any number of labels; elsewhere they are the one.
        {"label": p.label, "probabilities": p.probabilities, **({"labels": p.labels} if classifier.thresholds else {})}
        for p in classifier.predict(texts)
    ]
except (SentoptError, ValueError) as error:
    sys.exit(f"cannot answer: {error}")
sys.stdout.buffer.write(json.dumps(answers, ensure_ascii=False).encode())
