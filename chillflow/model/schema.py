"""JSON Schema of the messages, generated from the models that define them. Pure."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from chillflow.model.events import EVENT_CLASSES, EVENT_TYPES
from chillflow.model.measures import ZoneWindow
from chillflow.model.trips import CompleteTrip

__all__ = ["schema"]


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        """False: a title would only repeat the name."""
        return False


def schema() -> dict[str, Any]:
    """The JSON Schema of the events as read, and of CompleteTrip, IncompleteTrip and ZoneWindow as written.

    `$defs` has each by name. Readers ignore fields that are not in the schema.
    """
    _, made = models_json_schema(
        [
            *((cls, "validation") for cls in EVENT_CLASSES),
            (CompleteTrip, "serialization"),
            (ZoneWindow, "serialization"),
        ],
        schema_generator=_Generator,
    )
    models = made["$defs"]
    for cls in EVENT_CLASSES:
        models[cls.__name__]["required"].append("event_type")
    for sent in (models["CompleteTrip"], models["ZoneWindow"]):
        sent["required"] = [*sent["properties"]]
        sent["description"] = sent["description"].partition("\n")[0]  # the rest is for users of the class
        sent.pop("additionalProperties", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of ChillFlow Stream",
        "$defs": {
            "Event": {
                "description": "One of the five events.",
                "oneOf": [{"$ref": f"#/$defs/{cls.__name__}"} for cls in EVENT_CLASSES],
                "discriminator": {"propertyName": "event_type"},
            },
            **{cls.__name__: models[cls.__name__] for cls in EVENT_CLASSES},
            "CompleteTrip": models["CompleteTrip"],
            "IncompleteTrip": _incomplete(models["CompleteTrip"]),
            "ZoneWindow": models["ZoneWindow"],
        },
    }


def _incomplete(complete: dict[str, Any]) -> dict[str, Any]:
    """The schema of an IncompleteTrip: the fields of a CompleteTrip, nearly all optional, and `missing`."""
    missing = {
        "type": "array",
        "items": {"enum": [*EVENT_TYPES]},
        "minItems": 1,
        "description": "types of the missing events",
    }
    return {
        "title": "IncompleteTrip",
        "description": "A trip that timed out: the known fields of CompleteTrip, and the types of the missing events.",
        "type": "object",
        "properties": {**complete["properties"], "missing": missing},
        "required": ["trip_key", "revision", "missing"],
    }
