"""Line charts as ECharts options: a measure over the day, and the throughput of the last minutes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chillflow.dashboard.days import LocalDay
from chillflow.dashboard.themes import Options, Theme, chart
from chillflow.dashboard.window_sums import MapMeasure, SummedWindow

__all__ = ["day_curve", "sparkline"]


def day_curve(
    windows: Sequence[SummedWindow],
    starts: Sequence[datetime],
    at: datetime,
    day: LocalDay,
    measure: MapMeasure,
    theme: Theme,
) -> Options:
    """A measure over the windows of a day; provisional windows are dashed and hollow."""
    found = {window.start: window for window in windows}
    clocks = [day.clock(start) for start in starts]

    def line(final: bool) -> list[float | None]:
        values: list[float | None] = []
        for number, start in enumerate(starts):
            window = found.get(start)
            after = found.get(starts[number + 1]) if number + 1 < len(starts) else None
            joins = not final and window is not None and after is not None and not after.final
            values.append(measure.rounded(window.sums) if window and (window.final == final or joins) else None)
        return values

    series: Options = {"type": "line", "showSymbol": False, "lineStyle": {"width": 2}, "color": theme.accent}
    return chart(_description(windows, day, measure)) | {
        "grid": {"left": 8, "right": 12, "top": 28, "bottom": 4, "containLabel": True},
        "tooltip": theme.tooltip("axis"),
        "legend": {
            "data": ["final", "provisional"],
            "top": 0,
            "right": 0,
            "selectedMode": False,
            "itemHeight": 8,
            "textStyle": {"color": theme.muted, "fontSize": 11},
        },
        "xAxis": {
            "type": "category",
            "data": clocks,
            "boundaryGap": False,
            "axisLabel": {"color": theme.muted, "fontSize": 11, "interval": max(0, len(clocks) // 8 - 1)},
            "axisLine": {"lineStyle": {"color": theme.line}},
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "splitNumber": 3,
            "axisLabel": {"color": theme.muted, "fontSize": 11},
            "splitLine": {"lineStyle": {"color": theme.line}},
        },
        "series": [
            series
            | {
                "name": "final",
                "data": line(True),
                "areaStyle": {"opacity": 0.12},
                "markLine": {
                    "silent": True,
                    "symbol": "none",
                    "label": {"show": False},
                    "lineStyle": {"color": theme.muted, "type": "solid", "width": 1},
                    "data": [{"xAxis": starts.index(at)}] if at in starts else [],
                },
            },
            series
            | {
                "name": "provisional",
                "data": line(False),
                "lineStyle": {"width": 2, "type": "dashed"},
                "showSymbol": True,
                "symbol": "emptyCircle",
                "symbolSize": 4,
            },
        ],
    }


def _description(windows: Sequence[SummedWindow], day: LocalDay, measure: MapMeasure) -> str:
    """The curve for a screen reader."""
    most = max(windows, key=lambda each: measure.of(each.sums) or 0, default=None)
    end = f": highest {measure.text(most.sums)}, at {day.clock(most.start)}" if most else ": no trips"
    return f"{measure.label} over the day{end}"


def sparkline(rates: Sequence[tuple[float, float]], minutes: int, theme: Theme) -> Options:
    """Events per second over the last minutes."""
    return chart(f"Events per second over the last {minutes} minutes") | {
        "grid": {"left": 0, "right": 0, "top": 2, "bottom": 1},
        "xAxis": {"type": "value", "show": False, "min": -60 * minutes, "max": 0},
        "yAxis": {"type": "value", "show": False, "min": 0},
        "series": [
            {
                "type": "line",
                "silent": True,
                "showSymbol": False,
                "color": theme.accent,
                "lineStyle": {"width": 1.5},
                "areaStyle": {"opacity": 0.15},
                "data": [[round(at, 1), rate] for at, rate in rates],
            }
        ],
    }
