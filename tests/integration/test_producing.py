"""produce-from-file, produce-events, load-trips: which trips are sent, how fast, and what is rejected."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from chillflow.synthetic.trip_generator import generate
from tests.pipelines.command import COMMAND, PRODUCED, elapsed
from tests.pipelines.pipeline import Pipeline
from tests.real_trips import YELLOW, real_file

PICKUP, DROPOFF = "tpep_pickup_datetime", "tpep_dropoff_datetime"


def few(trips_file: Path, folder: Path, count: int = 10) -> pl.DataFrame:
    """The first generated trips, without those whose drop-off is not after their pickup."""
    trips = pl.read_parquet(trips_file)
    return trips.filter(pl.col(DROPOFF) > pl.col(PICKUP)).sort(PICKUP).head(count)


def set_in_row(trips: pl.DataFrame, number: int, column: str, value: object) -> pl.DataFrame:
    values = trips[column].to_list()
    values[number] = value
    return trips.with_columns(pl.Series(column, values, dtype=trips.schema[column]))


# Topics and tables


def test_a_topic_is_created_once(pipeline: Pipeline) -> None:
    first = pipeline.run("create-topic", "--topic", pipeline.topic, "--partitions", "3")
    second = pipeline.run("create-topic", "--topic", pipeline.topic, "--partitions", "4")

    assert first.stderr == f"created topic {pipeline.topic} with 3 partitions\n"
    assert second.stderr == f"topic {pipeline.topic} exists, with 3 partitions\n"


def test_tables_are_created_once(pipeline: Pipeline) -> None:
    first = pipeline.run("init-db")
    second = pipeline.run("init-db")

    assert first.stderr.startswith("applied trips")
    assert second.stderr == "the tables are up to date\n"
    assert pipeline.query("select count(*) from dim.zone".replace("dim.", "dim_" if pipeline.embedded else "dim.")) == [
        (265,)
    ]


def test_no_create_topics_creates_no_topic(pipeline: Pipeline, trips_file: Path) -> None:
    line = pipeline.fail("produce-from-file", "--file", trips_file, "--no-create-topics")

    assert f"no topic '{pipeline.topic}'" in line
    assert f"`create-topic --topic {pipeline.topic}`" in line
    assert pipeline.topics.read(pipeline.topic) == []


# Dry runs, pipes and pace


def test_a_dry_run_prints_the_events(embedded: Pipeline, trips_file: Path) -> None:
    dry = embedded.run("produce-from-file", "--file", trips_file, "--dry-run")

    assert not (embedded.folder / "topics").exists()
    embedded.produce(trips_file)
    assert sorted(dry.lines) == sorted((event.value or b"").decode() for event in embedded.events())
    assert len(dry.stderr.splitlines()) == 1
    assert "dry run" in dry.stderr


def test_a_dry_run_ends_with_its_summary(embedded: Pipeline, trips_file: Path) -> None:
    dry = embedded.run("produce-from-file", "--file", trips_file, "--dry-run", "--limit", 2, "--json")

    assert len(dry.lines) == 11
    assert dry.json == {"trips": 2, "events": 10, "delivered": 0, "rejected": 0, "seconds": dry.json["seconds"]}


@pytest.mark.parametrize("command", ["produce-from-file --dry-run", "consume-events --exit-at-end"])
def test_a_closed_pipe_is_no_error(embedded: Pipeline, command: str) -> None:
    file = real_file(YELLOW)
    name, option = command.split()
    if name == "consume-events":
        embedded.produce(file, "--limit", 2000)
    arguments = [str(COMMAND), name, option, *(["--file", str(file)] if option == "--dry-run" else [])]

    with subprocess.Popen(
        arguments, env=embedded.environment, cwd=embedded.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        stderr = process.stderr.read().decode()
        code = process.wait(30)

    assert json.loads(first)["event_type"]
    assert "Traceback" not in stderr
    assert "rror" not in stderr
    assert code == 0


def test_a_pipe_gets_no_progress_bar(embedded: Pipeline, trips_file: Path) -> None:
    done = embedded.run("produce-from-file", "--file", trips_file)

    assert done.stdout == ""
    assert done.stderr.startswith("300 trips, 1,500 events to trip-events, 1,500 delivered, 0 rows rejected")
    assert len(done.stderr.splitlines()) == 1


def test_a_rate_is_kept(embedded: Pipeline, trips_file: Path) -> None:
    seconds = elapsed(lambda: embedded.produce(trips_file, "--limit", 20, "--rate", 50))

    assert 1.5 < seconds < 15


def test_a_speed_is_kept(embedded: Pipeline, trips_file: Path, tmp_path: Path) -> None:
    trips = few(trips_file, tmp_path)
    span: timedelta = trips[DROPOFF].max() - trips[PICKUP].min()  # type: ignore[assignment, operator]
    trips.write_parquet(tmp_path / "few.parquet")

    seconds = elapsed(lambda: embedded.produce(tmp_path / "few.parquet", "--speed", span / timedelta(seconds=2)))

    assert 1.9 < seconds < 15


def test_rate_and_speed_exclude_each_other(embedded: Pipeline, trips_file: Path) -> None:
    line = embedded.fail("produce-from-file", "--file", trips_file, "--speed", 1, "--rate", 1, code=2)

    assert line == "--speed and --rate exclude each other"


def test_a_replay_stops_on_request(pipeline: Pipeline, trips_file: Path) -> None:
    with pipeline.start("produce-from-file", "--file", trips_file, "--rate", 100, "--json") as replay:
        replay.wait_for(lambda: bool(pipeline.events()))
        done = replay.stop(within=10)

    assert done.code == 0
    assert 0 < done.json["delivered"] == done.json["events"] == len(pipeline.events()) < 1500


def test_a_stopped_replay_at_full_speed_leaves_no_temporary_files(embedded: Pipeline, tmp_path: Path) -> None:
    file, temporary = tmp_path / "trips.parquet", tmp_path / "temporary"
    temporary.mkdir()
    generate(file, 200_000)
    with embedded.start("produce-from-file", "--file", file, "--json", TMPDIR=str(temporary)) as replay:
        replay.wait_for(lambda: any(path.stat().st_size for path in embedded.folder.rglob("*.jsonl")))
        done = replay.stop(within=10)

    assert done.code == 0
    assert 0 < done.json["delivered"] == done.json["events"] == len(embedded.events()) < 1_000_000
    assert done.json["events"] / 5 <= done.json["trips"] < 200_000
    assert [*temporary.iterdir()] == []


# Rejected rows


def test_bad_rows_are_dead_letters_and_others_are_produced(
    pipeline: Pipeline, trips_file: Path, tmp_path: Path
) -> None:
    trips = few(trips_file, tmp_path)
    trips = set_in_row(trips, 1, "passenger_count", 1.5)
    trips = set_in_row(trips, 3, "DOLocationID", None)
    trips = set_in_row(trips, 5, DROPOFF, trips[PICKUP][5] + timedelta(days=9))
    for column in (PICKUP, DROPOFF):
        trips = set_in_row(trips, 7, column, trips[column][7].replace(year=2099))
    file = tmp_path / "bad.parquet"
    trips.write_parquet(file)

    summary = pipeline.produce(file)

    assert summary == {
        "trips": 6,
        "events": 30,
        "delivered": 30,
        "rejected": 4,
        "seconds": summary["seconds"],
    }
    assert len(pipeline.events()) == 30
    letters = sorted(pipeline.dead_letters(), key=lambda letter: letter.headers["reason"])
    assert [letter.headers["reason"] for letter in letters] == [
        "dated more than 1 h in the future",
        "do_zone_id: missing",
        "passenger_count: 1.5 is not a 32-bit integer",
        "pickup and drop-off are more than 192 h apart",
    ]
    assert {letter.headers["stage"] for letter in letters} == {"read"}
    assert {letter.headers["file"] for letter in letters} == {str(file)}
    by_reason = {letter.headers["reason"].split(":")[0]: letter for letter in letters}
    assert by_reason["do_zone_id"].headers["row"] == "3"
    assert by_reason["passenger_count"].headers["row"] == "1"
    assert by_reason["passenger_count"].json["passenger_count"] == 1.5
    assert by_reason["passenger_count"].json["PULocationID"] == trips["PULocationID"][1]


def test_a_dry_run_reports_rejected_rows(embedded: Pipeline, trips_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.parquet"
    set_in_row(few(trips_file, tmp_path, 3), 1, "passenger_count", 1.5).write_parquet(file)

    done = embedded.run("produce-from-file", "--file", file, "--dry-run")

    assert len(done.lines) == 10
    assert f"rejected: {file}, row 1: passenger_count: 1.5 is not a 32-bit integer" in done.stderr


def test_a_file_without_rows_is_no_error(embedded: Pipeline, trips_file: Path, tmp_path: Path) -> None:
    pl.read_parquet(trips_file).clear().write_parquet(tmp_path / "empty.parquet")

    assert embedded.produce(tmp_path / "empty.parquet")["trips"] == 0
    account = embedded.assemble(DATABASE_URL=None)
    assert account["events"] == account["complete_trips"] == 0


def test_unknown_columns_reach_topic_and_table(pipeline: Pipeline, trips_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "wider.parquet"
    few(trips_file, tmp_path).with_columns(Zusatz=pl.lit("naïve ☕"), fee_2031=pl.lit(1.25)).write_parquet(file)
    pipeline.run("init-db")

    pipeline.produce(file)
    pipeline.assemble()

    expected = {"Zusatz": "naïve ☕", "fee_2031": 1.25}
    assert [trip["extra_columns"] for trip in pipeline.trips()] == 10 * [expected]
    rows = [value for (value,) in pipeline.query("select extra_columns from stg.complete_trip")]
    assert [json.loads(value) if isinstance(value, str) else value for value in rows] == 10 * [expected]


# From the database


def test_a_loaded_table_gives_the_events_of_its_file(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    loaded = pipeline.run("load-trips", "--file", trips_file, "--json").json
    from_file = pipeline.run("produce-from-file", "--file", trips_file, "--dry-run").lines

    summary = pipeline.run("produce-events", "--json").json

    assert loaded == {"trips": 300, "rejected": 0, "seconds": loaded["seconds"]}
    assert summary.keys() == PRODUCED
    assert summary["delivered"] == 1500
    assert sorted((event.value or b"").decode() for event in pipeline.events()) == sorted(from_file)


def test_a_file_is_loaded_once_and_assembled_trips_replace_its_rows(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    pipeline.run("load-trips", "--file", trips_file)
    pipeline.run("load-trips", "--file", trips_file)
    assert pipeline.query("select source, revision, count(*) from stg.complete_trip group by source, revision") == [
        ("load", 0, 300)
    ]
    columns = "trip_key, pickup_ts, dropoff_ts, total_amount, distance_km, duration_min, avg_speed_kmh"
    loaded = pipeline.query(f"select {columns} from stg.complete_trip order by trip_key")

    pipeline.run("produce-events")
    pipeline.assemble()

    assert pipeline.query("select source, revision, count(*) from stg.complete_trip group by source, revision") == [
        ("stream", 1, 300)
    ]
    assert pipeline.query(f"select {columns} from stg.complete_trip order by trip_key") == loaded
    pipeline.run("load-trips", "--file", trips_file)
    assert pipeline.query("select distinct source, revision from stg.complete_trip") == [("stream", 1)]


def test_trips_of_the_table_are_selected_by_options(pipeline: Pipeline, trips_file: Path) -> None:
    pipeline.run("init-db")
    pipeline.run("load-trips", "--file", trips_file)
    rows = pipeline.query("select trip_key, pickup_ts from stg.complete_trip order by pickup_ts, trip_key")
    order = [key for key, _ in rows]
    times = {key: datetime.fromisoformat(str(time)).astimezone(UTC) for key, time in rows}

    def chosen(*arguments: object) -> set[str]:
        lines = pipeline.run("produce-events", "--dry-run", *arguments).lines
        found = [json.loads(line)["trip_key"] for line in lines]
        assert len(found) == 5 * len(set(found))
        return set(found)

    assert chosen("--limit", 7) == set(order[:7])
    assert chosen("--limit", 0) == set()
    assert chosen("--trip-key", order[4]) == {order[4]}
    since, until = times[order[100]], times[order[200]]
    assert chosen("--since", since.isoformat(), "--until", until.isoformat()) == {
        key for key in order if since <= times[key] < until
    }
    wall = "2024-01-01T12:00"  # in New York: five hours behind
    assert chosen("--since", wall) == {key for key in order if times[key] >= datetime(2024, 1, 1, 17, tzinfo=UTC)}
    assert chosen("--since", wall, "--source-time-zone", "Asia/Tokyo") == {
        key for key in order if times[key] >= datetime(2024, 1, 1, 3, tzinfo=UTC)
    }
    assert pipeline.fail("produce-events", "--trip-key", "nobody") == "no trip 'nobody' in stg.complete_trip"


def test_rows_that_the_table_cannot_hold_are_dead_letters(pipeline: Pipeline, trips_file: Path, tmp_path: Path) -> None:
    trips = few(trips_file, tmp_path)
    trips = set_in_row(trips, 2, "fare_amount", 1e9)
    trips = set_in_row(trips, 4, "store_and_fwd_flag", "N\0")
    trips = set_in_row(trips, 6, "passenger_count", 0.5)
    trips.write_parquet(tmp_path / "bad.parquet")
    pipeline.run("init-db")

    loaded = pipeline.run("load-trips", "--file", tmp_path / "bad.parquet", "--json").json

    assert loaded == {"trips": 7, "rejected": 3, "seconds": loaded["seconds"]}
    assert pipeline.rows() == 7
    assert sorted(letter.headers["reason"] for letter in pipeline.dead_letters()) == [
        "a text holds a NUL character",
        "fare_amount 1000000000.0 does not fit numeric(10, 2)",
        "passenger_count: 0.5 is not a 32-bit integer",
    ]


def test_an_export_of_the_table_can_be_produced(pipeline: Pipeline, trips_file: Path, tmp_path: Path) -> None:
    pipeline.run("init-db")
    pipeline.run("load-trips", "--file", trips_file)
    names = "trip_key, service, pickup_ts, dropoff_ts, pu_zone_id, do_zone_id, total_amount, revision, source"
    export = pl.DataFrame(
        pipeline.query(f"select {names} from stg.complete_trip"), schema=names.split(", "), orient="row"
    )
    export.write_parquet(tmp_path / "export.parquet")

    lines = pipeline.run("produce-from-file", "--file", tmp_path / "export.parquet", "--dry-run").lines

    assert {json.loads(line)["trip_key"] for line in lines} == set(export["trip_key"])
    assert len(lines) == 1500
