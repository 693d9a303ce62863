"""Dead letters, counted by kind; of each kind one is shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from chillflow.log import get_logger
from chillflow.messages import Message
from chillflow.monitoring.metrics import DEAD_LETTERS
from chillflow.monitoring.reasons import kind_of_reason

__all__ = ["note"]


def note(letters: Iterable[Message]) -> None:
    """Count these dead letters, and warn of the first of each kind."""
    alike: defaultdict[tuple[str, str], list[dict[str, bytes | None]]] = defaultdict(list)
    for letter in letters:
        said = {**dict(letter.headers), "trip_key": letter.key}  # of headers given twice the last, ours, counts
        stage = _text(said["stage"])
        alike[stage, kind_of_reason(stage, _text(said["reason"]))].append(said)
    for (stage, kind), found in alike.items():
        DEAD_LETTERS.labels(stage, kind).inc(len(found))
        first = {name: _text(found[0].get(name)) for name in ("reason", "trip_key", "topic", "partition", "offset")}
        shown = {name: int(text) if name in ("partition", "offset") else text for name, text in first.items() if text}
        get_logger().warning(f"dead letter ({stage}, {kind})", count=len(found), **shown)


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
