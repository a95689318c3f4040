"""Formats of tables by file name and first bytes, and advice for files that are not tables."""

from __future__ import annotations

from pathlib import Path

from sentopt.errors import DataError

READABLE = ".csv, .tsv, .jsonl, .ndjson, .json (each also .gz), .parquet, .arrow, .feather or .xlsx"
SUFFIXES = (
    *(f"{kind}{packed}" for kind in (".csv", ".tsv", ".jsonl", ".ndjson", ".json") for packed in ("", ".gz")),
    ".parquet",
    ".arrow",
    ".feather",
    ".xlsx",
)
_KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
WRITABLE = ".csv, .tsv, .jsonl, .ndjson (each also .gz) or .parquet"
_WRITTEN = ("csv", "tsv", "jsonl", "parquet")
_BINARY = ("parquet", "arrow", "xlsx")
_UNPACK = "unpack it first, and name the table inside"
_OTHERS = {
    ".zip": _UNPACK,
    ".tar": _UNPACK,
    ".tgz": _UNPACK,
    ".bz2": _UNPACK,
    ".xz": _UNPACK,
    ".zst": _UNPACK,
    ".7z": _UNPACK,
    ".rar": _UNPACK,
    ".xls": "save it as .xlsx or .csv",
    ".xlsb": "save it as .xlsx or .csv",
    ".ods": "save it as .xlsx or .csv",
    ".pkl": "pickles can run code when they are opened; save the table as .parquet or .csv",
    ".pickle": "pickles can run code when they are opened; save the table as .parquet or .csv",
    ".txt": "a text file has no columns; if it is a table, give it the name .csv or .tsv",
    ".db": "save the table as .parquet or .csv",
    ".sqlite": "save the table as .parquet or .csv",
    ".html": "save the table as .csv",
}
_SIGNS = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or give a workbook the name .xlsx"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save it as .xlsx or .csv"),
    (b"PAR1", "a Parquet file", "give it the name .parquet"),
    (b"ARROW1", "an Arrow file", "give it the name .arrow"),
    (b"\x1f\x8b", "packed with gzip", "add .gz to its name"),
    (b"BZh", "packed with bzip2", _UNPACK),
    (b"\xfd7zXZ", "packed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK),
    (b"\x80\x04\x95", "a pickle", _OTHERS[".pkl"]),
    (b"\x80\x05\x95", "a pickle", _OTHERS[".pkl"]),
    (b"\x80\x02", "a pickle", _OTHERS[".pkl"]),
    (b"\x80\x03", "a pickle", _OTHERS[".pkl"]),
    (b"SQLite format 3", "an SQLite database", _OTHERS[".db"]),
    (b"%PDF", "a PDF", "save the table as .csv"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch the file with: git lfs pull"),
)


def reading_format(path: Path) -> str:
    """`csv`, `tsv`, `jsonl`, `json`, `parquet`, `arrow` or `xlsx`, by the file name.

    Raises:
        DataError: the suffix is not supported.
    """
    packed = path.suffix.lower() == ".gz"
    suffix = (Path(path.stem).suffix if packed else path.suffix).lower()
    kind = _KINDS.get(suffix)
    if kind is None:
        advice = _OTHERS.get(suffix if not packed or suffix != ".tar" else ".tar")
        if advice:
            raise DataError(f"{path}: {suffix} files are not read: {advice}")
        raise DataError(f"{path}: cannot tell the format from the name; expected {READABLE}")
    if packed and kind in _BINARY:
        raise DataError(f"{path}: {suffix} files are read unpacked: gunzip {path.name}")
    return kind


def table_format(path: Path) -> str:
    """The format to write: `csv`, `tsv`, `jsonl` or `parquet`, by the file name.

    Raises:
        DataError: the suffix is not supported.
    """
    packed = path.suffix.lower() == ".gz"
    kind = _KINDS.get((Path(path.stem).suffix if packed else path.suffix).lower())
    if kind not in _WRITTEN or (packed and kind in _BINARY):
        raise DataError(f"{path}: cannot tell the format from the name; expected {WRITABLE}")
    return kind


def is_table(name: str) -> bool:
    """Whether a file with this name is read as a table."""
    return name.lower().endswith((*SUFFIXES, ".xlsm"))


def is_data(name: str) -> bool:
    """Whether a file with this name may hold a table, in a supported format or not."""
    return is_table(name) or name.lower().endswith(tuple(_OTHERS))


def check_file(path: Path) -> None:
    """Check that a path is a file.

    Raises:
        DataError: the path does not exist or is a folder.
    """
    if path.is_dir():
        parts = sorted(part.name for part in path.iterdir() if is_table(part.name))
        inside = (
            f"; it holds {', '.join(parts[:3])}: name them, for example {path}/*{Path(parts[0]).suffix}"
            if parts
            else ""
        )
        raise DataError(f"{path} is a folder, expected a file{inside}")
    if path.exists() and not path.is_file():
        raise DataError(
            f"{path} is a pipe or a device, which can be read once only: write the table to a file first, with a name "
            "that says its format"
        )
    if not path.is_file():
        raise DataError(f"no such file: {path}")


def check_is_text(path: Path, head: bytes, *, packed: bool) -> None:
    """Refuse a file that is named like a text table but begins with the bytes of another format.

    Raises:
        DataError: the content has another format; the message says what to do.
    """
    for sign, what, advice in _SIGNS:
        if head.startswith(sign):
            raise DataError(f"{path} is {what}{' inside' if packed else ''}, not text: {advice}")
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(f"{path} is a web page, not a table: download the file itself")
    if not head.startswith((b"\xff\xfe", b"\xfe\xff")) and head.count(0) > 0.3 * len(head) and b"\x00\x00" in head[:64]:
        raise DataError(f"{path} is not a text file: its first bytes are binary")
