from pathlib import Path

import pytest

from sentopt.runtime import cores


@pytest.fixture
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(
    ("content", "expected"),
    [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("nonsense", 16)],
)
def test_cgroup_v2_quota(tmp_path: Path, content: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert cores.available_cores(tmp_path) == expected


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("400000", 4)])
def test_cgroup_v1_quota(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cores.available_cores(tmp_path) == expected


@pytest.mark.usefixtures("sixteen_cores")
def test_no_cgroup(tmp_path: Path) -> None:
    assert cores.available_cores(tmp_path) == 16
