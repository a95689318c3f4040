"""Arrays in files, written atomically and without pickle."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentopt.files import atomic


def write(path: Path, array: npt.NDArray[Any]) -> None:
    """Replace `path` by an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    atomic.write_bytes(path, buffer.getvalue())
