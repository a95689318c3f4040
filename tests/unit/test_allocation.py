"""Memory that training keeps for itself is given back afterwards."""

import platform
import subprocess
import sys

import pytest

PROBE = """
import ctypes
from sentopt.stages.allocation import reusing_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
SIZE = 200 * 2**20
def use():
    block = libc.malloc(SIZE)
    ctypes.memset(block, 1, SIZE)
    libc.free(block)

before = resident()
use()
plain = resident() - before
with reusing_freed_memory():
    use()
    kept = resident() - before
print(plain // 2**20, kept // 2**20, (resident() - before) // 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="without glibc there is nothing to set")
def test_freed_memory_is_kept_inside_and_given_back_after() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    plain, kept, after = map(int, done.stdout.split())
    assert plain < 50
    assert kept > 190
    assert after < 50
