"""Topic -> events -> trips -> windows -> topics and tables: the dataflow `trip-assembler`.

python -m bytewax.run dataflows.assemble -r RECOVERY_DIR -s 1 -b 0
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import KeyedStream
from bytewax.outputs import Sink

from chillflow import operators as cf_op
from chillflow.assembly import account, state_codec
from chillflow.assembly.live_windows import live_windows
from chillflow.assembly.results import Outputs
from chillflow.assembly.rules import Assembly
from chillflow.assembly.windows import Terms
from chillflow.connectors import ensure_topics, open_database, open_log
from chillflow.connectors.account_file import AccountFile, read_late_share
from chillflow.connectors.log import Log
from chillflow.connectors.sink import ExactlyOnceSink
from chillflow.connectors.source import LogSource
from chillflow.connectors.table_sink import TableSink
from chillflow.model.codec import STRUCTS
from chillflow.model.events import EVENT_TYPES, DecodedEvent
from chillflow.model.messages import Message
from chillflow.model.table_rows import Retire, Rows
from chillflow.model.topics import TopicNames, result_topics
from chillflow.running.bytewax_run import BytewaxRun
from chillflow.running.run import Run
from chillflow.settings import Settings
from chillflow.telemetry import Telemetry

FLOW_ID = "trip-assembler"


def from_settings(settings: Settings, run: Run, log: Log | None = None) -> Dataflow:
    """The flow on the log and the database of the settings; creates missing topics. Raises ChillFlowError."""
    telemetry, account_file = run.telemetry, run.account_file
    log = log or open_log(settings, telemetry)
    results = result_topics(settings)
    partitions = ensure_topics(log, settings, *results)
    table = None
    if settings.database_url:
        database = open_database(settings)
        database.check()
        database.close()
        table = TableSink(lambda: open_database(settings, telemetry), partitions if database.parallel else 1, telemetry)
    source = LogSource(
        log,
        settings.topic,
        settings.key_groups,
        settings.stream_time_rank,
        group=FLOW_ID,
        event_time=settings.event_time,
        idle_timeout=settings.idle_timeout,
        on_durable=partial(_show_account, telemetry, account_file) if account_file else lambda: None,
        exit_at_end=run.exit_at_end,
        ended=run.ended,
        draining=run.drain.requested,
        drained=run.drained,
        telemetry=telemetry,
    )
    topics = ExactlyOnceSink(log, pipeline_name(settings), partitions, results, telemetry)
    accounts = AccountFile(account_file)
    return build(source, topics, table, accounts, settings, partitions, run)


def _show_account(telemetry: Telemetry, file: Path) -> None:
    found = account.read_account(file)
    telemetry.publish_account(found, account.difference(found), read_late_share(file))


def pipeline_name(settings: Settings) -> str:
    """The name under which the pipeline of this topic writes; only one instance of a name can write at a time."""
    return f"{FLOW_ID}-{settings.topic}"


def build(
    events: Source[cf_op.SourceItem[DecodedEvent]],
    topics: Sink[tuple[str, Sequence[Message]]],
    table: Sink[tuple[str, Rows | Retire]] | None,
    accounts: Sink[tuple[str, dict[str, int]]],
    settings: Settings,
    partitions: int,
    run: Run | None = None,
) -> Dataflow:
    """The flow from this source to these sinks; without a table results go to topics only."""
    run = run or Run()
    timeout, horizon, lengths = settings.trip_timeout, settings.incomplete_horizon, settings.window_lengths
    assembly = Assembly(timeout, settings.correction_horizon, horizon, lengths[-1])
    terms = Terms.of(lengths, settings.grace, timeout + horizon)
    run.telemetry.expect_events(dict(zip(STRUCTS, EVENT_TYPES, strict=True)))
    snapshot_bytes = run.telemetry.metrics.snapshot_bytes
    outputs = Outputs(TopicNames.of(settings), partitions, settings.window_retention)

    flow = Dataflow(FLOW_ID)
    read = op.branch("tell_progress", op.input("read_events", flow, events), cf_op.is_progress)
    assembled = cf_op.stateful_map(
        "assemble_trips",
        cast("KeyedStream[cf_op.GroupItem[DecodedEvent]]", read.falses),
        assembly.assemble,
        assembly.expire,
        dump=state_codec.dump,
        load=state_codec.load,
        is_closed=state_codec.is_closed,
        slots=assembly.slots,
        schema=state_codec.SCHEMA,
        adapt=state_codec.adapt,
        close=assembly.close if run.close_all else None,
        on_snapshot=snapshot_bytes.labels("trips").inc,
    )
    changes = op.map("take_changes", assembled.results, outputs.changes)
    live = live_windows(
        "keep_windows",
        changes,
        read.trues,
        terms,
        close=run.close_all,
        on_snapshot=snapshot_bytes.labels("windows").inc,
    )
    windows = op.map("describe_windows", live.windows, outputs.windows)
    messages = [
        op.map("encode_trips", assembled.results, outputs.trips),
        op.map("encode_late", assembled.late, outputs.late),
        op.map("encode_undecodable", assembled.dead, outputs.undecodable),
        op.map("encode_windows", windows, outputs.window_messages),
    ]
    if table is not None:
        checked = op.map("check_trips", assembled.results, outputs.checked)
        messages.append(op.map_value("take_refused", checked, lambda trips: trips.refused))
        rows = op.map_value("take_rows", checked, lambda trips: trips.rows)
        window_rows = op.map("take_window_rows", windows, outputs.window_rows)
        retired = op.flat_map("retire_windows", live.passed, outputs.retire)
        op.output("write_tables", op.merge("merge_rows", rows, window_rows, retired), table)
    op.output("write_topics", op.merge("merge_messages", *messages), topics)

    tally = op.key_on("key_account", op.map("take_tally", assembled.tally, lambda item: item[1]), lambda _: "account")
    totals = op.stateful_map("keep_account", tally, account.add)
    op.output("write_account", totals, accounts)
    return flow


def __getattr__(name: str) -> Dataflow:
    """`flow`, built from the settings when `python -m bytewax.run` imports it."""
    if name != "flow":
        raise AttributeError(name)
    process = BytewaxRun()
    made = from_settings(process.settings, process.run())
    process.bind()
    process.serve()
    return made
