"""Cores and memory that are granted: the smallest limit of all control groups that hold this process counts."""

import subprocess
import sys
from pathlib import Path

import pytest

from sentopt.measure import hardware
from sentopt.runtime import cores

OWN = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
V2 = "24 23 0:22 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = OWN + "".join(
    f"3{i} 31 0:{i} {{root}} /sys/fs/cgroup/{names} rw,relatime - cgroup cgroup rw,{names}\n"
    for i, names in enumerate(("cpuset", "cpu,cpuacct", "memory"))
)
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))


def host(root: Path, mounts: str, groups: str, **files: str) -> Path:
    """A file system below `root` whose control groups are `files`, by path; `__` stands for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max 100000", 16),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("20000 100000", 1),
        ("nonsense", 16),
        ("", 16),
    ],
)
def test_cgroup_v2_quota(tmp_path: Path, content: str, expected: int) -> None:
    host(tmp_path, V2.format(root="/"), "0::/\n", **{"cpu.max": content})
    assert cores.available_cores(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("400000", 4), ("50000", 1), ("", 16)])
def test_cgroup_v1_quota(tmp_path: Path, quota: str, expected: int) -> None:
    files = {"cpu,cpuacct__cpu.cfs_quota_us": quota, "cpu,cpuacct__cpu.cfs_period_us": "100000"}
    host(tmp_path, V1.format(root="/"), "3:cpu,cpuacct:/\n2:memory:/\n0::/\n", **files)
    assert cores.available_cores(tmp_path) == expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"kubepods__pod1__app__cpu.max": "50000 100000"}, 1),
        ({"kubepods__pod1__cpu.max": "50000 100000", "kubepods__pod1__app__cpu.max": "max 100000"}, 1),
        ({"kubepods__cpu.max": "300000 100000", "kubepods__pod1__app__cpu.max": "800000 100000"}, 3),
        ({"kubepods__cpu.max": "900000 100000", "kubepods__pod1__app__cpu.max": "800000 100000"}, 8),
        ({"kubepods__pod2__cpu.max": "50000 100000"}, 16),  # of a neighbour
        ({"cpu.max": "400000 100000"}, 4),
    ],
)
def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path, limits: dict[str, str], expected: int) -> None:
    host(tmp_path, V2.format(root="/"), "0::/kubepods/pod1/app\n", **limits)
    assert cores.available_cores(tmp_path) == expected


@pytest.mark.parametrize("mounts", [V1, HYBRID])
def test_children_of_version_1_obey_their_parents(tmp_path: Path, mounts: str) -> None:
    files = {
        "cpu,cpuacct__docker__cpu.cfs_quota_us": "150000",
        "cpu,cpuacct__docker__cpu.cfs_period_us": "100000",
        "cpu,cpuacct__docker__abc__cpu.cfs_quota_us": "-1",
        "cpu,cpuacct__docker__abc__cpu.cfs_period_us": "100000",
    }
    host(tmp_path, mounts.format(root="/"), "4:memory:/\n3:cpu,cpuacct:/docker/abc\n0::/\n", **files)
    assert cores.cgroup_quota(tmp_path) == 1.5
    assert cores.available_cores(tmp_path) == 2


def test_a_container_that_sees_its_own_group_only(tmp_path: Path) -> None:
    """Without a namespace of its own the path is the host's, and the mount's top is the container's group."""
    host(tmp_path, V2.format(root="/docker/abc"), "0::/docker/abc/inner\n", **{"inner__cpu.max": "70000 100000"})
    assert cores.cgroup_quota(tmp_path) == 0.7


@pytest.mark.parametrize("group", ["/../../elsewhere", "/docker/abc"])
def test_a_group_that_is_not_seen_leaves_the_top(tmp_path: Path, group: str) -> None:
    host(tmp_path, V2.format(root="/"), f"0::{group}\n", **{"cpu.max": "200000 100000"})
    assert cores.available_cores(tmp_path) == 2


def test_without_a_list_of_mounts_the_usual_places_count(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("200000 100000")
    assert cores.available_cores(tmp_path) == 2


def test_no_cgroup(tmp_path: Path) -> None:
    assert cores.available_cores(tmp_path) == 16


@pytest.mark.parametrize("version", [1, 2])
def test_the_smallest_memory_limit_counts(tmp_path: Path, version: int) -> None:
    machine = hardware.granted_memory_bytes(tmp_path)
    gib = 2**30
    if version == 2:
        files = {"pod__memory.max": str(gib), "pod__app__memory.max": "max"}
        host(tmp_path, V2.format(root="/"), "0::/pod/app\n", **files)
    else:
        unlimited = 2**63 - 4096
        files = {"memory__pod__memory.limit_in_bytes": str(gib), "memory__memory.limit_in_bytes": str(unlimited)}
        host(tmp_path, V1.format(root="/"), "3:memory:/pod\n", **files)
    assert hardware.granted_memory_bytes(tmp_path) == gib < machine


def test_the_cores_of_a_cpuset_count() -> None:
    """The kernel narrows the affinity of a process to its cpuset, as `taskset` does."""
    code = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nfrom sentopt.runtime import cores\n"
    code += "print(cores.available_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
