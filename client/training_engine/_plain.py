"""Protobuf messages as plain dicts with the contract's names, and back.

Unlike protobuf's own JSON, 64-bit integers stay integers, enum values become the lower-case words
that REST uses, and times become aware datetimes, so that both transports read the same records.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from google.protobuf.message import Message

from training_engine.errors import InvalidArgumentError
from training_engine.records import Plain

# Descriptors are typed Any: protobuf's C and Python implementations do not share their classes.

_TIMESTAMP = "google.protobuf.Timestamp"


def message_to_plain(message: Message) -> Plain:
    """Return every field of the message; None for an absent one, as REST says null.

    Of a oneof only the field that is set is there.
    """
    return {
        spec.name: _read(spec, message)
        for spec in message.DESCRIPTOR.fields
        if not _in_oneof(spec) or message.HasField(spec.name)
    }


def _in_oneof(spec: Any) -> bool:
    """Whether the field is one of several; `optional` alone makes a oneof of its own, `_name`."""
    return spec.containing_oneof is not None and not spec.containing_oneof.name.startswith("_")


def _read(spec: Any, message: Message) -> Any:
    value = getattr(message, spec.name)
    if isinstance(value, Mapping):  # a map field
        values = spec.message_type.fields_by_name["value"]
        return {key: _read_one(values, item) for key, item in value.items()}
    if spec.is_repeated:
        return [_read_one(spec, item) for item in value]
    if spec.has_presence and not message.HasField(spec.name):
        return None
    return _read_one(spec, value)


def _read_one(spec: Any, value: Any) -> Any:
    if spec.enum_type is not None:
        return _enum_word(spec.enum_type, value)
    if spec.message_type is None:
        # REST has no way to say that a number is infinite or none.
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if spec.message_type.full_name == _TIMESTAMP:
        return value.ToDatetime(tzinfo=UTC)
    return message_to_plain(value)


def _enum_prefix(enum: Any) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(enum.name)).upper() + "_"


def _enum_word(enum: Any, number: int) -> str | None:
    known = enum.values_by_number.get(number)
    if known is None or number == 0:
        return None
    return str(known.name).removeprefix(_enum_prefix(enum)).lower()


def plain_to_message(kind: type[Message], plain: Mapping[str, Any]) -> Message:
    """Return a request message; None means absent.

    Raises:
        InvalidArgumentError: A key or a value does not fit the message.
    """
    try:
        return kind(**_write(kind.DESCRIPTOR, plain))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"the request cannot be sent: {error}") from error


def _write(descriptor: Any, plain: Mapping[str, Any]) -> Plain:
    values: Plain = {}
    for name, value in plain.items():
        spec = descriptor.fields_by_name.get(name)
        if value is None:
            continue
        if spec is not None and spec.enum_type is not None:
            value = _enum_name(name, spec.enum_type, value)
        elif spec is not None and spec.message_type is not None and isinstance(value, Mapping):
            value = _write(spec.message_type, value)
        values[name] = value
    return values


def _enum_name(field: str, enum: Any, word: str) -> str:
    prefix = _enum_prefix(enum)
    name = prefix + str(word).upper()
    if name not in enum.values_by_name:
        known = ", ".join(v.name.removeprefix(prefix).lower() for v in enum.values[1:])
        raise ValueError(f"{field} is {word!r}; it must be one of {known}")
    return name
