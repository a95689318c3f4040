"""Memory that training keeps for itself is given back afterwards."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sentopt.measure import hardware

PROBE = """
import ctypes
from sentopt.measure import hardware
from sentopt.training.malloc import bound, reusing_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
SIZE = 200 * 2**20
def use():
    block = libc.malloc(SIZE)
    ctypes.memset(block, 1, SIZE)
    libc.free(block)

def grant(size):
    hardware.granted_memory_bytes = lambda: size

before = resident()
use()
plain = resident() - before
with reusing_freed_memory():
    use()
    kept = resident() - before
    grant(4 * 2**40)
    assert not bound()
    assert resident() - before > 190 * 2**20
    grant(4 * (before + 100 * 2**20))
    assert bound()
    assert resident() - before < 50 * 2**20
    use()
print(plain // 2**20, kept // 2**20, (resident() - before) // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="without glibc there is nothing to set")
def test_freed_memory_is_kept_inside_and_given_back_after() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    plain, kept, after = map(int, done.stdout.split())
    assert plain < 50
    assert kept > 190
    assert after < 50


def test_granted_memory_is_that_of_the_cgroup_where_it_is_less(tmp_path: Path) -> None:
    machine = hardware.granted_memory_bytes(tmp_path / "nothing")
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("1073741824\n")
    assert hardware.granted_memory_bytes(tmp_path) == 2**30
    limit.write_text("max\n")
    assert hardware.granted_memory_bytes(tmp_path) == machine > 2**30
