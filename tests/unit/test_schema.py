"""The JSON Schema of the messages: the committed file is current, and messages are valid against it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chillflow.assembly.results import Outputs
from chillflow.assembly.rules import Assembly
from chillflow.assembly.windows import Terms, WindowShard
from chillflow.keyed.watermark import NO_WATERMARK
from chillflow.model.codec import decode, encode
from chillflow.model.events import EVENT_CLASSES
from chillflow.model.schema import schema
from chillflow.model.topics import TopicNames
from chillflow.model.trips import CompleteTrip
from chillflow.production.splitting import split
from chillflow.settings import Settings

FILE = Path(__file__).parents[2] / "docs" / "schema.json"
SCHEMA = schema()
DAY = timedelta(days=1)
TRIP = CompleteTrip(
    pickup_ts=datetime(2024, 1, 1, 12, tzinfo=UTC),
    dropoff_ts=datetime(2024, 1, 1, 13, tzinfo=UTC),
    pu_zone_id=132,
    do_zone_id=1,
    service="yellow",
    trip_distance=17.2,
    total_amount=70.5,
    extra_columns={"note": "x"},
)


def faults(rule: dict[str, Any], value: Any, place: str = "$") -> list[str]:  # noqa: C901, PLR0912 - a case per keyword
    """Violations of the schema by a value; supports the keywords that this schema uses."""
    found: list[str] = []
    for keyword, wanted in rule.items():
        match keyword:
            case "$ref":
                found += faults(SCHEMA["$defs"][wanted.rpartition("/")[2]], value, place)
            case "oneOf" | "anyOf":
                fitting = [each for each in wanted if not faults(each, value, place)]
                if not fitting or (keyword == "oneOf" and len(fitting) > 1):
                    found.append(f"{place}: {value!r} fits {len(fitting)} of {keyword}")
            case "type":
                kinds: dict[str, Any] = {
                    "object": dict,
                    "array": list,
                    "string": str,
                    "integer": int,
                    "number": (int, float),
                    "boolean": bool,
                    "null": type(None),
                }
                if not isinstance(value, kinds[wanted]) or (isinstance(value, bool) and wanted != "boolean"):
                    found.append(f"{place}: {value!r} is not of type {wanted}")
            case "const" if value != wanted:
                found.append(f"{place}: {value!r} is not {wanted!r}")
            case "enum" if value not in wanted:
                found.append(f"{place}: {value!r} is not in {wanted}")
            case "minimum" if isinstance(value, (int, float)) and value < wanted:
                found.append(f"{place}: {value!r} < {wanted}")
            case "maximum" if isinstance(value, (int, float)) and value > wanted:
                found.append(f"{place}: {value!r} > {wanted}")
            case "minLength" | "minItems" if len(value) < wanted:
                found.append(f"{place}: {value!r} is too short")
            case "required":
                found += [f"{place}: no {name}" for name in wanted if name not in value]
            case "properties" if isinstance(value, dict):
                for name in value.keys() & wanted.keys():
                    found += faults(wanted[name], value[name], f"{place}.{name}")
            case "items":
                for each in value:
                    found += faults(wanted, each, place)
    return found


def of(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def test_the_committed_schema_is_current() -> None:
    assert json.loads(FILE.read_text()) == SCHEMA, "run chillflow-stream schema > docs/schema.json"


def test_every_event_is_valid() -> None:
    events = [json.loads(encode(event)) for event in split(TRIP)]

    for cls, event in zip(EVENT_CLASSES, events, strict=True):
        assert faults(of("Event"), event) == faults(of(cls.__name__), event) == []
        assert SCHEMA["$defs"][cls.__name__]["properties"].keys() == event.keys()


@pytest.mark.parametrize("cls", EVENT_CLASSES)
def test_the_decoder_requires_the_fields_that_the_schema_requires(cls: Any) -> None:
    (event,) = (json.loads(encode(each)) for each in split(TRIP) if isinstance(each, cls))
    needed = SCHEMA["$defs"][cls.__name__]["required"]

    for name in event:
        less = {other: value for other, value in event.items() if other != name}
        if name in needed:
            assert faults(of("Event"), less)
            with pytest.raises(ValueError, match=name):
                decode(json.dumps(less).encode())
        else:
            assert not faults(of("Event"), less)
            decode(json.dumps(less).encode())


def test_results_and_windows_are_valid() -> None:
    outputs = Outputs(TopicNames.of(Settings()), 1)
    assembly = Assembly(DAY, DAY, DAY)
    state, sent = None, []
    for event in (event.to_struct() for event in split(TRIP)):
        state, outcome = assembly.assemble(state, event, NO_WATERMARK)
        assert state is not None
        if outcome.result:
            sent.append(outcome.result)
    (complete,) = sent
    opened, _ = assembly.assemble(None, split(TRIP)[3].to_struct(), NO_WATERMARK)
    assert opened is not None
    closed = assembly.close(opened)[1]
    assert closed is not None
    assert closed.result is not None
    unit = WindowShard(Terms.of([timedelta(hours=1)], timedelta(0), DAY))
    unit.add(complete.changes)
    _, windows = outputs.windows(("00/04", unit.take()))
    _, trips = outputs.trips(("0000", [complete, closed.result]))
    _, described = outputs.window_messages(("0000", windows))

    for name, message in zip(("CompleteTrip", "IncompleteTrip", "ZoneWindow"), [*trips, *described], strict=True):
        value = json.loads(message.value or b"")
        assert faults(of(name), value) == []
        assert faults(of(name), {"revision": 1})
        assert value.keys() <= SCHEMA["$defs"][name]["properties"].keys()
