"""The 265 taxi zones of New York, from a table in the package. Pure."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Zone(NamedTuple):
    """A taxi zone of the Taxi and Limousine Commission (TLC)."""

    zone_id: int
    """1 to 265, the value of a trip's `PULocationID` and `DOLocationID`."""
    borough: str
    """`Manhattan`, `Queens`, …; `EWR` for Newark Airport, `Unknown` for 264, `N/A` for 265."""
    name: str
    """Display name such as `JFK Airport`; several zones may share one."""
    lon: float | None
    """Longitude of the zone's centre in degrees (WGS 84); None for 57, 104, 105, 264 and 265."""
    lat: float | None
    """Latitude of the zone's centre in degrees (WGS 84); None where `lon` is."""


@cache
def zones() -> tuple[Zone, ...]:
    """All zones by id: zone `n` is `zones()[n - 1]`."""
    table = files(__package__).joinpath("zones.csv").read_text(encoding="utf-8")
    return tuple(
        Zone(int(row["zone_id"]), row["borough"], row["zone"], _degrees(row["lon"]), _degrees(row["lat"]))
        for row in csv.DictReader(table.splitlines())
    )


def _degrees(text: str) -> float | None:
    return float(text) if text else None


# fmt: off
CONGESTION_ZONES = frozenset({
    4, 12, 13, 45, 48, 50, 68, 79, 87, 88, 90, 100, 107, 113, 114, 125, 137, 144, 148, 158, 161, 162, 163,
    164, 170, 186, 209, 211, 224, 229, 230, 231, 232, 233, 234, 246, 249, 261,
})
"""Manhattan south of 60th Street, where the congestion toll of 2025 is due."""

SURCHARGE_ZONES = CONGESTION_ZONES | {43, 140, 141, 142, 143, 236, 237, 238, 239, 262, 263}
"""Manhattan south of 96th Street, where taxis charge the congestion surcharge."""
# fmt: on

MANHATTAN = frozenset(zone.zone_id for zone in zones() if zone.borough == "Manhattan")
