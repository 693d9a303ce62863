"""The whole job on a topic in order: a hand-written loop, ChillFlow, Bytewax's own parts, other libraries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

from benchmarks.bench import EPOCH, Bench, Outputs, counted_in, records, trips_in, windows_in
from benchmarks.measuring import Run, Table, spread
from benchmarks.peers import Peer

_EPOCHS = (EPOCH, 5)
"""Epoch intervals to compare: each epoch pays for one snapshot."""
_OURS, _STOCK = "ChillFlow, 1 worker, epochs of {} s", "Bytewax's own parts, epochs of {} s"
Contender = Callable[[], tuple[Run, Outputs]]


def compare(bench: Bench, repeat: int, *, stock: bool, peers: Sequence[Peer] = ()) -> Table:
    """Run all contenders in turn, `repeat` times, and check their outputs against the loop's.

    A ratio compares two runs of the same round. Contenders other than ours and the loop run once, as they take minutes.
    """
    log = bench.broker.log
    contenders: dict[str, Contender] = {
        "hand-written loop, no guarantees": bench.loop,
        **{_OURS.format(epoch): partial(bench.ours, epoch=epoch) for epoch in _EPOCHS},
        "ChillFlow, 2 workers": partial(bench.ours, workers=2),
    }
    ours = [*contenders]
    if stock:
        contenders["Bytewax's own parts, no recovery"] = partial(bench.stock, None)
        contenders |= {_STOCK.format(epoch): partial(bench.stock, epoch) for epoch in _EPOCHS}
    contenders |= {peer.name: partial(bench.peer, peer) for peer in peers}
    others = [name for name in contenders if name not in ours]
    remarks = ""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    first, *_ = contenders
    expected: Mapping[str, object] = {}
    for number in range(repeat):
        for name, run in contenders.items():
            if number and name in others:
                continue
            taken, outputs = run()
            runs[name].append(taken)
            print(f"  {name}: {taken.rate:,.0f} events/s, {taken.cpu_us:.1f} µs per event", file=sys.stderr)
            if name in others:  # their trips have other fields, so count only
                found = len({record.key for record in records(log, outputs[0])})
                assert found == bench.trips, f"{name}: {found} trips of {bench.trips}"
                if not name.startswith("Bytewax"):
                    share = 1 - counted_in(log, outputs[1]) / bench.trips
                    remarks += f" {name}: {share:.0%} of the trips are missing from its windows."
                continue
            trips = trips_in(log, outputs[0])
            assert len(trips) == bench.trips, f"{name}: {len(trips)} trips of {bench.trips}"
            result = {"trips": trips, "windows": windows_in(log, outputs[1])}
            expected = expected or result
            for what, values in result.items():
                assert values == expected[what], f"{name}: {what} differ from the loop's"
    rows = [
        [
            name,
            spread([run.rate for run in some], ",.0f"),
            spread([run.rate / loop.rate for run, loop in zip(some, runs[first], strict=False)], ".2f"),
            spread([run.cpu_us for run in some], ".1f"),
        ]
        for name, some in runs.items()
    ]
    if stock:
        rates = {name: median(run.rate for run in some) for name, some in runs.items()}
        times = [f"{rates[_OURS.format(each)] / rates[_STOCK.format(each)]:.1f}× ({each} s)" for each in _EPOCHS]
        remarks += f" Speed relative to Bytewax's own parts, by epoch interval: {', '.join(times)}."
    note = (
        f"{bench.events:,} events of {bench.trips:,} generated trips in {log.partitions(bench.topic)} partitions,"
        " read from the start; startup and shutdown included. ChillFlow runs with recovery, windows of 15 min and 1 h,"
        " and exactly-once. The loop makes the same trips and windows: every output was compared."
        f"{remarks}"
    )
    return Table(["", "events/s", "relative to the loop", "CPU µs per event"], rows, note)
