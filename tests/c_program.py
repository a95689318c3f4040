"""The C example of demo/embed, compiled here against the library of the onnxruntime wheel.

The wheel has no header. Wherever a distribution puts it, it is found; ONNXRUNTIME_INCLUDE names any other folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import onnxruntime
import pytest

SOURCE = Path(__file__).parents[1] / "demo" / "embed" / "c" / "predict.c"
HEADER = "onnxruntime_c_api.h"
PLACES = (os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime")


def compiled(folder: Path) -> Path:
    """The program, in `folder`; skips the test where it cannot be compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    include = next((place for place in PLACES if place and (Path(place) / HEADER).is_file()), None)
    if include is None:
        pytest.skip(f"there is no {HEADER}: install libonnxruntime-dev, or name its folder in ONNXRUNTIME_INCLUDE")
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    if library is None:
        pytest.skip("this onnxruntime has no shared library of its own")
    (folder / "libonnxruntime.so.1").symlink_to(library)  # the name that programs are linked to
    command = [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-isystem", include]
    command += [str(SOURCE), f"-L{folder}", "-l:libonnxruntime.so.1", f"-Wl,-rpath,{folder}"]
    subprocess.run([*command, "-lm", "-o", str(folder / "predict")], check=True)
    return folder / "predict"


def operators() -> tuple[str, str]:
    """The library of string operators, and that of Python, which it wants to be loaded before; skips without them."""
    spec = importlib.util.find_spec("onnxruntime_extensions")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("onnxruntime-extensions is not installed")
    (found,) = Path(spec.submodule_search_locations[0]).glob("_extensions_pydll*.so")
    python = Path(sysconfig.get_config_var("LIBDIR") or "") / str(sysconfig.get_config_var("INSTSONAME"))
    if python.suffix == ".a" or not python.is_file():
        pytest.skip("this Python has no shared library, which the operators of the wheel are linked against")
    return str(found), str(python)


def answer(*command: str, lines: list[str], preload: str = "") -> subprocess.CompletedProcess[str]:
    """What the program answers in a console that is not UTF-8; half a surrogate pair is written as three bytes."""
    text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    environment = {**os.environ, "LD_PRELOAD": preload, "LC_ALL": "C", "LANG": "C"}
    done = subprocess.run(command, input=text, capture_output=True, env=environment, check=False, timeout=120)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())
