"""Pickup and drop-off zones by demand, and the distances between them, for both taxi services."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import asin, cos, radians, sin, sqrt
from typing import Literal

import polars as pl

from chillflow.model.zones import SURCHARGE_ZONES, Zone, zones
from chillflow.synthetic.randomness import SLOTS, loaded_die, look_up

Service = Literal["yellow", "green"]
"""Yellow taxis serve Manhattan and the airports, green ones the rest of the city and northern Manhattan."""

NEWARK, JFK, LAGUARDIA = 1, 132, 138
UNKNOWN, OUTSIDE = 264, 265

_UNSERVED = {57, 103, 104, 105}  # 57 is not on TLC's map, the others are islands without a road


@dataclass(frozen=True)
class _Demand:
    """Relative demand of zones: by borough, unless a zone has its own."""

    core: float  # a zone of Manhattan south of 96th Street
    boroughs: dict[str, float]
    busy: dict[int, float]

    def of(self, zone: Zone) -> float:
        if zone.zone_id in _UNSERVED:
            return 0.0
        usual = self.core if zone.zone_id in SURCHARGE_ZONES else self.boroughs[zone.borough]
        return self.busy.get(zone.zone_id, usual)


# fmt: off
_PICKUPS: dict[Service, _Demand] = {
    "yellow": _Demand(
        core=60,
        boroughs={"Manhattan": 8, "Queens": 0.8, "Brooklyn": 1.2, "Bronx": 0.3, "Staten Island": 0.03,
                  "EWR": 0.2, "Unknown": 12, "N/A": 3},
        busy={JFK: 190, LAGUARDIA: 130, 237: 190, 161: 185, 236: 180, 162: 140, 186: 140, 230: 135, 142: 130,
              239: 110, 163: 110, 170: 110, 234: 105, 48: 105, 68: 100, 141: 95, 79: 95, 12: 6,
              194: 1, 202: 1},
    ),
    "green": _Demand(
        core=0.3,
        boroughs={"Manhattan": 2, "Queens": 0.9, "Brooklyn": 0.9, "Bronx": 0.6, "Staten Island": 0.05,
                  "EWR": 0.02, "Unknown": 0.8, "N/A": 0.6},
        busy={74: 121, 75: 85, 95: 29, 43: 28, 166: 26, 82: 26, 41: 26, 97: 19, 65: 16, 7: 15, 129: 14,
              130: 13, 244: 13, 42: 12, 260: 10, JFK: 0.2, LAGUARDIA: 0.2},
    ),
}
_DROPOFFS: dict[Service, _Demand] = {
    "yellow": _Demand(
        core=60,
        boroughs={"Manhattan": 14, "Queens": 6, "Brooklyn": 7, "Bronx": 3, "Staten Island": 0.5,
                  "EWR": 600, "Unknown": 6, "N/A": 2500},
        busy={JFK: 4000, LAGUARDIA: 800, 236: 180, 237: 170, 161: 165, 170: 120, 230: 120, 239: 115, 141: 110,
              142: 110, 162: 110, 48: 100, 234: 95, 68: 95, 238: 95, 263: 90, 12: 8, 194: 1, 202: 1},
    ),
    "green": _Demand(
        core=20,
        boroughs={"Manhattan": 18, "Queens": 7, "Brooklyn": 7, "Bronx": 5, "Staten Island": 0.3,
                  "EWR": 10, "Unknown": 1, "N/A": 400},
        busy={75: 55, 74: 50, 236: 70, 238: 65, 41: 40, 166: 36, 42: 35, 263: 40, 239: 36,
              LAGUARDIA: 75, JFK: 100},
    ),
}
# fmt: on

_EARTH_RADIUS_MILES = 3958.8
_NO_PLACE = {UNKNOWN: 150, OUTSIDE: 1500}  # hundredths of a mile to and from any zone: they have no centre
_AIRPORTS = {NEWARK, JFK, LAGUARDIA}
# Hundredths of a mile; a zone this far away draws half as many trips as one next door.
_USUAL_TRIP: dict[Service, int] = {"yellow": 150, "green": 100}


@cache
def pickup_die(service: Service) -> pl.Series:
    """A loaded die of pickup zones."""
    return pl.Series(loaded_die({zone.zone_id: _PICKUPS[service].of(zone) for zone in zones()}))


def dropoff_zone(service: Service, pickup_zone: pl.Expr, roll: pl.Expr) -> pl.Expr:
    """The drop-off zone of a trip from a pickup zone; `roll` is uniform from 0 to `SLOTS` - 1."""
    return look_up(_dropoff_dice(service), (pickup_zone - 1) * SLOTS + roll)


def distance(pickup_zone: pl.Expr, dropoff_zone: pl.Expr) -> pl.Expr:
    """Great-circle distance between the centres of two zones in hundredths of a mile, Int64."""
    return look_up(_distances(), (pickup_zone - 1) * len(zones()) + dropoff_zone - 1)


@cache
def _dropoff_dice(service: Service) -> pl.Series:
    """The loaded dice of all pickup zones, concatenated; near zones are likelier than far ones."""
    faces: list[int] = []
    for pickup in zones():
        pulls = {dropoff.zone_id: _pull(service, pickup, dropoff) for dropoff in zones()}
        faces += loaded_die(pulls)
    return pl.Series(faces)


def _pull(service: Service, pickup: Zone, dropoff: Zone) -> float:
    if pickup == dropoff and pickup.zone_id in _AIRPORTS:
        return 0.0  # no trips within an airport, though distance and demand would make them frequent
    far = _hundredths_of_a_mile(pickup, dropoff) / _USUAL_TRIP[service]
    return _DROPOFFS[service].of(dropoff) / (1 + far * far * far)


@cache
def _distances() -> pl.Series:
    return pl.Series([_hundredths_of_a_mile(start, end) for start in zones() for end in zones()])


def _hundredths_of_a_mile(start: Zone, end: Zone) -> int:
    if start.lon is None or start.lat is None or end.lon is None or end.lat is None:
        return max(_NO_PLACE.get(start.zone_id, 0), _NO_PLACE.get(end.zone_id, 0))
    north, east = radians(end.lat - start.lat), radians(end.lon - start.lon)
    half_chord = sqrt(sin(north / 2) ** 2 + cos(radians(start.lat)) * cos(radians(end.lat)) * sin(east / 2) ** 2)
    # Rounded, so that a last digit that differs between machines has no effect.
    return round(200 * _EARTH_RADIUS_MILES * asin(half_chord))
