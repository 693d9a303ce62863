"""The reason of a dead letter as one of few words: free text would make a new series for each message."""

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
"""By stage, the first whose pattern the reason begins with. `no_json` is what is no JSON object."""

REASONS = [(stage, kind) for stage, kinds in _KINDS.items() for kind in (*(name for name, _ in kinds), "other")]
"""All stages and kinds there are."""


def kind_of_reason(stage: str, reason: str) -> str:
    """The kind of a dead letter's reason, `other` if it is none that is known."""
    return next((kind for kind, pattern in _KINDS.get(stage, ()) if re.match(pattern, reason, re.DOTALL)), "other")
