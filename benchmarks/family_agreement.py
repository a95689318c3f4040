"""How often INT8 gives PyTorch's label, by family: sentopt's calibrated INT8 beside the dynamic INT8 of Optimum.

    python benchmarks/family_agreement.py [FAMILY ...] [--recipe NAME] [--folder DIR]

For each family a small model (4 layers, 256 wide, random weights, MiniLM's tokenizer) is trained from scratch on the
recipe's data and exported; the figures are those of its runs, on the recipe's test split. `peers.py --family` times
these families at full size, where random weights give one label to nearly every text: that says nothing of agreement.
Small models that were trained from scratch have few of the outliers that make INT8 hard, so both kinds agree more often
here than for a large pretrained model (docs/int8.md has MPNet). Prints Markdown. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import full_size

import sentopt
from sentopt import backbones
from sentopt.results import Verdict
from sentopt.variants import REFERENCE

TOKENIZER = "minilm"
DYNAMIC, CALIBRATED = "onnx-int8", "lean-int8"
SMALL = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
SIZES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 256, "n_layers": 4, "n_heads": 4, "hidden_dim": 1024},
    "electra": {**SMALL, "embedding_size": 256},
    "gpt2": {"n_embd": 256, "n_layer": 4, "n_head": 4},
}
"""Settings of families that call them otherwise, or have more of them."""
TRAINING = {
    **{"train.learning_rate": 5e-4, "train.epochs": 4, "train.freeze_embeddings": False, "distill.layers": [0]},
    **{"export.variants": [DYNAMIC, CALIBRATED], "verify.cpu": [], "bench.rounds": 1, "bench.texts": 20},
}


def small_model(family: str, folder: Path) -> Path:
    """Make the checkpoint of a family with random weights in `folder`, if it is not there; training makes its head."""
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(backbones.resolve(TOKENIZER, ""))
        changes = {**SIZES.get(family, SMALL), "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        full_size.save(family, folder, noise=0.0, **changes)
        tokenizer.save_pretrained(folder)
    return folder


def verdicts(family: str, name: str, folder: Path) -> dict[str, Verdict]:
    """Train and export the small model of a family; the verdicts by variant."""
    checkpoint = small_model(family, folder / f"{family}-untrained")
    run = sentopt.train(recipe=name, model=checkpoint, run_dir=folder / family, overrides=TRAINING)
    return {verdict.variant: verdict for verdict in run.optimize().verdicts}


def main() -> None:
    """Print the table, a row as soon as a family is done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*", default=list(full_size.SIZES), metavar="FAMILY")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--folder", type=Path, default=Path("exports/families"))
    arguments = parser.parse_args()
    if unknown := set(arguments.families) - set(full_size.SIZES):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; the families are {', '.join(full_size.SIZES)}")
    kinds = [
        f"{what} of {variant}" for what in ("agreement", "largest change of p") for variant in (DYNAMIC, CALIBRATED)
    ]
    print(f"| family | PyTorch's accuracy | {' | '.join(kinds)} |\n|---|{'---:|' * 5}", flush=True)
    for family in arguments.families:
        found = verdicts(family, arguments.recipe, arguments.folder)
        both = [found[DYNAMIC], found[CALIBRATED]]
        changes = [verdict.max_probability_difference for verdict in both]
        figures = [found[REFERENCE].scores.accuracy, *(verdict.agreement for verdict in both)]
        cells = [*(f"{figure:.4f}" for figure in figures), *(f"{change:.3f}" for change in changes)]
        print(f"| {full_size.NAMES[family]} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
