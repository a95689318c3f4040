"""What a user of the library writes, as a strict type checker sees it. It is checked, not run."""

from pathlib import Path

import sentopt
from sentopt import Classifier, Prediction, Run, errors

texts: list[str] = ["Lovely people!", "The soup was cold."]


def tune(reviews: Path) -> Run:
    run: Run = sentopt.train(reviews, model="minilm", epochs=2, overrides={"train.seed": 7}, progress=False)
    return run.optimize(depth="full", margin=0.5)


def inspect(run: Run) -> str | None:
    for row in run.table:
        low: float | None = row.accuracy_low
        print(row.variant, row.p50_ms, low)
    passed: list[str] = [verdict.variant for verdict in run.verdicts if verdict.passed]
    accuracy: float = run.training.test.accuracy
    print(passed, accuracy, run.report.html.name, run.data.labels)
    return run.selection.variant


def answer(run: Run) -> list[str]:
    classifier: Classifier = run.classifier(check=True)
    predictions: list[Prediction] = classifier.predict(texts)
    one: Prediction = classifier(texts[0])
    return [one.label, *(prediction.label for prediction in predictions)]


def ship(run: Run) -> Path:
    try:
        address: str = run.push("me/my-sentiment", private=True)
    except errors.PublishError as error:
        print(error)
    else:
        print(address)
    packed: Path = run.pack("my-sentiment.tar.gz")
    checked = sentopt.check(run.bundle or packed)
    print(checked.golden_texts, sentopt.open("exports/quickstart").path)
    return packed
