"""Topic -> events -> trips -> topics and tables: the dataflow `trip-assembler`.

python -m bytewax.run dataflows.assemble -r RECOVERY_DIR -s 1 -b 0
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from chillflow import account
from chillflow import operators as cf_op
from chillflow.account import AccountFile
from chillflow.assembly import Assembly
from chillflow.codec import decode_keyed
from chillflow.connectors import ensure_topics, open_database, open_log
from chillflow.connectors.sink import ExactlyOnceSink
from chillflow.connectors.source import LogSource
from chillflow.connectors.table_sink import TableSink
from chillflow.outputs import Outputs
from chillflow.running import bytewax_run, drain
from chillflow.settings import Settings
from chillflow.topics import registry

FLOW_ID = "trip-assembler"


def from_settings(settings: Settings, account_file: Path | None, drained: Path | None = None) -> Dataflow:
    """The flow on the servers of the settings; makes the topics that are missing. Raises ChillFlowError.

    `drained` is where a process of a cluster says that it is.
    """
    log = open_log(settings)
    results = {name: spec for name, spec in registry(settings).items() if name != settings.topic}
    partitions = ensure_topics(log, settings, *results)
    table = None
    if settings.database_url:
        database = open_database(settings)
        database.check()
        database.close()
        table = TableSink(lambda: open_database(settings), partitions if database.parallel else 1)
    source = LogSource(
        log,
        settings.topic,
        settings.key_groups,
        settings.stream_time_rank,
        group=FLOW_ID,
        event_time=settings.event_time,
        exit_at_end=settings.exit_at_end,
        draining=drain.requested,
        drained=drained,
    )
    topics = ExactlyOnceSink(log, pipeline_name(settings), partitions, results)
    return build(source, topics, table, AccountFile(account_file), settings)


def pipeline_name(settings: Settings) -> str:
    """The name under which the pipeline of this topic writes: one instance at a time can."""
    return f"{FLOW_ID}-{settings.topic}"


def build(
    events: Source[cf_op.GroupBatch],
    topics: Sink[Any],
    table: Sink[Any] | None,
    accounts: Sink[Any],
    settings: Settings,
) -> Dataflow:
    """The flow between these ends; without a table trips go to their topics only."""
    assembly = Assembly(settings.trip_timeout, settings.correction_horizon, settings.incomplete_horizon)
    outputs = Outputs(settings)

    flow = Dataflow(FLOW_ID)
    groups = op.input("read_events", flow, events)
    assembled = cf_op.stateful_map(
        "assemble_trips",
        groups,
        assembly.assemble,
        assembly.expire,
        decode=decode_keyed,
        dump=assembly.dump,
        load=assembly.load,
        close=assembly.close if settings.close_all else None,
    )
    messages = [
        op.map("encode_trips", assembled.results, outputs.trips),
        op.map("encode_late", assembled.late, outputs.late),
        op.map("encode_undecodable", assembled.dead, outputs.undecodable),
    ]
    if table is not None:
        checked = op.map("check_trips", assembled.results, outputs.checked)
        messages.append(op.map_value("take_refused", checked, lambda trips: trips.refused))
        op.output("write_table", op.map_value("take_rows", checked, lambda trips: trips.rows), table)
    op.output("write_topics", op.merge("merge_messages", *messages), topics)

    changes = op.key_on("key_account", op.map("take_tally", assembled.tally, lambda item: item[1]), lambda _: "account")
    totals = op.stateful_map("keep_account", changes, account.add)
    op.output("write_account", totals, accounts)
    return flow


def __getattr__(name: str) -> Any:
    """`flow`, made from the settings when `python -m bytewax.run` asks for it."""
    if name != "flow":
        raise AttributeError(name)
    return from_settings(bytewax_run.start(), bytewax_run.account_file())
