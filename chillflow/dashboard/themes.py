"""Colours and common options of charts. Pure.

The map uses cividis, which is perceptually even and readable with colour blindness.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ["DARK", "LIGHT", "Options", "Theme", "chart"]

Options: TypeAlias = dict[str, object]
"""Options of an ECharts chart, or a part of them."""

_CIVIDIS = ("#00224e", "#2a3f6d", "#575d6d", "#7d7c78", "#a59c74", "#d2c060", "#fee838")


class Theme(NamedTuple):
    """The colours of a light or a dark page."""

    text: str
    muted: str
    faint: str
    line: str
    card: str
    accent: str
    primary: str
    """For buttons and selections."""
    scale: tuple[str, ...]
    """From low to high; without the darkest colours on a dark page."""

    def tooltip(self, trigger: str) -> Options:
        """Tooltips of `item` or `axis`."""
        return {
            "trigger": trigger,
            "backgroundColor": self.card,
            "borderColor": self.line,
            "textStyle": {"color": self.text, "fontSize": 12},
        }


LIGHT = Theme("#0f172a", "#52606f", "#cbd5e1", "#e2e8f0", "#ffffff", "#c2410c", "#1d4ed8", _CIVIDIS)
DARK = Theme("#e8edf4", "#9aa7b8", "#3b4657", "#2a3442", "#161d27", "#fb923c", "#3b82f6", ("#47536f", *_CIVIDIS[2:]))


def chart(description: str) -> Options:
    """Options of every chart; the description is for screen readers."""
    return {
        "backgroundColor": "transparent",
        "animation": False,  # a chart that changes every second would always be moving
        "aria": {"enabled": True, "label": {"description": description}},
        "textStyle": {"fontFamily": "inherit"},
    }
