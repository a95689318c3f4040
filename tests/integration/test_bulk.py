"""Bulk scoring: many files into a folder, in units that are finished one by one, whoever scores them."""

import contextlib
import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

import sentopt
from sentopt import Classifier, cli
from sentopt.bulk import places
from sentopt.bulk.reading import Reader
from sentopt.bulk.score_files import BulkSummary
from sentopt.data import tables
from sentopt.errors import BundleError, DataError, InputError, OutputError

WORDS = ("great", "terrible", "the", "shop", "opened", "again", "nothing", "new", "to", "say", "about", "it")


def texts(count: int, seed: int = 4) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(1, 12))) for _ in range(count)]


def a_parquet_file(path: Path, rows: list[Any], *, group: int = 100, **columns: list[Any]) -> Path:
    table = pa.table({"id": list(range(len(rows))), "text": rows, **columns})
    pq.write_table(table, path, row_group_size=group)
    return path


def a_csv_file(path: Path, rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("id", "text"), *enumerate(rows)])
    return path


def a_json_file(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps({'text': text, 'id': i})}\n" for i, text in enumerate(rows)), "utf-8")
    return path


@pytest.fixture
def scored(int8_bundle: Path, tmp_path: Path) -> Callable[..., BulkSummary]:
    """Score files of the test's folder into `scored`, 100 rows a unit, without bars."""

    def score(*inputs: Path | str, output: str = "scored", **options: Any) -> BulkSummary:
        settings = {"unit_rows": 100, "progress": False, "threads": 1, **options}
        return sentopt.score_files(int8_bundle, inputs, tmp_path / output, **settings)

    score.bundle = int8_bundle  # type: ignore[attr-defined]
    return score


