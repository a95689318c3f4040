"""How well a bundle carries over to real texts that it was not trained on.

    SENTOPT_DATA_DIR=... python benchmarks/carry_over.py [BUNDLE]

SST-2 validation and IMDB test have two classes: the more probable of negative and positive counts as the answer. Tweets
have three. Prints a Markdown table with 95 % score intervals (Wilson 1927).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sentopt import Classifier
from sentopt.data import sources
from sentopt.data.splits import clean
from sentopt.measure.stats import wilson_interval
from sentopt.recipe import DataSection
from sentopt.run_dir import Split

SETS: tuple[tuple[str, Split, int], ...] = (("sst2", "validation", 0), ("imdb", "test", 2_000), ("tweets", "test", 0))


def main() -> None:
    """Print the table."""
    classifier = Classifier.load(sys.argv[1] if len(sys.argv) > 1 else Path("exports/quickstart/bundle"))
    print("| dataset | texts | classes | accuracy | 95 % interval |\n|---|---|---|---|---|")
    for dataset, split, limit in SETS:
        section = DataSection(dataset=dataset, duplicates="keep", test_limit=limit)
        data = clean(sources.load(section), section, seed=42)
        examples = data.splits[split]
        columns = [classifier.labels.index(label) for label in data.labels]
        answers = classifier.predict_proba([e.text for e in examples])[:, columns].argmax(axis=1)
        right = int(np.sum(answers == np.array([e.label for e in examples])))
        low, high = wilson_interval(right, len(examples), 0.95)
        interval = f"{low:.3f} to {high:.3f}"
        print(f"| {dataset} {split} | {len(examples)} | {len(columns)} | {right / len(examples):.3f} | {interval} |")


if __name__ == "__main__":
    main()
