"""The map as ECharts options: each zone is a circle at its centre. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from math import cos, radians, sqrt
from statistics import fmean
from typing import NamedTuple

from chillflow.dashboard.themes import Options, Theme, chart
from chillflow.dashboard.window_sums import MEASURES, MapMeasure, Sums, ZoneSums
from chillflow.model.zones import MANHATTAN, SURCHARGE_ZONES, Zone
from chillflow.model.zones import zones as all_zones

__all__ = ["EXTENTS", "city_map", "zone_name"]

_KM_PER_DEGREE = 111.2
_LATITUDE = 40.73


class Extent(NamedTuple):
    """A square part of the map, in km on its plane."""

    label: str
    west: float
    south: float
    side: float
    largest: int
    """Diameter of the largest circle, pixels."""

    def has_room(self, place: tuple[float, float]) -> bool:
        """Whether a label at this place fits."""
        margin = self.side / 12
        return all(margin < at - low < self.side - margin for at, low in zip(place, self[1:3], strict=True))


def _place(lon: float, lat: float) -> tuple[float, float]:
    """Kilometres east and north of 74° W, 40.73° N; at this size the earth is flat."""
    return (lon + 74) * _KM_PER_DEGREE * cos(radians(_LATITUDE)), (lat - _LATITUDE) * _KM_PER_DEGREE


@cache
def _places() -> dict[int, tuple[float, float]]:
    return {each.zone_id: _place(each.lon, each.lat) for each in all_zones() if each.lon and each.lat}


def _square(label: str, ids: Sequence[int], largest: int) -> Extent:
    """The square around these zones, with a margin."""
    xs, ys = zip(*(_places()[number] for number in ids), strict=True)
    side = 1.1 * max(max(xs) - min(xs), max(ys) - min(ys))
    return Extent(label, (min(xs) + max(xs) - side) / 2, (min(ys) + max(ys) - side) / 2, side, largest)


EXTENTS = {
    "city": _square("Whole city", [*_places()], 30),
    "manhattan": _square("Manhattan", [*MANHATTAN & {*_places()}], 40),
    "south": _square("South of 96th St", [*SURCHARGE_ZONES], 56),
}
"""By name."""


def zone_name(number: int) -> str:
    """Name and number of a zone, since several zones share a name."""
    return f"{_zone(number).name} ({number})"


def _zone(number: int) -> Zone:
    known = all_zones()
    return known[number - 1] if 0 < number <= len(known) else Zone(number, "Unknown", "not a TLC zone", None, None)


def city_map(
    zones: Sequence[ZoneSums],
    *,
    measure: str,
    most_trips: int,
    top: float,
    extent: Extent,
    selected: int | None,
    theme: Theme,
) -> Options:
    """The map: `most_trips` gives the largest circle, `top` ends the colour scale."""
    shown = [each for each in zones if each.zone_id in _places()]
    names = ["km east", "km north", *(each.head for each in MEASURES.values()), "Zone"]
    circles = {
        final: [_circle(each, most_trips, extent) for each in shown if each.final == final] for final in (True, False)
    }
    common: Options = {
        "type": "scatter",
        "dimensions": names,
        "encode": {"x": 0, "y": 1, "tooltip": [*range(2, 2 + len(MEASURES))]},
        "cursor": "pointer",
        "emphasis": {"scale": 1.15},
    }
    return chart(_description(zones, MEASURES[measure])) | {
        "grid": {"left": 0, "right": 0, "top": 0, "bottom": 0},
        "xAxis": _axis(extent.west, extent.side),
        "yAxis": _axis(extent.south, extent.side),
        "tooltip": theme.tooltip("item"),
        "legend": {
            "data": [
                {"name": "final", "itemStyle": {"color": theme.muted, "borderWidth": 0}},
                {"name": "provisional", "itemStyle": {"color": theme.faint, **_dashed(theme)}},
            ],
            "selectedMode": False,
            "top": 8,
            "left": 8,
            "itemHeight": 12,
            "textStyle": {"color": theme.muted},
        },
        "visualMap": {
            "type": "continuous",
            "min": 0,
            "max": max(top, 1),
            "dimension": 2 + [*MEASURES].index(measure),
            "seriesIndex": [2, 3],
            "inRange": {"color": [*theme.scale]},
            "left": 8,
            "bottom": 8,
            "itemWidth": 10,
            "itemHeight": 110,
            "text": [MEASURES[measure].write(top), "0"],
            "textStyle": {"color": theme.muted, "fontSize": 11},
        },
        "series": [
            {
                "name": "places",
                "type": "scatter",
                "silent": True,
                "symbolSize": 3,
                "itemStyle": {"color": theme.faint},
                "data": [[*place] for place in _places().values()],
                "z": 1,
            },
            {
                "name": "boroughs",
                "type": "scatter",
                "silent": True,
                "symbolSize": 0,
                "z": 1,
                "label": {"show": True, "formatter": "{b}", "color": theme.muted, "fontSize": 11, "opacity": 0.75},
                "data": [
                    {"name": name, "value": [*place]} for name, place in _boroughs().items() if extent.has_room(place)
                ],
            },
            common
            | {
                "name": "final",
                "z": 3,
                "itemStyle": {"opacity": 0.92, "borderColor": theme.card, "borderWidth": 1},
                "data": circles[True],
            },
            common
            | {
                "name": "provisional",
                "z": 3,
                "itemStyle": {"opacity": 0.8, **_dashed(theme)},
                "data": circles[False],
            },
            {
                "name": "selected",
                "type": "scatter",
                "silent": True,
                "z": 4,
                "itemStyle": {"color": "transparent", "borderColor": theme.accent, "borderWidth": 3},
                "data": _ring(selected, zones, most_trips, extent),
            },
        ],
    }


def _description(zones: Sequence[ZoneSums], measure: MapMeasure) -> str:
    """The map for a screen reader."""
    first = ", ".join(f"{zone_name(each.zone_id)} {measure.text(each.sums)}" for each in zones[:3])
    return f"Map of {len(zones)} zones by {measure.label.lower()}; the table shows the same. Most trips: {first}"


def _dashed(theme: Theme) -> Options:
    """The edge of a provisional circle: visible without colours, too."""
    return {"borderColor": theme.text, "borderWidth": 1.3, "borderType": [3, 3]}


def _axis(low: float, side: float) -> Options:
    return {"type": "value", "min": low, "max": low + side, "show": False}


def _circle(zone: ZoneSums, most_trips: int, extent: Extent) -> Options:
    values = [measure.rounded(zone.sums) for measure in MEASURES.values()]
    return {
        "name": zone_name(zone.zone_id),
        "value": [*_places()[zone.zone_id], *("-" if each is None else each for each in values), zone.zone_id],
        "symbolSize": _size(zone.sums, most_trips, extent),
    }


def _ring(selected: int | None, zones: Sequence[ZoneSums], most_trips: int, extent: Extent) -> list[Options]:
    """The ring around the selected zone, with or without trips."""
    if selected is None or selected not in _places():
        return []
    size = next((_size(each.sums, most_trips, extent) for each in zones if each.zone_id == selected), 4.0)
    return [{"value": [*_places()[selected]], "symbolSize": size + 8}]


def _size(sums: Sums, most_trips: int, extent: Extent) -> float:
    """Diameter in pixels: the area is proportional to the trips, with a visible minimum."""
    return max(5.0, extent.largest * sqrt(sums.trips / max(most_trips, sums.trips, 1)))


@cache
def _boroughs() -> dict[str, tuple[float, float]]:
    """Places of the borough labels: the mean of the zones' centres, because there are no outlines.

    Circles fill the middle of Manhattan, so its label is in the Hudson.
    """
    members: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, place in _places().items():
        members[_zone(number).borough].append(place)
    names = {name: (fmean(x for x, _ in places), fmean(y for _, y in places)) for name, places in members.items()}
    return names | {"Manhattan": (min(x for x, _ in members["Manhattan"]) - 1.5, names["Manhattan"][1])}
