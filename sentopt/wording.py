"""Advice in errors, for whoever reads it: options for the command line, arguments for a Python program.

Messages are written for the command line, where most of them are read. Here they are reworded for callers from Python.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from sentopt.errors import SentoptError

P = ParamSpec("P")
R = TypeVar("R")

_on_command_line: ContextVar[bool] = ContextVar("on_command_line", default=False)
_REWORDED = (
    (re.compile(r"--set '([\w.]+)=([^']*)'"), r"overrides={'\1': \2}"),
    (re.compile(r"--set ([\w.]+)=([\w./\\-]*[\w/\\-])"), r"overrides={'\1': '\2'}"),
    (re.compile(r"--run-dir ([A-Z][A-Z_]+)"), r"run_dir=\1"),
    (re.compile(r"--folder ([A-Z][A-Z_]+)"), r"folder=\1"),
    (re.compile(r"--(data|model) ([A-Z][A-Z_]+)"), r"\1=\2"),
    (re.compile(r"--run-dir"), "run_dir="),
    (re.compile(r"`sentopt emulator --yes`"), "`sentopt.emulator(fetch=True)`"),
    (re.compile(r"`sentopt emulator`"), "`sentopt.emulator()`"),
    (re.compile(r"--force"), "force=True"),
    (re.compile(r"--overwrite"), "overwrite=True"),
    (re.compile(r"--(text|pair)-column"), r"\1_column="),
    (re.compile(r"(TableOptions\(encoding)=([\w-]+)\)"), r"\1='\2')"),
    (re.compile(r"--trusted-proxy\b"), "trusted_proxies="),
    (re.compile(r"--allowed-host\b"), "allowed_hosts="),
    (re.compile(r"--root-path\b"), "root_path="),
    (re.compile(r"--(data|model|output|port|host|auth|rate|bundle|processes)\b"), r"\1="),
    (re.compile(r"--set\b"), "overrides="),
)


@contextlib.contextmanager
def for_command_line() -> Iterator[None]:
    """In this context errors keep the words of the command line."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def is_for_command_line() -> bool:
    """Whether a command is what runs, and no program that goes on after it."""
    return _on_command_line.get()


def for_python(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; outside of the command line its errors name arguments, not options."""

    @functools.wraps(function)
    def reworded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except SentoptError as error:
            if not is_for_command_line() and error.args and isinstance(error.args[0], str):
                error.args = (in_python(error.args[0]), *error.args[1:])
            raise

    return reworded


def in_python(message: str) -> str:
    """A message whose options are arguments of `sentopt.train` and the like."""
    for pattern, replacement in _REWORDED:
        message = pattern.sub(replacement, message)
    return message
