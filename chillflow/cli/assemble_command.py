"""assemble."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chillflow.cli.command import DATABASE, KAFKA, command
from chillflow.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from chillflow.connectors.log import Log

__all__ = ["assemble", "register"]

GROUP = "Assemble"
_USES = (
    *KAFKA,
    *DATABASE,
    "recovery_dir",
    "epoch_interval",
    "topic",
    "complete_topic",
    "incomplete_topic",
    "create_topics",
    "partitions",
    "replication_factor",
    "trip_timeout",
    "correction_horizon",
    "incomplete_horizon",
    "event_time",
    "stream_time_rank",
    "key_groups",
    "metrics_host",
    "metrics_port",
    "ready_epoch_limit",
)


def register(app: typer.Typer) -> None:
    """Add the command of this group."""

    @command(app, "assemble", group=GROUP, uses=_USES)
    def _assemble(
        settings: Settings,
        workers: Annotated[int, typer.Option(min=1, help="processes on this machine")] = 1,
        exit_at_end: Annotated[
            bool, typer.Option("--exit-at-end", help="take what is in the topic now, then exit")
        ] = False,
        close_all: Annotated[
            bool, typer.Option("--close-all", help="with --exit-at-end: close the open trips (incomplete)")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="end with one JSON object on stdout")] = False,
    ) -> None:
        """Put the trips together again, until stopped (Ctrl-C or SIGTERM; what is open is kept).

        Example: chillflow-stream assemble --exit-at-end --close-all --json
        """
        if close_all and not exit_at_end:
            raise typer.BadParameter("needs --exit-at-end", param_hint="--close-all")
        bounded = settings.model_copy(update={"exit_at_end": exit_at_end, "close_all": close_all})
        assemble(bounded, workers=workers, as_json=as_json)


def assemble(settings: Settings, *, workers: int = 1, as_json: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run the assembly dataflow; its summary, which is also shown unless `quiet`."""
    from chillflow.assembly.account import read_account
    from chillflow.connectors import open_log
    from chillflow.operation.launcher import run_workers
    from chillflow.running.cluster_pages import monitored_cluster
    from chillflow.running.owning import owned_process
    from chillflow.running.process_pages import monitored
    from chillflow.running.recovery import ACCOUNT_FILE, is_new, recovery_store
    from chillflow.running.runner import run_flow
    from chillflow.running.stopping import Drain
    from chillflow.telemetry import Telemetry
    from dataflows.assemble import from_settings, pipeline_name

    started, telemetry, drain = time.monotonic(), Telemetry(), Drain()
    account_file = settings.recovery_dir / ACCOUNT_FILE
    log = open_log(settings, telemetry)
    ended: list[Callable[[], None]] = []
    flow = from_settings(settings, telemetry, drain, account_file, log=log, ended=ended if workers == 1 else None)
    partitions = log.partitions(settings.topic)
    is_first = is_new(settings.recovery_dir)
    with recovery_store(settings, partitions, log.topic_id(settings.topic)) as store, ExitStack() as stack:
        if is_first and (standing := _standing(log, settings)):
            typer.echo(
                f"warning: the recovery store is new, but there are results in {' and '.join(standing)}: a trip that"
                " stands there is not written again, even if it is another now (`chillflow-stream reset` begins anew)",
                err=True,
            )
        if workers == 1:
            stack.enter_context(monitored(settings, telemetry, settings.recovery_dir, partitions=partitions))
        else:
            stack.enter_context(monitored_cluster(settings, workers, partitions))
        log.fence(pipeline_name(settings), partitions, keep=workers == 1)
        if workers == 1:
            stack.enter_context(owned_process())
            run_flow(
                flow,
                epoch_interval=settings.epoch_interval,
                drain=drain,
                recovery=store,
                failures=telemetry.failures,
            )
            if len(ended) == partitions:  # fewer: drained before the end, so their last epoch is not durable
                for end in ended:
                    end()
        else:
            run_workers(settings, workers, partitions)
    summary: dict[str, Any] = dict(read_account(account_file))
    summary["seconds"] = round(time.monotonic() - started, 3)
    if quiet:
        return summary
    typer.echo(
        "{events:,} events: {complete_trips:,} complete trips, {incomplete_trips:,} incomplete, {open_trips:,} open;"
        " {duplicates:,} duplicates, {superseded:,} superseded, {late:,} late, {dead_letters:,} dead letters;"
        " {seconds:.1f} s".format(**summary),
        err=True,
    )
    if as_json:
        typer.echo(json.dumps(summary))
    return summary


def _standing(log: Log, settings: Settings) -> list[str]:
    """The topics of trips that hold some."""
    topics = (settings.complete_topic, settings.incomplete_topic)
    return [topic for topic in topics if any(end.offset > 0 for end in log.ends(topic))]
