"""The fast unit tests on other Pythons: `make test-pythons`.

Without interpreters, those of the supported versions that are on PATH. Each gets an environment below build/pythons/,
with the newest packages. PyTorch may bring gigabytes: without `--torch`, the tests that need it are skipped.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("export", "bench", "demo", "hub", "test")
WITHOUT_TORCH = ("torch", "accelerate")
FAST = ("-m", "pytest", "tests/unit", "-m", "not slow", "-q", "-n", "2", "--dist", "loadfile")


def supported() -> list[str]:
    """The versions that pyproject.toml declares, such as "3.12"."""
    return re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


def requirements(*extras: str) -> Iterator[str]:
    """What the package and its extras require, extras of the package itself written out."""
    declared = PROJECT["optional-dependencies"]
    for line in PROJECT["dependencies"] if not extras else [line for extra in extras for line in declared[extra]]:
        own = re.match(r"sentopt\[([\w,]+)\]", line)
        if own:
            yield from requirements(*own[1].split(","))
        else:
            yield line


def wanted(torch: str) -> list[str]:
    """The packages of a test environment: all, and `torch`, or those that do without PyTorch."""
    lines = dict.fromkeys([*requirements(), *requirements(*EXTRAS)])
    return [torch, *lines] if torch else [line for line in lines if re.split(r"\W", line)[0] not in WITHOUT_TORCH]


def version_of(interpreter: str) -> str:
    """The version of an interpreter. A shim on PATH may not run; what it says is the error."""
    done = subprocess.run(
        [interpreter, "-c", "import sys; print('.'.join(map(str, sys.version_info[:3])))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().partition("\n")[0] or f"ended with {done.returncode}")
    return done.stdout.strip()


def environment(interpreter: str, version: str, torch: str) -> Path:
    """An environment of `interpreter` with the tests' packages; its interpreter."""
    folder = ROOT / "build" / "pythons" / version
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():  # Debian's interpreters lack ensurepip, so pip comes from the Python that runs this
        subprocess.run([interpreter, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-warn-script-location"]
    subprocess.run([*pip, *wanted(torch)], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
    return python


def outcome(interpreter: str, torch: str) -> tuple[bool, str]:
    """Whether the tests passed, and what to say of it; a Python that cannot be used is no failure."""
    try:
        version = version_of(interpreter)
    except (OSError, RuntimeError) as error:
        return True, f"skipped: {error}"
    if version.rpartition(".")[0] not in supported():
        return True, f"skipped: Python {version} is not one of {', '.join(supported())}"
    try:
        python = environment(interpreter, version, torch)
    except subprocess.CalledProcessError as error:
        return (
            False,
            f"Python {version}: the packages cannot be installed ({error.cmd[0]} ended with {error.returncode})",
        )
    done = subprocess.run([python, *FAST], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    return done.returncode == 0, f"Python {version}: {done.stdout.strip().splitlines()[-1].strip('= ')}"


def main() -> int:
    """Test all interpreters; 1 if one failed or none could be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interpreters", nargs="*", metavar="INTERPRETER")
    parser.add_argument("--torch", default="", metavar="SPEC", help="the PyTorch to install, such as torch==2.13.0")
    options = parser.parse_args()
    names = options.interpreters or [f"python{version}" for version in supported()]
    outcomes = {name: outcome(shutil.which(name) or name, options.torch) for name in names}
    for name, (_, said) in outcomes.items():
        print(f"{name}: {said}")
    tested = [passed for passed, said in outcomes.values() if not said.startswith("skipped")]
    return 0 if tested and all(tested) else 1


if __name__ == "__main__":
    sys.exit(main())
