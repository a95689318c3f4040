"""What sentopt meets on Windows and macOS, for processes on Linux: `SENTOPT_TEST_SYSTEM` says which one.

Python imports this file at its start where its folder is on PYTHONPATH, in child processes too. Modules of sentopt
then see the other system: its `sys.platform`, no module and no function that it lacks, no /proc. Libraries see Linux,
because those installed here are built for it. What concerns both is changed for both: files that are open cannot be
replaced on Windows, nor flushed unless they were opened for writing.
"""

import builtins
import ctypes
import errno
import io
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import types
import warnings
from importlib.abc import MetaPathFinder

SYSTEM = os.environ.get("SENTOPT_TEST_SYSTEM", "")
ROOTS = ("/proc", "/sys", "/dev/shm")
# what CPython 3.11 for Windows has in `os`
OS_OF_WINDOWS = """
DirEntry EX_OK F_OK GenericAlias Mapping MutableMapping O_APPEND O_BINARY O_CREAT O_EXCL O_NOINHERIT O_RANDOM
O_RDONLY O_RDWR O_SEQUENTIAL O_SHORT_LIVED O_TEMPORARY O_TEXT O_TRUNC O_WRONLY P_DETACH P_NOWAIT P_NOWAITO
P_OVERLAY P_WAIT PathLike R_OK SEEK_CUR SEEK_END SEEK_SET TMP_MAX W_OK X_OK abc abort access add_dll_directory
altsep chdir chmod close closerange cpu_count curdir defpath device_encoding devnull dup dup2 environ error
execl execle execlp execlpe execv execve execvp execvpe extsep fdopen fsdecode fsencode fspath fstat fsync
ftruncate get_exec_path get_handle_inheritable get_inheritable get_terminal_size getcwd getcwdb getenv getlogin
getpid getppid isatty kill linesep link listdir lseek lstat makedirs mkdir name open pardir path pathsep pipe
popen putenv read readlink remove removedirs rename renames replace rmdir scandir sep set_handle_inheritable
set_inheritable spawnl spawnle spawnv spawnve st startfile stat stat_result statvfs_result strerror
supports_bytes_environ supports_dir_fd supports_effective_ids supports_fd supports_follow_symlinks symlink sys
system terminal_size times times_result truncate umask uname_result unlink unsetenv urandom utime waitpid
waitstatus_to_exitcode walk write
"""
HIDDEN = {
    "windows": {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "spwd", "uvloop"},
    "macos": set(),
}
ABSENT = {
    "windows": {
        "os": {name for name in dir(os) if name[0] != "_"} - set(OS_OF_WINDOWS.split()),
        "signal": {name for name in dir(signal) if re.fullmatch(r"SIG(?!INT|TERM|ABRT|FPE|ILL|SEGV|_DFL|_IGN).*", name)}
        | {"alarm", "pause", "setitimer", "getitimer", "pthread_kill", "sigwait", "pthread_sigmask"},
        "socket": {"AF_UNIX", "socketpair", "SO_REUSEPORT", "send_fds", "recv_fds"},
        "time": {"tzset", "clock_gettime"},
        "sys": set(),
    },
    "macos": {"os": {"sched_getaffinity", "sched_setaffinity"}, "sys": set()},
}


class View(types.ModuleType):
    """A module as the other system has it: some names are absent, some are other."""

    def __init__(self, module, absent, changed):
        self.__dict__.update(_module=module, _absent=absent, **changed)
        super().__init__(module.__name__)

    def __getattr__(self, name):
        if name in self._absent:
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r} on this system")
        return getattr(self._module, name)

    def __setattr__(self, name, value):
        setattr(self._module, name, value)


class LikeOnWindows(socket.socket):
    """SO_REUSEADDR shares a port, as SO_REUSEPORT does here; SO_EXCLUSIVEADDRUSE is a number that Linux has not."""

    def setsockopt(self, level, option, value):
        if option == EXCLUSIVE:
            return
        super().setsockopt(level, socket.SO_REUSEPORT if option == socket.SO_REUSEADDR else option, value)


EXCLUSIVE = -5


def windows_dll(name, *args, **kwargs):
    if name is None:
        raise TypeError("bad argument type for built-in operation")  # what Windows says
    return ctypes.CDLL(name, *args, **kwargs)


def memory_status(pointer):
    pointer._obj[1] = 8 * 2**30
    return 1


class Registry(types.ModuleType):
    """`winreg` with the one key that is read."""

    HKEY_LOCAL_MACHINE = 0

    def OpenKey(self, root, path):  # noqa: N802
        if path != r"HARDWARE\DESCRIPTION\System\CentralProcessor\0":
            raise FileNotFoundError(errno.ENOENT, path)
        return io.BytesIO()

    def QueryValueEx(self, key, value):  # noqa: N802
        return ("  Processor of a test ", 1)


