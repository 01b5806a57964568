"""Protobuf messages as JSON for people: the one place where the two meet.

Unlike protobuf's own JSON, numbers are numbers (its int64 are strings), keys are snake_case,
enums are lower-case without their prefix, times are RFC 3339 in UTC, and what is absent is null
instead of missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_TIMESTAMP = Timestamp.DESCRIPTOR.full_name

# Reasons are upper-case in gRPC, and in REST in the lower case of every other code.
_LOWERED = {"Job.error_reason"}


def to_json(message: Message) -> dict[str, Any]:
    """`message` as a JSON object with every field of its type."""
    owner = message.DESCRIPTOR.name
    fields: Iterable[Any] = message.DESCRIPTOR.fields
    return {field.name: _field_value(message, field, f"{owner}.{field.name}") for field in fields}


def page_to_json(message: Message, **renderers: Any) -> dict[str, Any]:
    """A page of rows; `renderers` name another function than `to_json` for a repeated field."""
    page = to_json(message) if not renderers else {}
    for name, render in renderers.items():
        page[name] = [render(row) for row in getattr(message, name)]
    token: str = message.next_page_token  # type: ignore[attr-defined]
    page["next_page_token"] = token or None
    return page


def job_summary(job: Message) -> dict[str, Any]:
    """A job as lists and events show it: without its configuration."""
    return {name: value for name, value in to_json(job).items() if name != "config"}


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _field_value(message: Message, field: FieldDescriptor, path: str) -> Any:
    value = getattr(message, field.name)
    if isinstance(value, Mapping):
        assert field.message_type is not None  # the entries of a map are messages
        values = field.message_type.fields_by_name["value"]
        return {key: _plain(item, values) for key, item in value.items()}
    if field.is_repeated:
        return [_plain(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return value.lower() if path in _LOWERED else _plain(value, field)


def _plain(value: Any, field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name == _TIMESTAMP:
            return timestamp_text(value)
        return to_json(value)
    if field.enum_type is not None:
        return _enum_name(value, field.enum_type)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN and no infinity
    return value


def _enum_name(number: int, enum: EnumDescriptor) -> str | None:
    """`running` for JOB_STATUS_RUNNING; None for the zero value and for unknown numbers."""
    values = enum.values_by_number
    if number == 0 or number not in values:
        return None
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return str(values[number].name).removeprefix(prefix).lower()


def timestamp_text(stamp: Timestamp) -> str:
    """RFC 3339, in UTC, with a Z."""
    return str(stamp.ToJsonString())
