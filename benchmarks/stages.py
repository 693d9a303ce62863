"""Benchmarks around the whole job: production, partitions, open trips, the database."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import psycopg
from psycopg import sql

from benchmarks.bench import Bench, Broker
from benchmarks.measuring import Run, Table
from benchmarks.streams import SHUFFLED, produce
from chillflow.connectors.postgres import PostgresDatabase
from chillflow.model.table_rows import COMPLETE_TRIP
from chillflow.model.trips import CompleteTrip
from chillflow.production.producer import TripEventProducer
from chillflow.settings import load
from chillflow.synthetic.trip_generator import generate


def send(servers: str, topic: str, count: int) -> Run:
    """Run `TripEventProducer.send_events` on `count` prepared events."""
    producer = TripEventProducer(load(kafka_bootstrap_servers=servers, topic=topic))
    trip = CompleteTrip.model_validate_json(
        '{"pickup_ts": "2024-01-01T12:00:00Z", "dropoff_ts": "2024-01-01T12:10:00Z", "pu_zone_id": 132,'
        ' "do_zone_id": 239, "trip_distance": 1.98, "payment_type": 1, "fare_amount": 12.8, "total_amount": 18.3}'
    )
    events = [
        event
        for number in range(count // 5)
        for event in producer.process_trip(trip.model_copy(update={"trip_key": f"{number:064x}"}))
    ]
    start, cpu = time.monotonic(), time.process_time()
    stats = producer.send_events(events)
    assert stats.delivered == len(events)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return Run(len(events), time.monotonic() - start, time.process_time() - cpu, memory)


def production(broker: Broker, file: Path, trips: int) -> Table:
    """Speed of production. The long file comes first, because a freshly started broker is slow."""
    month = broker.folder / "month.parquet"
    generate(month, 6 * trips)
    topics = [broker.new_topic(name) for name in ("month", "produced", "sent")]
    for topic in topics:
        broker.events_topic(topic)
    runs = {
        "`produce-from-file`, a file six times as long": produce(broker, topics[0], month, 6 * trips),
        "`produce-from-file`": produce(broker, topics[1], file, trips),
        "`produce-from-file`, shuffled by 60 s": produce(broker, topics[1], file, trips, *SHUFFLED.options),
        "`TripEventProducer.send_events`": send(broker.servers, topics[2], 100_000),
    }
    broker.log.remove_topics(topics)
    rows = [[name, f"{run.events:,}", f"{run.rate:,.0f}", f"{run.cpu_us:.1f}"] for name, run in runs.items()]
    return Table(["", "events", "events/s", "CPU µs per event"], rows)


def partitions(broker: Broker, file: Path, trips: int) -> Table:
    """The same events in few and in many partitions."""
    rows = []
    for number in (1, 4, 12):
        bench = Bench(broker, broker.new_topic("partitions"), trips)
        broker.events_topic(bench.topic, number)
        produce(broker, bench.topic, file, trips)
        run, _ = bench.ours()
        rows.append([str(number), f"{run.rate:,.0f}", f"{run.cpu_us:.1f}"])
    return Table(["partitions", "events/s", "CPU µs per event"], rows)


def open_trips(broker: Broker, counts: list[int]) -> Table:
    """The job with about `counts` trips open at a time: each trip lasts 20 hours. The events are shuffled by 60 s."""
    rows = []
    for count in counts:
        trips, hours = max(200_000, 2 * count), 20
        file = broker.folder / f"open-{count}.parquet"
        generate(file, trips, days=max(1, round(trips * hours / 24 / count)))
        lasting = pl.read_parquet(file).with_columns(
            tpep_dropoff_datetime=pl.col("tpep_pickup_datetime") + pl.duration(hours=hours)
        )
        lasting.write_parquet(file)
        bench = Bench(broker, broker.new_topic("open"), trips)
        broker.events_topic(bench.topic)
        produce(broker, bench.topic, file, trips, *SHUFFLED.options)
        run, _ = bench.ours()
        rows.append([f"{count:,}", f"{run.events:,}", f"{run.rate:,.0f}", f"{run.cpu_us:.1f}", f"{run.memory:,.0f}"])
        broker.log.remove_topics([bench.topic])
    head = ["open at a time (approx.)", "events", "events/s", "CPU µs per event", "memory, MB"]
    return Table(head, rows, "The events are shuffled by 60 s.")


def database(bench: Bench, new_database: Callable[[], str]) -> Table:
    """The job without and with Postgres, and the speed of the Postgres sink alone."""
    url = new_database()
    without, _ = bench.ours()
    within, _ = bench.ours(DATABASE_URL=url)
    rows = [
        ["topics only", f"{without.rate:,.0f}", "1.00", f"{without.cpu_us:.1f}"],
        ["topics and Postgres", f"{within.rate:,.0f}", f"{within.rate / without.rate:.2f}", f"{within.cpu_us:.1f}"],
    ]
    print(f"  with Postgres: {within.rate / without.rate:.2f}", file=sys.stderr)
    note = f"The Postgres sink alone, on prepared rows: {_sink(url):,.0f} trips/s."
    return Table(["", "events/s", "relative to topics only", "CPU µs per event"], rows, note)


def _sink(url: str) -> float:
    """Trips per second that the sink upserts, 5,000 a transaction: rows of the table under new keys."""
    settings = load(database_url=url)
    database = PostgresDatabase(url, settings.kafka_timeout)
    columns = sql.SQL(", ").join(map(sql.Identifier, COMPLETE_TRIP.columns))
    with psycopg.connect(url) as connection:
        found = connection.execute(sql.SQL("select {} from stg.complete_trip limit 100000").format(columns)).fetchall()
    key = COMPLETE_TRIP.columns.index("trip_key")
    ready = [(*row[:key], row[key][::-1], *row[key + 1 :]) for row in found]
    start = time.monotonic()
    for first in range(0, len(ready), 5_000):
        database.upsert({COMPLETE_TRIP: ready[first : first + 5_000]})
    taken = time.monotonic() - start
    database.close()
    return len(ready) / taken
