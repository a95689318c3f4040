"""A file that is written again keeps what a person has made of it."""

import hashlib
from pathlib import Path

import pytest

from sentopt.errors import RunDirError
from sentopt.files import atomic, edited, journal


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report in a folder that sentopt manages, written once."""
    journal.remember(tmp_path, run=True)
    path = tmp_path / "report.md"
    assert edited.write_text(path, "first") is None
    return path


def test_what_nobody_changed_is_replaced(report: Path) -> None:
    assert edited.write_text(report, "second") is None
    assert report.read_text() == "second"
    assert [p.name for p in report.parent.glob("report*")] == ["report.md"]


def test_what_somebody_changed_is_kept_under_the_next_free_name(report: Path) -> None:
    for number in (1, 2):
        report.write_text(f"mine {number}")
        kept = report.with_name(f"report-edited-{number}.md")
        assert edited.write_text(report, f"ours {number}") == kept
        assert kept.read_text() == f"mine {number}"
        assert report.read_text() == f"ours {number}"
    assert report.with_name("report-edited-1.md").read_text() == "mine 1"


def test_the_same_text_by_another_hand_is_no_change(report: Path) -> None:
    report.write_text("second")
    assert edited.write_text(report, "second") is None


def test_a_file_that_was_removed_is_written_again(report: Path) -> None:
    report.unlink()
    assert edited.write_text(report, "second") is None
    assert report.read_text() == "second"


def test_a_file_that_was_never_sentopts_is_refused(report: Path) -> None:
    other = report.with_name("notes.md")
    other.write_text("mine")
    with pytest.raises(RunDirError, match=r"notes\.md was not written by sentopt"):
        edited.write_text(other, "ours")
    assert other.read_text() == "mine"


def test_a_hash_that_was_recorded_elsewhere_counts_where_the_journal_has_none(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    journal.remember(tmp_path, run=True)
    atomic.write_text(path, "of an earlier version")
    digest = hashlib.sha256(b"of an earlier version").hexdigest()
    assert edited.write_text(path, "second", recorded=digest) is None
    path.write_text("of an earlier version")  # the journal knows better by now
    assert edited.write_text(path, "third", recorded=digest) == path.with_name("report-edited-1.md")


def test_other_facts_of_the_folder_stay(report: Path) -> None:
    edited.write_text(report.with_name("report.html"), "page")
    facts = journal.facts(report.parent)
    assert facts["run"] is True
    assert set(facts["written_sha256"]) == {"report.md", "report.html"}
    assert all(len(digests) == 1 for digests in facts["written_sha256"].values())
