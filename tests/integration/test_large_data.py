"""Rows by the hundred thousand: what stays in memory of each, from the table to the first batch of tokens."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

SCRIPT = """
import json, sys
from pathlib import Path
from sentopt import recipe
from sentopt.data import store
from sentopt.run_dir import RunDir
from sentopt.stages import prepare
from sentopt.training import checkpoints, tokenized

table, backbone, root = sys.argv[1:]
settings = {"data.dataset": "files", "data.train": table, "data.test_limit": 100, "data.validation_limit": 100}
asked, run_dir = recipe.load("quickstart", settings), RunDir(Path(root))
tokenizer = checkpoints.load_tokenizer(Path(backbone), 32)
import datasets, sklearn.model_selection
before = int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
prepare.run(asked, run_dir)
tokenized.write(run_dir.root / "tokens", tokenizer, store.read_split(run_dir, "train"))
tokens = tokenized.Tokenized.open(run_dir.root / "tokens")
tokens.texts.__getitems__([0, len(tokens.texts) - 1])
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(json.dumps([len(tokens.texts), (peak - before) * 1024]))
"""


def grown(rows: int, backbone: Path, folder: Path) -> tuple[int, int]:
    """Training texts, and bytes by which the memory of a process grew at most."""
    draw, table = random.Random(1), folder / f"{rows}.csv"
    words = [f"w{i}" for i in range(500)]
    lines = (f"{' '.join(draw.choices(words, k=draw.randint(10, 30)))},{draw.choice('ab')}\n" for _ in range(rows))
    with table.open("w") as stream:
        stream.writelines(["text,label\n", *lines])
    command = [sys.executable, "-c", SCRIPT, str(table), str(backbone), str(folder / f"run-{rows}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    texts, grew = json.loads(done.stdout)
    return texts, grew


def test_a_row_takes_less_memory_than_its_text(backbone: Path, tmp_path: Path) -> None:
    """A text has 80 bytes here, and as a Python object 130; rows, examples and tokens as objects took 3,000."""
    few, many = grown(20_000, backbone, tmp_path), grown(120_000, backbone, tmp_path)
    per_row = (many[1] - few[1]) / 100_000
    assert many[0] > 80_000
    assert per_row < 400
