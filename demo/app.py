"""A Hugging Face Space of a sentopt bundle: put the bundle into `bundle/` beside this file and push the folder.

Locally: `python demo/app.py`, with the bundle of the newest run if there is no `bundle/` here.
"""

import os
from pathlib import Path

from sentopt.demo import build_page, launch
from sentopt.run_dir import latest

HERE = Path(__file__).parent


def bundle() -> Path:
    """`bundle/` beside this file, else that of the newest run."""
    local = HERE / "bundle"
    return local if local.is_dir() else latest().bundle


if __name__ == "__main__":
    # A Space is reached through the host that runs it, so it listens on all addresses there and on loopback elsewhere.
    host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    launch(build_page(bundle()), host=host, port=7860)
