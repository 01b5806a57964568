"""Protobuf messages as plain dicts, and back: the one place where the two meet.

A plain dict is what REST's JSON holds. Unlike protobuf's own JSON, numbers are numbers (its 64-bit
integers are text), keys are snake_case, enum values lower-case words without their prefix, times
RFC 3339 in UTC, and what is absent is None instead of missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from training_engine.v1 import options_pb2

# Descriptors are typed Any: protobuf's C and Python implementations do not share their classes.
Plain = dict[str, Any]
M = TypeVar("M", bound=Message)
_Convert = Callable[[Any], Any]

_TIMESTAMP = "google.protobuf.Timestamp"
_RULES = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number from -2147483648 to 2147483647",
    FieldDescriptor.CPPTYPE_INT64: "a whole number from -2**63 to 2**63 - 1",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number from 0 to 4294967295",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number from 0 to 2**64 - 1",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_ENUM: "one of its words",
    FieldDescriptor.CPPTYPE_STRING: "text in UTF-8",
    FieldDescriptor.CPPTYPE_MESSAGE: "a mapping of names to values",
}


def message_to_plain(message: Message) -> Plain:
    """Return every field of the message; None for an absent one.

    Of a oneof only the field that is set is there.
    """
    plain = {}
    for name, read, chosen in _readers(message.DESCRIPTOR):
        if not chosen or message.HasField(name):
            plain[name] = read(message)
    return plain


def present_fields(message: Message) -> Plain:
    """Return the fields that are set, of nested messages too, with their values as they are."""
    return {field.name: _present(field, value) for field, value in message.ListFields()}


def _present(field: Any, value: Any) -> Any:
    if field.is_repeated and not is_map(field):
        return [_present_one(each) for each in value]
    return _present_one(value)


def _present_one(value: Any) -> Any:
    return present_fields(value) if isinstance(value, Message) else value


@cache
def _readers(descriptor: Any) -> list[tuple[str, _Convert, bool]]:
    """Name of each field, what reads it from a message, and whether it is one of a oneof."""
    return [(field.name, _reader(field), _in_oneof(field)) for field in descriptor.fields]


def _in_oneof(field: Any) -> bool:
    """Whether the field is one of several; `optional` alone makes a oneof of its own, `_name`."""
    return field.containing_oneof is not None and not field.containing_oneof.name.startswith("_")


def _reader(field: Any) -> _Convert:
    name, convert = field.name, _converter(field)
    if is_map(field):
        read = _converter(field.message_type.fields_by_name["value"])
        # In the order of its keys: protobuf has none.
        return lambda message: {
            key: read(each) for key, each in sorted(getattr(message, name).items())
        }
    if field.is_repeated:
        return lambda message: [convert(each) for each in getattr(message, name)]
    if field.has_presence:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name))


def is_map(field: Any) -> bool:
    """Whether the field is a `map`."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _converter(field: Any) -> _Convert:
    if field.enum_type is not None:
        return enum_words(field.enum_type).get
    if field.message_type is not None:
        return _time_text if is_time(field) else message_to_plain
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return _finite
    if field.GetOptions().Extensions[options_pb2.rest_field].reason:
        return str.lower
    return _as_it_is


def is_time(field: Any) -> bool:
    """Whether the field holds a time."""
    return field.message_type is not None and field.message_type.full_name == _TIMESTAMP


def _time_text(stamp: Any) -> str:
    return str(stamp.ToJsonString())


def _finite(number: float) -> float | None:
    """JSON has no way to say that a number is infinite or none."""
    return number if math.isfinite(number) else None


def _as_it_is(value: Any) -> Any:
    return value


@cache
def enum_words(enum: Any) -> dict[int, str]:
    """Return the word for each value of an enum but its zero, `running` for JOB_STATUS_RUNNING."""
    prefix = _prefix(enum)
    return {each.number: each.name.removeprefix(prefix).lower() for each in enum.values[1:]}


def _prefix(enum: Any) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(enum.name)).upper() + "_"


def plain_to_message(kind: type[M], plain: Mapping[str, Any]) -> M:
    """Return a message; None means absent.

    Raises:
        ValueError: A key or a value does not fit the message.
    """
    values = _write(kind.DESCRIPTOR, plain)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(_misfit(kind, values, "") or str(error)) from error


def _misfit(kind: type[Message], values: Mapping[str, Any], path: str) -> str | None:
    """Say which value does not fit its field, for protobuf does not name it."""
    for name, value in values.items():
        field: Any = kind.DESCRIPTOR.fields_by_name.get(name)
        try:
            kind(**{name: value})
        except (TypeError, ValueError):
            if _is_nested(field) and isinstance(value, Mapping):
                return _misfit(GetMessageClass(field.message_type), value, f"{path}{name}.")
            return f"{path}{name} is {value!r}; it must be {_rule(field)}" if field else None
    return None


def _rule(field: Any) -> str:
    if is_map(field):
        return "a mapping"
    return f"a list, each {_RULES[field.cpp_type]}" if field.is_repeated else _RULES[field.cpp_type]


def _write(descriptor: Any, plain: Mapping[str, Any]) -> Plain:
    values: Plain = {}
    for name, value in plain.items():
        field = descriptor.fields_by_name.get(name)
        if value is None:
            continue
        if field is not None and field.enum_type is not None:
            value = _enum_name(name, field.enum_type, value)
        elif _is_nested(field) and isinstance(value, Mapping):
            value = _write(field.message_type, value)
        values[name] = value
    return values


def _is_nested(field: Any) -> bool:
    return field is not None and field.message_type is not None and not is_map(field)


def _enum_name(field: str, enum: Any, word: str) -> str:
    name = _prefix(enum) + str(word).upper()
    if name not in enum.values_by_name:
        words = ", ".join(enum_words(enum).values())
        raise ValueError(f"{field} is {word!r}; it must be one of {words}")
    return name