def output_of(folder: Path) -> dict[str, bytes]:
    """The scored files, by name; not what killed processes left."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def bundle_of(score: Callable[..., BulkSummary]) -> Path:
    """The bundle that the fixture scores with."""
    found: Path = score.bundle  # type: ignore[attr-defined]
    return found


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [dict(row) for path in sorted(folder.iterdir()) if path.is_file() for row in tables.read_rows(path)]


@pytest.mark.parametrize("make", [a_parquet_file, a_csv_file, a_json_file])
def test_every_row_gets_the_answer_that_the_classifier_gives_it(
    make: Callable[[Path, list[str]], Path], scored: Callable[..., BulkSummary], int8_bundle: Path, tmp_path: Path
) -> None:
    many = texts(350)
    suffix = {a_parquet_file: "parquet", a_csv_file: "csv", a_json_file: "jsonl"}[make]
    summary = scored(make(tmp_path / f"reviews.{suffix}", many))
    assert (summary.units, summary.finished_before, summary.scored_rows) == (4, 0, 350)
    rows = rows_of(tmp_path / "scored")
    assert [int(row["id"]) for row in rows] == list(range(350))
    assert [row["text"] for row in rows] == many
    answers = Classifier.load(int8_bundle, threads=1).predict(many)
    assert [row["label"] for row in rows] == [answer.label for answer in answers]
    assert [float(row["score"]) for row in rows] == pytest.approx([answer.score for answer in answers], abs=1e-6)
    assert float(rows[0]["p_positive"]) == pytest.approx(answers[0].probabilities["positive"], abs=1e-6)
    assert summary.total.rows == sum(summary.total.labels.values()) == 350


def test_rows_without_a_text_get_no_answer_and_are_counted(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    summary = scored(
        a_parquet_file(tmp_path / "a.parquet", ["great", None, "   ", "terrible"]),
        a_json_file(tmp_path / "b.jsonl", ["great", ["a", "list"], {"an": "object"}, None, 12]),
    )
    total = summary.total
    assert (total.rows, total.empty, total.unreadable) == (9, 3, 2)
    labels = [row["label"] for row in rows_of(tmp_path / "scored")]
    assert [label is None for label in labels] == [False, True, True, False, False, True, True, True, False]


def test_other_columns_pass_through_with_their_types(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    """And names that are taken give way to answers with another name."""
    source = a_parquet_file(tmp_path / "a.parquet", texts(30), label=[1.5] * 30, tags=[["x", "y"]] * 30)
    scored(source)
    (path,) = (tmp_path / "scored").glob("*.parquet")
    schema = pq.read_schema(path)
    assert schema.names[:5] == ["id", "text", "label", "tags", "predicted_label"]
    assert schema.field("tags").type == pq.read_schema(source).field("tags").type
    assert schema.field("label").type == pa.float64()


def test_a_late_key_of_json_lines_is_never_overwritten(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    """All units of a file name the answers alike, whichever of their rows has such a key."""
    path = tmp_path / "a.jsonl"
    lines = [{"text": "great"}] * 249 + [{"text": "great", "label": 7}]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    scored(path)
    rows = rows_of(tmp_path / "scored")
    assert rows[249]["label"] == 7
    assert all(set(row) >= {"predicted_label", "predicted_score"} for row in rows)


def test_what_is_finished_is_left_alone_and_new_files_are_added(
    scored: Callable[..., BulkSummary], tmp_path: Path
) -> None:
    first = a_csv_file(tmp_path / "first.csv", texts(250))
    scored(first)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "scored").iterdir() if path.is_file()}
    again = scored(first)
    assert (again.finished_before, again.scored_rows, again.total.rows) == (3, 0, 250)
    both = scored(first, a_csv_file(tmp_path / "second.csv", texts(80, seed=5)))
    assert (both.finished_before, both.scored_rows, both.total.rows) == (3, 80, 330)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_lost_or_cut_output_is_made_again(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    source = a_csv_file(tmp_path / "a.csv", texts(250))
    scored(source)
    whole = output_of(tmp_path / "scored")
    one, two, _ = sorted(whole)
    (tmp_path / "scored" / one).unlink()
    (tmp_path / "scored" / two).write_bytes(whole[two][:50])
    assert scored(source).scored_rows == 200
    assert output_of(tmp_path / "scored") == whole


def test_leftovers_of_the_killed_go_after_a_day(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    """And nothing else: a younger one may be written just now."""
    source = a_csv_file(tmp_path / "a.csv", texts(50))
    scored(source)
    (name,) = output_of(tmp_path / "scored")
    old, young = (tmp_path / "scored" / f".tmp-{name}-{digit * 12}" for digit in "ab")
    mine = tmp_path / "scored" / f".tmp-{name}-backup"
    for path in (old, young, mine):
        path.write_text("x")
        os.utime(path, (time.time() - (0 if path == young else 100_000),) * 2)
    scored(source)
    assert [path.exists() for path in (old, young, mine)] == [False, True, True]


def test_shards_are_parts_of_the_whole(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    sources = [
        a_csv_file(tmp_path / "a.csv", texts(420)),
        a_parquet_file(tmp_path / "b.parquet", texts(330)),
        a_json_file(tmp_path / "c.jsonl", texts(90)),
    ]
    scored(*sources, output="alone")
    parts = [scored(*sources, output="shared", shard=f"{i}/3") for i in (2, 3, 1)]
    assert sum(part.scored_rows for part in parts) == 840
    assert parts[0].open_units > 0
    assert parts[2].open_units == 0
    assert output_of(tmp_path / "shared") == output_of(tmp_path / "alone")


def test_a_file_that_comes_later_changes_nothing_about_the_shards(
    scored: Callable[..., BulkSummary], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in "bcde":
        a_csv_file(tmp_path / "in" / f"{name}.csv", texts(250))
    scored(tmp_path / "in", shard="1/2")
    a_csv_file(tmp_path / "in" / "a.csv", texts(250))
    second = scored(tmp_path / "in", shard="2/2")
    first = scored(tmp_path / "in", shard="1/2")
    assert first.finished_before > 0
    assert (first.open_units, len(rows_of(tmp_path / "scored"))) == (0, 1250)
    assert second.open_units > 0, "those of the new file that are the first shard's"


def test_small_row_groups_are_put_together_and_large_ones_stay_whole(
    scored: Callable[..., BulkSummary], tmp_path: Path
) -> None:
    a_parquet_file(tmp_path / "small.parquet", texts(230), group=30)
    a_parquet_file(tmp_path / "large.parquet", texts(400), group=300)
    scored(tmp_path / "*.parquet")
    sizes = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "scored").glob("*.parquet"))]
    assert sizes == [300, 100, 120, 110]


def test_folders_and_patterns_name_tables_below_them(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "_hidden").mkdir()
    a_csv_file(tmp_path / "in" / "a.csv", texts(3))
    a_csv_file(tmp_path / "in" / "deep" / "a.csv", texts(4))
    a_csv_file(tmp_path / "in" / "_hidden" / "a.csv", texts(5))
    (tmp_path / "in" / "read me.txt").write_text("not a table")
    assert scored(tmp_path / "in").total.rows == 7
    assert scored(tmp_path / "in", tmp_path / "in" / "*.csv", output="twice").total.rows == 7, "each file once"


def test_an_output_folder_among_the_inputs_is_no_input(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    a_csv_file(tmp_path / "a.csv", texts(30))
    assert scored(tmp_path).total.rows == 30
    again = scored(tmp_path)
    assert (again.total.rows, again.scored_rows) == (30, 0)


@pytest.mark.parametrize("output", ["in/deep/../out", "link/out", "{}/in/out"])
def test_however_the_output_is_spelled_it_is_no_input(
    output: str, scored: Callable[..., BulkSummary], tmp_path: Path
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    a_csv_file(tmp_path / "in" / "a.csv", texts(30))
    named = output.format(tmp_path.as_uri())
    for _ in range(2):
        if "://" in named:
            summary = sentopt.score_files(bundle_of(scored), tmp_path / "in", named, unit_rows=100, progress=False)
        else:
            summary = scored(tmp_path / "in", output=named)
        assert summary.total.rows == 30
    another = scored(tmp_path / "in", output="elsewhere")
    assert another.total.rows == 30, "nor is the output of another job"


def test_one_file_has_one_place(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    source = a_csv_file(tmp_path / "a.csv", texts(30))
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "deep").mkdir()
    assert scored(source, tmp_path / "link.csv", tmp_path / "deep" / ".." / "a.csv", source.as_uri()).total.rows == 30


def test_files_without_rows_have_an_output_with_their_columns(
    scored: Callable[..., BulkSummary], tmp_path: Path
) -> None:
    a_csv_file(tmp_path / "a.csv", [])
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "b.parquet")
    (tmp_path / "c.jsonl").write_text("")
    assert scored(tmp_path / "*.csv", tmp_path / "*.parquet", tmp_path / "*.jsonl").total.rows == 0
    (table,) = (tmp_path / "scored").glob("b-*.parquet")
    assert pq.read_schema(table).names[:2] == ["text", "label"]
    (lines,) = (tmp_path / "scored").glob("a-*.csv")
    assert lines.read_text().startswith("id,text,label,")


def test_dictionaries_in_structs_are_read(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    words = pa.array(["great", "terrible"] * 60).dictionary_encode()
    pq.write_table(
        pa.table({"data": pa.StructArray.from_arrays([words], ["text"])}), tmp_path / "a.parquet", row_group_size=40
    )
    assert scored(tmp_path / "a.parquet", text_column="data.text").total.rows == 120


def test_text_files_are_read_once_for_all_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentopt.bulk import inputs, units
    from sentopt.data.options import TableOptions

    (source,) = inputs.found([str(a_csv_file(tmp_path / "a.csv", texts(500)))])
    found = units.of(source, ["text"], TableOptions(), 100, lambda notice: None)
    opened = []
    read = tables.read_numbered
    monkeypatch.setattr(tables, "read_numbered", lambda *a, **k: opened.append(1) or read(*a, **k))
    reader = Reader(["text"], TableOptions())
    got = [text for unit in found[::2] for window in reader.windows(unit) for text in window.texts]
    assert len(opened) == 1, "units that are left out are skipped"
    assert got == [text for i, text in enumerate(texts(500)) if i // 100 % 2 == 0]
    assert [len(window.texts) for window in reader.windows(found[0])] == [100], "and it can go back"
    assert len(opened) == 2


# What is refused


def test_a_folder_belongs_to_one_bundle_with_one_set_of_options(
    scored: Callable[..., BulkSummary], fp32_bundle: Path, tmp_path: Path
) -> None:
    source = a_csv_file(tmp_path / "a.csv", texts(30))
    scored(source)
    with pytest.raises(OutputError, match=r"belongs to a job with the abstain below 0\.0, and not 0\.9"):
        scored(source, abstain_below=0.9)
    with pytest.raises(OutputError, match="belongs to a job with another bundle"):
        sentopt.score_files(fp32_bundle, source, tmp_path / "scored", unit_rows=100, progress=False)
    a_csv_file(source, texts(31))
    with pytest.raises(OutputError, match="has changed since"):
        scored(source)


def test_a_slip_does_not_spoil_a_folder(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    source = a_csv_file(tmp_path / "a.csv", texts(30))
    with pytest.raises(DataError, match=r"no column 'txt' \(did you mean 'text'\?\)"):
        scored(source, text_column="txt")
    assert scored(source).scored_rows == 30


def test_nothing_of_others_is_mixed_with_the_output(scored: Callable[..., BulkSummary], tmp_path: Path) -> None:
    (tmp_path / "scored").mkdir()
    (tmp_path / "scored" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds other files \(mine.txt\)"):
        scored(a_csv_file(tmp_path / "a.csv", texts(3)))
    with pytest.raises(OutputError, match="is a file, expected the folder of a job"):
        scored(tmp_path / "a.csv", output="a.csv")
    assert [path.name for path in (tmp_path / "scored").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("inputs", "options", "kind", "message"),
    [
        (["missing.csv"], {}, DataError, "no such file"),
        (["x*.csv"], {}, DataError, "no file matches"),
        (["empty"], {}, DataError, "has no table in it"),
        (["a.xlsx"], {}, DataError, "cannot be scored in units"),
        ([], {}, DataError, "nothing to score"),
        (["a.csv"], {"shard": "2"}, InputError, "expected I/N"),
        (["a.csv"], {"shard": "3/2"}, InputError, "shard must be from 1 to 2"),
        (["a.csv"], {"engine": "flink"}, InputError, "expected one of local, ray, spark"),
        (["a.csv"], {"unit_rows": 0}, InputError, "unit_rows"),
        (["a.csv"], {"abstain_below": 2}, InputError, "abstain_below"),
        (["nowhere://a/b.parquet"], {}, DataError, "cannot be opened"),
    ],
)
def test_what_cannot_be_scored_is_explained(
    inputs: list[str],
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
    scored: Callable[..., BulkSummary],
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.xlsx").write_bytes(b"x")
    a_csv_file(tmp_path / "a.csv", texts(3))
    named = [one if "://" in one else str(tmp_path / one) for one in inputs]
    with pytest.raises(kind, match=message):
        scored(*named, **options)


def test_a_damaged_file_does_not_keep_the_others_from_being_scored(
    scored: Callable[..., BulkSummary], tmp_path: Path
) -> None:
    good = a_csv_file(tmp_path / "good.csv", texts(250))
    bad = a_parquet_file(tmp_path / "bad.parquet", texts(300))
    content = bytearray(bad.read_bytes())
    content[200:1500] = bytes(1300)  # in its first row group; the footer is intact
    bad.write_bytes(content)
    (tmp_path / "line.jsonl").write_text('{"text": "great"}\n{"text": \n')
    with pytest.raises(
        DataError, match=r"(?s)2 file.s. or parts .* All others are finished.*line 2: not JSON.*bad.parquet"
    ):
        scored(tmp_path / "line.jsonl", bad, good)
    assert sum(row["label"] is not None for row in rows_of(tmp_path / "scored")) == 450


def test_a_bundle_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = a_csv_file(tmp_path / "a.csv", texts(3))
    with pytest.raises(BundleError):
        sentopt.score_files(tmp_path / "nothing", source, tmp_path / "scored")
    assert not (tmp_path / "scored").exists()


# The command


def test_the_verb_scores_continues_and_tells(
    int8_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = a_csv_file(tmp_path / "a.csv", [*texts(40), " "])
    command = ["score", str(source), "--bundle", str(int8_bundle), "--output", str(tmp_path / "scored")]
    assert cli.main(command) == 0
    assert "41 rows scored in" in (told := capsys.readouterr().out)
    assert "1 row(s) had no text and got no answer" in told
    assert cli.main(command) == 0
    assert f"nothing was left to score: {tmp_path / 'scored'}" in capsys.readouterr().out
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["rows"] == 41
    assert cli.main([*command, "--text-column", "id"]) == 1
    assert "the text column 'text', and not 'id'" in capsys.readouterr().err


# Elsewhere


def test_files_and_output_may_be_in_an_object_store(
    scored: Callable[..., BulkSummary], int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder stands in for one, behind the same file systems of pyarrow."""

    def of_bucket(place: str) -> tuple[Any, str]:
        scheme, _, path = place.partition("://")
        assert scheme == "store"
        return SubTreeFileSystem(str(tmp_path), LocalFileSystem()), unquote(path)

    monkeypatch.setattr(places, "filesystem", of_bucket)
    (tmp_path / "in").mkdir()
    scored(a_parquet_file(tmp_path / "in" / "in put.parquet", texts(230)))
    options: dict[str, Any] = {"unit_rows": 100, "threads": 1, "progress": False}
    there = "store://there"
    for inputs in ("store://in/in put.parquet", "store://in", "store://in/i*.parquet"):
        summary = sentopt.score_files(int8_bundle, inputs, there, **options)
        assert summary.total.rows == 230
    assert summary.finished_before == 3
    here, away = (list(dict(sorted(output_of(tmp_path / name).items())).values()) for name in ("scored", "there"))
    assert away == here
    a_csv_file(tmp_path / "in" / "a.csv", texts(3))
    with pytest.raises(DataError, match="read as Parquet alone"):
        sentopt.score_files(int8_bundle, "store://in/a.csv", there, **options)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A local one with two workers, which the engine finds running."""
    tests = str(Path(__file__).parents[1])
    if request.param == "ray":
        ray = pytest.importorskip("ray")
        ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, configure_logging=False)
        yield "ray"
        ray.shutdown()
    else:
        sql = pytest.importorskip("pyspark.sql")
        if not shutil.which("java"):
            pytest.skip("there is no Java, which Spark runs on")
        monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
        monkeypatch.setenv("PYTHONPATH", tests)
        builder = sql.SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false")
        session = builder.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
        yield "spark"
        session.stop()


@pytest.mark.filterwarnings("ignore")  # of Ray's and Spark's own
@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["ray", "spark"], indirect=True)
def test_a_cluster_writes_the_same_bytes_even_where_a_worker_is_killed(
    cluster: str, scored: Callable[..., BulkSummary], tmp_path: Path
) -> None:
    sources = [
        a_parquet_file(tmp_path / "a.parquet", texts(20_000), group=500),
        a_csv_file(tmp_path / "b.csv", [*texts(900), ""]),
    ]
    scored(*sources, output="here", unit_rows=500)
    killed: list[int] = []

    def kill_one() -> None:
        """Once some units are finished, a process that scores."""
        units = tmp_path / "there" / "_sentopt" / "units"
        end = time.monotonic() + 120
        while time.monotonic() < end and not (units.is_dir() and len(list(units.iterdir())) > 3):
            time.sleep(0.02)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended
                line = " ".join(process.cmdline())
                if "_Actor" in line or ("pyspark.daemon" in line and not process.children()):
                    process.kill()
                    killed.append(process.pid)
                    return

    killer = threading.Thread(target=kill_one)
    killer.start()
    summary = scored(*sources, output="there", unit_rows=500, engine=cluster)
    killer.join()
    assert killed
    assert summary.total.rows == 20_901
    assert output_of(tmp_path / "there") == output_of(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_job_that_is_killed_again_and_again_ends_as_one_that_was_not(
    scored: Callable[..., BulkSummary], int8_bundle: Path, tmp_path: Path
) -> None:
    sources = [a_parquet_file(tmp_path / "a.parquet", texts(9_000)), a_csv_file(tmp_path / "b.csv", texts(3_000))]
    scored(*sources, output="calm")
    drawn, kills, jobs = random.Random(7), 0, 0
    while kills < 20:
        output = tmp_path / f"killed-{jobs}"
        jobs += 1
        command = [sys.executable, "-m", "sentopt", "score", *map(str, sources), "--bundle", str(int8_bundle)]
        command += ["--output", str(output), "--unit-rows", "100", "--threads", "1", "--no-progress"]
        for patience in itertools.count(1):  # on a busy machine it takes longer to begin
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                _, told = process.communicate(timeout=drawn.uniform(0.3, 2.0) * 1.1**patience)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                continue
            assert process.returncode == 0, told.decode()
            break
        assert output_of(output) == output_of(tmp_path / "calm")
