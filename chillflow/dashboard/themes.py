"""Colours. The scale of the map is cividis: even to the eye, and the same to those who see fewer colours."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DARK", "LIGHT", "Theme"]

_CIVIDIS = ("#00224e", "#2a3f6d", "#575d6d", "#7d7c78", "#a59c74", "#d2c060", "#fee838")


class Theme(NamedTuple):
    """What a chart is drawn with."""

    text: str
    muted: str
    faint: str
    line: str
    card: str
    accent: str
    primary: str
    """Of buttons and of what is chosen."""
    scale: tuple[str, ...]
    """From little to much; on a dark page without the darkest."""


LIGHT = Theme("#0f172a", "#52606f", "#cbd5e1", "#e2e8f0", "#ffffff", "#c2410c", "#1d4ed8", _CIVIDIS)
DARK = Theme("#e8edf4", "#9aa7b8", "#3b4657", "#2a3442", "#161d27", "#fb923c", "#3b82f6", ("#47536f", *_CIVIDIS[2:]))