def sysctl(command, **options):
    """`subprocess.run` with the answers of a Mac."""
    if command[0] == "/usr/sbin/sysctl":
        said = (
            "machdep.cpu.brand_string: Apple M3\nmachdep.cpu.core_count: 8\nhw.optional.AdvSIMD: 1\n"
            "hw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_I8MM: 1\nhw.optional.arm.FEAT_BF16: 1\n"
            "hw.optional.arm.FEAT_SME: 0\n"
        )
        return subprocess.CompletedProcess(command, 0, said, "")
    return RUN(command, **options)


def in_bytes(who):
    """`resource.getrusage` with its peak in bytes, as on macOS."""
    return types.SimpleNamespace(ru_maxrss=resource.getrusage(who).ru_maxrss * 1024)


RUN = subprocess.run
CHANGED = {
    "windows": {
        "sys": {"platform": "win32"},
        "socket": {"SO_EXCLUSIVEADDRUSE": EXCLUSIVE, "socket": LikeOnWindows},
        "ctypes": {
            "CDLL": windows_dll,
            "windll": types.SimpleNamespace(
                kernel32=types.SimpleNamespace(
                    IsProcessorFeaturePresent=lambda number: int(number in (40, 41)),
                    GlobalMemoryStatusEx=memory_status,
                )
            ),
        },
        "platform": {
            "system": lambda: "Windows",
            "machine": lambda: "AMD64",
            "processor": lambda: "Intel64 Family 6",
            "libc_ver": lambda: ("", ""),
        },
        "os": {"name": "nt"},
    },
    "macos": {
        "sys": {"platform": "darwin"},
        "subprocess": {"run": sysctl},
        "resource": {"getrusage": in_bytes},
        "platform": {
            "system": lambda: "Darwin",
            "machine": lambda: "arm64",
            "processor": lambda: "arm",
            "libc_ver": lambda: ("", ""),
        },
    },
}


def of_sentopt(names):
    package = names.get("__package__") or names.get("__name__") or ""
    return package.partition(".")[0] == "sentopt"


def import_as_elsewhere(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and globals and of_sentopt(globals):
        if name.partition(".")[0] in HIDDEN[SYSTEM]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in VIEWS:
            return VIEWS[name]
    return IMPORT(name, globals, locals, fromlist, level)


def open_as_elsewhere(file, mode="r", buffering=-1, encoding=None, *args, **kwargs):
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith(("pathlib", "io")):
        frame = frame.f_back
    if frame and of_sentopt(frame.f_globals):
        if isinstance(file, (str, os.PathLike)) and os.fspath(file).startswith(ROOTS):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(file))
        if "b" not in mode and encoding in (None, "locale"):
            raise EncodingWarning(f"{file} would be read in the code page of whoever runs this")
    return OPEN(file, mode, buffering, encoding, *args, **kwargs)


def in_use(path):
    """Whether this process has the file at `path`, or one below it, open or mapped."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    path = os.path.realpath(os.fspath(path))
    held = {os.path.realpath(f"/proc/self/fd/{descriptor}") for descriptor in os.listdir("/proc/self/fd")}
    with OPEN("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        held |= {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if line.count("/")}
    return any(name == path or name.startswith(f"{path}/") for name in held)


def refused_while_open(call):
    def guarded(*args, **kwargs):
        own = (
            sys._getframe(1).f_globals.get("__name__") == "tempfile"
        )  # which on Windows has the system remove its files
        for path in args[:2]:
            if not own and in_use(path):
                raise PermissionError(errno.EACCES, "The process cannot access the file, it is being used", str(path))
        if call.__name__ in ("rename", "replace") and os.path.isdir(args[1]):
            raise PermissionError(errno.EACCES, "Access is denied", str(args[1]))
        if call.__name__ == "rename" and os.path.lexists(args[1]):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(args[1]))
        return call(*args, **kwargs)

    return guarded


def fsync(descriptor):
    os.write(descriptor if isinstance(descriptor, int) else descriptor.fileno(), b"")  # EBADF if it is for reading only
    FSYNC(descriptor)


def open_file(path, flags, *args, **kwargs):
    if os.path.isdir(path) and kwargs.get("dir_fd") is None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return OS_OPEN(path, flags, *args, **kwargs)


class NoUvloop(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "uvloop":
            raise ModuleNotFoundError("No module named 'uvloop'", name=name)


if SYSTEM:
    IMPORT, OPEN, FSYNC, OS_OPEN = builtins.__import__, io.open, os.fsync, os.open
    VIEWS = {
        name: View(IMPORT(name), ABSENT[SYSTEM].get(name, set()), CHANGED[SYSTEM].get(name, {}))
        for name in {*ABSENT[SYSTEM], *CHANGED[SYSTEM]}
    }
    builtins.__import__ = import_as_elsewhere
    builtins.open = io.open = open_as_elsewhere
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"sentopt(\..*)?$")
if SYSTEM == "windows":
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(encoding="cp1252")  # pipes have the code page of the machine
    VIEWS["winreg"] = Registry("winreg")
    sys.meta_path.insert(0, NoUvloop())
    os.fsync, os.open = fsync, open_file
    shutil._use_fd_functions = False
    for name in ("rename", "replace", "unlink", "remove", "rmdir"):
        setattr(os, name, refused_while_open(getattr(os, name)))
