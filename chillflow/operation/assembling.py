"""The job of `assemble`: run the assembly in one process or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from chillflow.assembly.account import difference, read_account
from chillflow.connectors import open_log
from chillflow.connectors.account_file import read_late_share
from chillflow.connectors.log import Log
from chillflow.operation.launcher import run_workers
from chillflow.running.cluster_endpoints import monitored_cluster
from chillflow.running.process_endpoints import monitored
from chillflow.running.process_tuning import tuned_process
from chillflow.running.recovery import ACCOUNT_FILE, is_new, recovery_store
from chillflow.running.run import Run
from chillflow.running.runner import run_flow
from chillflow.running.wiring import monitoring, pipeline_identity
from chillflow.settings import Settings
from dataflows.assemble import from_settings, pipeline_name

__all__ = ["Assembled", "assemble"]


@dataclass(frozen=True)
class Assembled:
    """The result of a run."""

    account: Mapping[str, int]
    """Events and trips by term, over all runs on the recovery store."""
    late_share: float | None
    """Share of late events among the newest; None without events."""
    seconds: float

    @property
    def difference(self) -> int:
        """Events unaccounted for: 0, or the pipeline has a bug."""
        return difference(self.account)


def assemble(
    settings: Settings,
    *,
    workers: int = 1,
    exit_at_end: bool = False,
    close_all: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Assembled:
    """Run the assembly dataflow until a signal, or with `exit_at_end` to the current end of the topic.

    `close_all` closes the open trips there as incomplete. `warn` receives warnings for the user. Raises ChillFlowError.
    """
    started = time.monotonic()
    account_file = settings.recovery_dir / ACCOUNT_FILE
    run = Run(
        exit_at_end=exit_at_end, close_all=close_all, account_file=account_file, ended=[] if workers == 1 else None
    )
    log = open_log(settings, run.telemetry)
    flow = from_settings(settings, run, log)
    partitions = log.partitions(settings.topic)
    is_first = is_new(settings.recovery_dir)
    identity = pipeline_identity(settings, partitions, log.topic_id(settings.topic))
    with recovery_store(settings.recovery_dir, identity) as store, ExitStack() as stack:
        if is_first and (topics := _with_results(log, settings)):
            warn(
                f"the recovery store is new, but there are results in {' and '.join(topics)}: a trip already written"
                " there is not written again, even if it differs now (`chillflow-stream reset` starts from scratch)"
            )
        if workers == 1:
            served = monitoring(settings)
            stack.enter_context(monitored(served, run.telemetry, settings.recovery_dir, partitions=partitions))
        else:
            host, port = settings.metrics_host, settings.metrics_port
            stack.enter_context(monitored_cluster(settings.recovery_dir, workers, partitions, host=host, port=port))
        log.fence(pipeline_name(settings), partitions, keep=workers == 1)
        if workers == 1:
            stack.enter_context(tuned_process())
            run_flow(
                flow,
                epoch_interval=settings.epoch_interval,
                drain=run.drain,
                recovery=store,
                failures=run.telemetry.failures,
            )
            ended = run.ended or []
            if len(ended) == partitions:  # fewer if drained before the end: then the last epoch is not durable
                for end in ended:
                    end()
        else:
            run_workers(settings, workers, partitions, exit_at_end=exit_at_end, close_all=close_all)
    return Assembled(read_account(account_file), read_late_share(account_file), time.monotonic() - started)


def _with_results(log: Log, settings: Settings) -> list[str]:
    """The trip topics that are not empty."""
    topics = (settings.complete_topic, settings.incomplete_topic)
    return [topic for topic in topics if any(end.offset > 0 for end in log.ends(topic))]
