"""A bundle as one file: a `.tar.gz` archive, or a wheel that applications install and import.

The same bundle gives the same bytes on every machine: entries are sorted and carry no times, owners or modes.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import importlib.metadata
import io
import json
import keyword
import re
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sentopt._version import __version__
from sentopt.bundles import card, vendored
from sentopt.errors import InputError, OutputError
from sentopt.files import outputs
from sentopt.runtime.description import DESCRIPTION_FILE, BundleDescription, read_files
from sentopt.runtime.names import printable

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip archive can state
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # packaging.python.org, "Names and normalization"
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+(\.[a-z0-9]+)*)?", re.ASCII)
_LONGEST_TITLE = 300

_MODULE = '''\
"""{title}: `from {module} import classifier`, then `classifier({example})`. The bundle is loaded on first use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from {package} import Classifier

    classifier: Classifier

__all__ = ["BUNDLE", "classifier"]

BUNDLE = Path(__file__).parent / "bundle"
_lock = threading.Lock()


def __getattr__(name: str) -> object:
    if name != "classifier":
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    from {package} import Classifier

    with _lock:
        if "classifier" not in globals():
            globals()["classifier"] = Classifier.load(BUNDLE)
    return globals()["classifier"]
'''


def plain_name(description: BundleDescription) -> str:
    """The name of the bundle, reduced to characters that every file system allows."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", description.name).strip(".-") or "bundle"


def archive(bundle: Path, output: Path, *, overwrite: bool = False) -> Path:
    """Write the bundle as a `.tar.gz` that holds one folder, named as the bundle.

    Raises:
        OutputError: `output` exists with other content and `overwrite` is false, or it is inside the bundle.
        BundleError: this is no bundle, or its files are not those that were verified.
        InputError: `output` does not end in `.tar.gz`.
    """
    if not output.name.endswith(".tar.gz"):
        raise InputError(f"an archive is a .tar.gz file, found {output.name}")
    _check_output(bundle, output)
    description, files = read_files(bundle)
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{plain_name(description)}/{name}")
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    outputs.write(output, packed.getvalue(), overwrite=overwrite)
    return output


def wheel(
    bundle: Path, folder: Path, *, name: str, version: str, overwrite: bool = False, self_contained: bool = False
) -> Path:
    """Write a wheel of `name` into `folder`; its module has a `classifier`.

    Args:
        bundle: the folder of the bundle.
        folder: where the wheel goes.
        name: of the Python package.
        version: of the Python package.
        overwrite: whether another file of the wheel's name is replaced.
        self_contained: whether the wheel holds sentopt's runtime, in its own package, and needs only what the runtime
            does (numpy, onnxruntime, tokenizers). Otherwise it needs sentopt, see `install_hint`.

    Raises:
        OutputError: another file of that name is in `folder` and `overwrite` is false, or `folder` is in the bundle.
        BundleError: this is no bundle, or its files are not those that were verified.
        InputError: `name` or `version` cannot be that of a Python package.
    """
    module = _module_name(name)
    if not _VERSION.fullmatch(version):
        raise InputError(f"{version!r} is not a version that Python packages can have, such as 1.0 or 2.1.3rc1")
    output = folder / f"{module}-{version}-py3-none-any.whl"
    _check_output(bundle, output)
    description, files = read_files(bundle)
    about = f"{module}-{version}.dist-info"
    package = f"{module}.{vendored.PACKAGE}" if self_contained else "sentopt"
    needs = vendored.requirements(description.engine) if self_contained else [_needed_sentopt(description)]
    entries = {
        f"{module}/__init__.py": _MODULE.format(
            title=_title(description), module=module, package=package, example=card.example(description)
        ).encode(),
        f"{module}/py.typed": b"",
        **(vendored.files(module) if self_contained else {}),
        **{f"{module}/bundle/{path}": content for path, content in files.items()},
        **({f"{about}/licenses/sentopt/LICENSE": vendored.license_text()} if self_contained else {}),
        f"{about}/METADATA": _metadata(description, name, version, needs).encode(),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: sentopt {__version__}\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n".encode(),
    }
    entries[f"{about}/RECORD"] = _record(entries, f"{about}/RECORD").encode()
    outputs.write(output, _zip(entries), overwrite=overwrite)
    return output


def _zip(entries: Mapping[str, bytes]) -> bytes:
    """A zip archive that depends on nothing but its entries."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archived:
        for path, content in entries.items():
            entry = zipfile.ZipInfo(path, _EARLIEST)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archived.writestr(entry, content)
    return packed.getvalue()


def install_hint(packed: Path) -> str:
    """What to type to use an archive or a wheel that this module wrote, on a machine that has no sentopt yet.

    Where this sentopt was not installed from a package index, pip is given the place that it came from: the requirement
    in a wheel's metadata is looked for on indexes only.
    """
    if packed.name.endswith(".tar.gz"):
        loaded = f"Classifier.load({_folder_in(packed)!r}, check=True)"
        return (
            f"pip install {_sentopt_argument('sentopt')}\ntar xzf {_quoted(packed)}\n"
            f'python -c "from sentopt import Classifier; print({loaded}({_example(packed)}))"'
        )
    module = packed.name.partition("-")[0]
    use = f'python -c "from {module} import classifier; print(classifier({_example(packed)}))"'
    requirement = _requirement_in(packed)
    source = _source_of_sentopt()
    if requirement is None or source is None:
        return f"pip install {_quoted(packed)}\n{use}"
    return (
        f"pip install {_sentopt_argument(requirement.partition('>')[0])} {_quoted(packed)}\n{use}\n"
        f"The wheel needs {requirement}, which was installed here from {source}, not from an index. Where that "
        "cannot be reached, pack a self-contained wheel: it holds the runtime and needs numpy, onnxruntime and "
        "tokenizers only."
    )


def _sentopt_argument(requirement: str) -> str:
    """`requirement` (sentopt, with extras or without) as pip finds it where it found this sentopt."""
    source = _source_of_sentopt()
    return f'"{requirement} @ {source}"' if source else f'"{requirement}"'


def _folder_in(packed: Path) -> str:
    with tarfile.open(packed) as tar:
        return str(tar.getnames()[0]).partition("/")[0]


def _example(packed: Path) -> str:
    """What the classifier in an archive or a wheel is called with, in single quotes."""
    pairs = "pair" in json.loads(_content_in(packed, DESCRIPTION_FILE))
    return "('a text', 'another text')" if pairs else "'a text'"


def _content_in(packed: Path, name: str) -> bytes:
    """A file of the bundle in an archive or a wheel."""
    if packed.name.endswith(".tar.gz"):
        with tarfile.open(packed) as tar:
            stream = tar.extractfile(next(entry for entry in tar if entry.name.endswith(f"/{name}")))
            return stream.read() if stream is not None else b""
    with zipfile.ZipFile(packed) as archived:
        return archived.read(next(path for path in archived.namelist() if path.endswith(f"/bundle/{name}")))


def _requirement_in(packed: Path) -> str | None:
    """The requirement of a wheel that names sentopt, or None."""
    with zipfile.ZipFile(packed) as archived:
        (metadata,) = (name for name in archived.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archived.read(metadata).decode().partition("\n\n")[0].splitlines()
    needs = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    return next((need for need in needs if need.startswith("sentopt")), None)


def _source_of_sentopt() -> str | None:
    """The address that this sentopt was installed from, or None where that was a package index (PEP 610)."""
    recorded = importlib.metadata.distribution("sentopt").read_text("direct_url.json")
    if recorded is None:
        return None
    origin = json.loads(recorded)
    url = str(origin["url"])
    version_control = origin.get("vcs_info")
    return f"{version_control['vcs']}+{url}@{version_control['commit_id']}" if version_control else url


def _quoted(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)


def _check_output(bundle: Path, output: Path) -> None:
    outputs.check(output, overwrite=True)  # what is there may be the same
    if output.resolve().is_relative_to(bundle.resolve()):
        raise OutputError(f"{output} is inside the bundle that is packed; choose another folder with --output")


def _module_name(name: str) -> str:
    module = re.sub(r"[-_.]+", "_", name).lower()
    if not _NAME.fullmatch(name) or not module.isidentifier() or keyword.iskeyword(module):
        raise InputError(f"{name!r} cannot be the name of a Python package; letters, digits, - and _ can")
    if module in sys.stdlib_module_names or module in ("sentopt", "numpy", "onnxruntime", "tokenizers"):
        raise InputError(f"a package called {name!r} would hide the module {module}; choose another name with --name")
    return module


def _title(description: BundleDescription) -> str:
    """One line for the metadata and for a docstring: without line breaks, quotes and backslashes."""
    title = f"Text classifier for {', '.join(description.labels)}".replace("\\", "").replace('"', "'")
    return printable(title, longest=_LONGEST_TITLE)


def _needed_sentopt(description: BundleDescription) -> str:
    return f"sentopt{'[openvino]' if description.engine == 'openvino' else ''}>={__version__}"


def _metadata(description: BundleDescription, name: str, version: str, needs: Sequence[str]) -> str:
    requirements = "".join(f"Requires-Dist: {need}\n" for need in needs)
    return (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {_title(description)}\n"
        f"Requires-Python: >=3.11\n{requirements}"
        f"Description-Content-Type: text/markdown\n\n{card.body(description)}"
    )


def _record(entries: dict[str, bytes], itself: str) -> str:
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    for path, content in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.writerow([path, f"sha256={digest}", len(content)])
    lines.writerow([itself, "", ""])
    return written.getvalue()
