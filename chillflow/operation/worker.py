"""One process of a cluster, started by the launcher: `python -m chillflow.operation.worker NUMBER ADDRESSES`."""

from __future__ import annotations

import os
import sys
import threading
from datetime import timedelta

from bytewax.recovery import RecoveryConfig

from chillflow.errors import ChillFlowError
from chillflow.running.cluster_endpoints import worker_file
from chillflow.running.process_endpoints import monitored
from chillflow.running.process_tuning import tuned_process
from chillflow.running.recovery import ACCOUNT_FILE, drained_folder, lock_file, locked
from chillflow.running.run import Run
from chillflow.running.runner import LostWorkerError, run_flow
from chillflow.running.wiring import monitoring
from chillflow.settings import load, load_arguments
from chillflow.telemetry import logs
from dataflows.assemble import from_settings


def main(number: int, addresses: list[str]) -> int:
    """Run the assembly as process `number` of the cluster. Returns the exit code."""
    settings, arguments = load(), load_arguments()
    run = Run(
        exit_at_end=arguments.exit_at_end,
        close_all=arguments.close_all,
        account_file=settings.recovery_dir / ACCOUNT_FILE,
        drained=drained_folder(settings.recovery_dir),
    )
    logs.configure(settings.log_level, settings.log_format)
    threading.Thread(target=_die_with_launcher, daemon=True).start()
    try:
        with (
            locked(lock_file(settings.recovery_dir, number)),
            monitored(
                monitoring(settings, host="127.0.0.1", port=0),  # for the launcher alone
                run.telemetry,
                settings.recovery_dir,
                number=number,
                partitions=0,
                file=worker_file(number),
            ),
            tuned_process(),
        ):
            run_flow(
                from_settings(settings, run),
                epoch_interval=settings.epoch_interval,
                drain=run.drain,
                failures=run.telemetry.failures,
                recovery=RecoveryConfig(str(settings.recovery_dir), timedelta(0)),
                process_id=number,
                addresses=addresses,
            )
    except LostWorkerError as error:
        sys.stderr.write(f"stopped: {error}\n")  # not `error:`, which the lost worker writes
        return 1
    except ChillFlowError as error:
        logs.report_repeats()
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _die_with_launcher() -> None:
    """Exit with the launcher: otherwise this process would go on writing to a recovery store that another may open."""
    os.read(sys.stdin.fileno(), 1)  # returns when the launcher's end is closed: nothing is ever sent
    os._exit(1)


if __name__ == "__main__":
    code = main(int(sys.argv[1]), sys.argv[2].split(";"))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python's shutdown would crash if one of Timely's threads still called it
