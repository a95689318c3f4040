"""A Hugging Face Space of a sentopt bundle: put the bundle into `bundle/` beside this file and push the folder.

Locally: `python demo/app.py`, with the bundle of the newest run if there is no `bundle/` here.
"""

import os
from pathlib import Path

from sentopt.demo.limits import Limits
from sentopt.demo.server import serve
from sentopt.demo.settings import Settings
from sentopt.run_dir import latest

HERE = Path(__file__).parent
# A Space is reached through its host, which shows it in a frame, and all visitors come from that host's addresses.
IN_A_SPACE = {"host": "0.0.0.0", "framed_by": "https://huggingface.co", "limits": Limits(client_rate=500.0)}


def bundle() -> Path:
    """`bundle/` beside this file, else that of the newest run."""
    local = HERE / "bundle"
    return local if local.is_dir() else latest(with_bundle=True).bundle


if __name__ == "__main__":
    serve(bundle(), Settings(port=7860, **(IN_A_SPACE if os.environ.get("SPACE_ID") else {})), say=print)
