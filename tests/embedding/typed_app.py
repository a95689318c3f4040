"""An application as type checkers see it: checked in their strict modes by test_typing.py, and run."""

import asyncio
import sys
from pathlib import Path

from sentopt import Classifier, Prediction
from sentopt.errors import BundleError, SentoptError


def best(prediction: Prediction) -> tuple[str, float]:
    return prediction.label, prediction.probabilities[prediction.label]


async def served(classifier: Classifier, texts: list[str]) -> list[str]:
    return [prediction.label for prediction in await classifier.apredict(texts)]


def main(bundle: Path) -> int:
    try:
        classifier = Classifier.load(bundle, threads=1, check=True, abstain_below=0.5)
    except BundleError as error:
        print(error, file=sys.stderr)
        return 1
    label, score = best(classifier("a great day"))
    print(label, f"{score:.3f}", classifier.labels)
    rows = classifier.predict_proba(["one", "two"])
    print(rows.shape, float(rows.sum()), rows.argmax(axis=1).tolist())
    for prediction in classifier.stream(iter(["one", "two"])):
        print(prediction.truncated, prediction.abstained)
    print(asyncio.run(served(classifier, ["one"])))
    try:
        classifier.predict("not a list")
    except SentoptError as error:
        print(type(error).__name__)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
