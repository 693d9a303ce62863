"""Topic -> events -> trips -> windows -> topics and tables: the dataflow `trip-assembler`.

python -m bytewax.run dataflows.assemble -r RECOVERY_DIR -s 1 -b 0
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from chillflow import operators as cf_op
from chillflow.assembly import account
from chillflow.assembly.account import difference, read_account
from chillflow.assembly.live_windows import live_windows
from chillflow.assembly.results import Outputs
from chillflow.assembly.rules import Assembly
from chillflow.assembly.windows import Terms
from chillflow.connectors import ensure_topics, open_database, open_log
from chillflow.connectors.account_file import AccountFile
from chillflow.connectors.log import Log
from chillflow.connectors.sink import ExactlyOnceSink
from chillflow.connectors.source import LogSource
from chillflow.connectors.table_sink import TableSink
from chillflow.model.codec import decode_all, decode_keyed
from chillflow.model.topics import registry
from chillflow.running.bytewax_run import BytewaxRun
from chillflow.running.recovery import are_placed
from chillflow.running.stopping import Drain
from chillflow.settings import Settings
from chillflow.telemetry import Telemetry

FLOW_ID = "trip-assembler"


def from_settings(
    settings: Settings,
    telemetry: Telemetry,
    drain: Drain,
    account_file: Path | None,
    drained: Path | None = None,
    *,
    log: Log | None = None,
    ended: list[Callable[[], None]] | None = None,
) -> Dataflow:
    """The flow on the servers of the settings; makes the topics that are missing. Raises ChillFlowError.

    The run tells `telemetry` what it does, and stops once `drain` asks. `drained` is where a process of a cluster says
    that it is; `ended` takes what is to be called once the flow has ended (see `LogSource`).
    """
    log = log or open_log(settings, telemetry)
    results = {name: spec for name, spec in registry(settings).items() if name != settings.topic}
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
        durable=partial(_show_account, telemetry, account_file) if account_file else lambda: None,
        exit_at_end=settings.exit_at_end,
        ended=ended,
        placed=account_file is None or are_placed(account_file.parent),
        draining=drain.requested,
        drained=drained,
        telemetry=telemetry,
    )
    topics = ExactlyOnceSink(log, pipeline_name(settings), partitions, results, telemetry)
    return build(source, topics, table, AccountFile(account_file), settings, partitions, telemetry)


def _show_account(telemetry: Telemetry, file: Path) -> None:
    found = read_account(file)
    telemetry.publish_account(found, difference(found))


def pipeline_name(settings: Settings) -> str:
    """The name under which the pipeline of this topic writes: one instance at a time can."""
    return f"{FLOW_ID}-{settings.topic}"


def build(
    events: Source[Any],
    topics: Sink[Any],
    table: Sink[Any] | None,
    accounts: Sink[Any],
    settings: Settings,
    partitions: int,
    telemetry: Telemetry | None = None,
) -> Dataflow:
    """The flow between these ends; without a table results go to their topics only."""
    timeout, horizon, lengths = settings.trip_timeout, settings.incomplete_horizon, settings.window_lengths
    assembly = Assembly(timeout, settings.correction_horizon, horizon, lengths[-1])
    terms = Terms.of(lengths, settings.grace, timeout + horizon)
    telemetry = telemetry or Telemetry()
    telemetry.follow_events(assembly.taken)
    snapshot_bytes = telemetry.metrics.snapshot_bytes
    outputs = Outputs(settings, partitions)

    flow = Dataflow(FLOW_ID)
    read = op.branch("tell_progress", op.input("read_events", flow, events), cf_op.is_progress)
    assembled = cf_op.stateful_map(
        "assemble_trips",
        read.falses,
        assembly.assemble,
        assembly.expire,
        decode=decode_keyed,
        dump=assembly.dump,
        load=assembly.load,
        forgets=assembly.forgets,
        shortcut=assembly.shortcut,
        decode_all=decode_all,
        close=assembly.close if settings.close_all else None,
        on_snapshot=snapshot_bytes.labels("trips").inc,
    )
    changes = op.map("take_changes", assembled.results, outputs.changes)
    live = live_windows(
        "keep_windows",
        changes,
        read.trues,
        terms,
        close=settings.close_all,
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


def __getattr__(name: str) -> Any:
    """`flow`, made from the settings when `python -m bytewax.run` asks for it."""
    if name != "flow":
        raise AttributeError(name)
    run = BytewaxRun()
    made = from_settings(run.settings, run.telemetry, run.drain, run.account_file())
    run.bind()
    run.serve()
    return made
