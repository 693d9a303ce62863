"""Kinds of dead-letter reasons. As a metric label, the reason itself would make a new series for each message."""

from __future__ import annotations

import re

__all__ = ["REASONS", "kind_of_reason"]

_KINDS = {
    "decode": (
        ("no_key", r"no message key"),
        ("tombstone", r"null value"),
        ("wrong_key", r"the message key .* is not the trip_key"),
        ("unknown_type", r"Input tag .* found using 'event_type'|Unable to extract tag"),
        ("schema_version", r"\w+\.schema_version: "),
        ("field", r"[a-z_]+\.\w"),
        ("no_json", r"JSON is malformed|Invalid JSON|Input (data|should be an object)|maximum recursion"),
    ),
    "write": (
        ("key_too_long", r"trip_key is longer than"),
        ("nul", r"a text holds a NUL"),
        ("amount", r"\w+ \S+ does not fit"),
    ),
}
"""Kinds by stage, each with a pattern for the start of the reason; the first match counts. `no_json`: no object."""

REASONS = [(stage, kind) for stage, kinds in _KINDS.items() for kind in (*(name for name, _ in kinds), "other")]
"""All pairs of stage and kind."""


def kind_of_reason(stage: str, reason: str) -> str:
    """The kind of a dead letter's reason; `other` if unknown."""
    return next((kind for kind, pattern in _KINDS.get(stage, ()) if re.match(pattern, reason, re.DOTALL)), "other")
