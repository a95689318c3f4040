"""Answer a JSON array of texts with sentopt: python predict.py BUNDLE < texts.json

Needs the base install of sentopt only: numpy, onnxruntime, tokenizers.
"""

import json
import sys

from sentopt import Classifier

classifier = Classifier.load(sys.argv[1])
answers = [
    {"label": p.label, "probabilities": p.probabilities} for p in classifier.predict(json.load(sys.stdin.buffer))
]
sys.stdout.buffer.write(json.dumps(answers, ensure_ascii=False).encode())
