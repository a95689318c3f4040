"""A bundle as one file: an archive, or a wheel that applications install and import.

Packing the same bundle gives the same bytes, whenever and wherever: entries are sorted and carry no times, owners or
modes of this machine.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import keyword
import re
import sys
import tarfile
import zipfile
from pathlib import Path

from sentopt import __version__
from sentopt.bundles import card
from sentopt.errors import InputError, OutputError
from sentopt.files import outputs
from sentopt.runtime.description import BundleDescription, read_files

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip archive can state
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # packaging.python.org, "Names and normalization"
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+(\.[a-z0-9]+)*)?")

_MODULE = '''\
"""{title}: `from {module} import classifier`, then `classifier("a text")`. It is loaded when it is first asked for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentopt import Classifier

    classifier: Classifier

__all__ = ["BUNDLE", "classifier"]

BUNDLE = Path(__file__).parent / "bundle"
_lock = threading.Lock()


def __getattr__(name: str) -> object:
    if name != "classifier":
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    from sentopt import Classifier

    with _lock:
        if "classifier" not in globals():
            globals()["classifier"] = Classifier.load(BUNDLE)
    return globals()["classifier"]
'''


def plain_name(description: BundleDescription) -> str:
    """The bundle's name as a file or folder may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", description.name).strip(".-") or "bundle"


def archive(bundle: Path, output: Path, *, overwrite: bool = False) -> Path:
    """Write the bundle as a `.tar.gz` whose only folder is called as the bundle is.

    Raises:
        OutputError: another file is at `output` and `overwrite` is false, or it is inside the bundle.
        BundleError: this is no bundle, or its files are not those that were verified.
        InputError: `output` does not end in `.tar.gz`.
    """
    if not output.name.endswith(".tar.gz"):
        raise InputError(f"an archive is a .tar.gz file, found {output.name}")
    _check_place(bundle, output)
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


def wheel(bundle: Path, folder: Path, *, name: str, version: str, overwrite: bool = False) -> Path:
    """Write a wheel of `name` into `folder`; its module has a `classifier`, and it needs sentopt's base install.

    Raises:
        OutputError: another file of that name is in `folder` and `overwrite` is false, or `folder` is in the bundle.
        BundleError: this is no bundle, or its files are not those that were verified.
        InputError: `name` or `version` cannot be that of a Python package.
    """
    module = _module_name(name)
    if not _VERSION.fullmatch(version):
        raise InputError(f"{version!r} is not a version that Python packages can have, such as 1.0 or 2.1.3rc1")
    output = folder / f"{module}-{version}-py3-none-any.whl"
    _check_place(bundle, output)
    description, files = read_files(bundle)
    about = f"{module}-{version}.dist-info"
    entries = {
        f"{module}/__init__.py": _MODULE.format(title=_title(description), module=module).encode(),
        f"{module}/py.typed": b"",
        **{f"{module}/bundle/{path}": content for path, content in files.items()},
        f"{about}/METADATA": _metadata(description, name, version).encode(),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: sentopt {__version__}\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n".encode(),
    }
    entries[f"{about}/RECORD"] = _record(entries, f"{about}/RECORD").encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archived:
        for path, content in entries.items():
            entry = zipfile.ZipInfo(path, _EARLIEST)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archived.writestr(entry, content)
    outputs.write(output, packed.getvalue(), overwrite=overwrite)
    return output


def _check_place(bundle: Path, output: Path) -> None:
    outputs.check(output, overwrite=True)  # what is there may be the same
    if output.resolve().is_relative_to(bundle.resolve()):
        raise OutputError(f"{output} is inside the bundle that is packed; name another place with --output")


def _module_name(name: str) -> str:
    module = re.sub(r"[-_.]+", "_", name).lower()
    if not _NAME.fullmatch(name) or not module.isidentifier() or keyword.iskeyword(module):
        raise InputError(f"{name!r} cannot be the name of a Python package; letters, digits, - and _ can")
    if module in sys.stdlib_module_names or module in ("sentopt", "numpy", "onnxruntime", "tokenizers"):
        raise InputError(f"a package called {name!r} would hide the module {module}; choose another name")
    return module


def _title(description: BundleDescription) -> str:
    return f"Text classifier for {', '.join(description.labels)}".replace("\\", "").replace('"', "'").replace("\n", " ")


def _metadata(description: BundleDescription, name: str, version: str) -> str:
    extra = "[openvino]" if description.engine == "openvino" else ""
    return (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {_title(description)}\n"
        f"Requires-Python: >=3.11\nRequires-Dist: sentopt{extra}>={__version__}\n"
        f"Description-Content-Type: text/markdown\n\n{card.body(description)}"
    )


def _record(entries: dict[str, bytes], itself: str) -> str:
    lines = []
    for path, content in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{itself},,", ""])
