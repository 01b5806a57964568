"""What every shape shares, and the shapes that no message has."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

SHOWN_AS = "x-shown-as"
"""Marks a schema that OpenAPI replaces by a reference to the named one."""


class Body(BaseModel):
    """A request body: no coercion, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """Query parameters: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """An answer. Every field is always there; what is absent is null."""

    model_config = ConfigDict(extra="forbid")


IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="A name for this change: repeated within 24 h it returns the first answer "
        "and changes nothing; with another body it is refused with 409.",
    ),
]


def _object_or_text(value: Any) -> Any:
    if isinstance(value, dict | str):
        return value
    raise ValueError("should be an object, or the text of a YAML or JSON document")


# It passes through as it came: the control plane alone validates, so that every door lists the
# same problems. OpenAPI shows what it may hold.
ObjectOrText = Annotated[dict[str, Any] | str, BeforeValidator(_object_or_text)]
ConfigDocument = Annotated[
    ObjectOrText,
    WithJsonSchema(
        {
            "anyOf": [
                {SHOWN_AS: "TrainingConfig"},
                {"type": "string", "description": "The same as the text of a YAML or JSON file."},
            ]
        }
    ),
]
"""A configuration as its author wrote it: an object, or the text of a YAML or JSON file."""
