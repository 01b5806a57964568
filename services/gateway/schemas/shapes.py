"""The JSON shapes of the contract's messages, as pydantic models made from their descriptors.

The shape of a request's body is strict; an answer's has every field. Descriptions are the comments
of the protos, limits their options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model, model_validator

from gateway import contract
from gateway.schemas.base import Answer, Body, ConfigDocument, ObjectOrText, Query
from training_engine.descriptions import description
from training_engine.messages import enum_words, is_map, is_time
from training_engine.v1 import options_pb2
from training_engine.v1.config_pb2 import TrainingConfig

Shape = type[BaseModel]
Definition = tuple[Any, Any]
"""Type and default of a field, as `create_model` takes them."""

_NAMES = (
    (r"^List(\w+)sResponse$", r"\1Page"),
    (r"^Get(\w+)Response$", r"\1"),
    (r"^(\w+)Request$", r"\1Body"),
)


def name_of(message: Any) -> str:
    """Return the name of a message's JSON schema."""
    name = message.GetOptions().Extensions[options_pb2.rest_name] or message.name
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return str(name)


# --- answers


def answer_of(route: contract.Route) -> Shape | None:
    """Return the shape of a call's answer; None where it has no body."""
    message = route.method.output_type
    if not message.fields:
        return None
    if not (route.answer_field or route.echo):
        return answer(message)
    fields = list(message.fields)
    if route.answer_field:
        inner = message.fields_by_name[route.answer_field]
        view_name = contract.field_rules(inner).view
        if len(fields) == 1 and not route.echo:
            return answer(inner.message_type, view_name)
        fields.remove(inner)
        fields += contract.shown_fields(inner.message_type, view_name)
    if route.echo:
        fields.append(route.method.input_type.fields_by_name[route.echo])
    return _answer(name_of(message), description(message), fields)


@cache
def answer(message: Any, view_name: str = "") -> Shape:
    """Return the shape of a message, or of a view of it, in an answer."""
    fields = contract.shown_fields(message, view_name)
    if view_name:
        return _answer(view_name, contract.view(message, view_name).description, fields)
    return _answer(name_of(message), description(message), fields)


def _answer(name: str, text: str, fields: Iterable[Any]) -> Shape:
    return _model(name, text, Answer, {f.name: (_answered(f), _described(f)) for f in fields})


def _answered(field: Any) -> Any:
    rules = contract.field_rules(field)
    if is_map(field):
        value = _scalar(field.message_type.fields_by_name["value"])
        return dict[str, value | None]  # type: ignore[valid-type]
    kind = _answered_one(field, rules.view)
    if field.is_repeated:
        return list[kind]  # type: ignore[valid-type]
    may_be_absent = field.has_presence or field.enum_type or field.name == contract.PAGE_TOKEN
    return kind | None if may_be_absent and not rules.required else kind


def _answered_one(field: Any, view_name: str) -> Any:
    if field.message_type is None:
        return _scalar(field)
    if is_time(field):
        return str
    if _is_document(field.message_type):
        return document(field.message_type)
    return answer(field.message_type, view_name)


# --- configurations: their authors leave out what keeps its default


def _is_document(message: Any) -> bool:
    parts = [field.message_type for field in TrainingConfig.DESCRIPTOR.fields]
    return message is TrainingConfig.DESCRIPTOR or message in parts


@cache
def document(message: Any) -> Shape:
    """Return the shape of a configuration, or of a part of one."""
    made: dict[str, Definition] = {}
    for field in message.fields:
        kind = document(field.message_type) if field.message_type else _scalar(field)
        kind = list[kind] if field.is_repeated else kind  # type: ignore[valid-type]
        made[field.name] = (kind | None, _described(field, None))
    return _model(name_of(message), description(message), Answer, made)


# --- requests


@cache
def body(message: Any, path_variables: tuple[str, ...] = ()) -> Shape:
    """Return the shape of a request's body, without what its path has."""
    fields = [
        field
        for field in message.fields
        if field.name not in path_variables and not field.name.endswith(contract.DOCUMENT)
    ]
    name = name_of(message).removesuffix("Body") + "Body"
    made = {field.name: _taken(field) for field in fields}
    return _model(name, description(message), Body, made, _choices(message))


def _taken(field: Any) -> Definition:
    if field.name == contract.REQUEST_ID:
        text = f"{description(field)} The same as the `Idempotency-Key` header."
        return _limited(field), Field("", description=text)
    kind = _taken_type(field)
    if contract.field_rules(field).required or _is_only_choice(field):
        return kind, _described(field)
    if field.cpp_type == field.CPPTYPE_BOOL and not field.has_presence:
        return kind, _described(field, False)
    return kind | None, _described(field, None)


def _taken_type(field: Any) -> Any:
    kind = _taken_one(field)
    return list[kind] if field.is_repeated else kind  # type: ignore[valid-type]


def _taken_one(field: Any) -> Any:
    if field.name == contract.WHOLE_DOCUMENT:
        return ObjectOrText
    if field.message_type is None:
        return _limited(field)
    if field.message_type is not TrainingConfig.DESCRIPTOR:
        return body(field.message_type)
    # A verdict is given on any object: what makes it no valid configuration is the answer.
    is_verdict = field.containing_type.name.startswith("Validate")
    return ObjectOrText if is_verdict else ConfigDocument


def _choice(oneof: Any) -> list[str]:
    """Return the fields of a oneof that REST has.

    `optional` alone makes a oneof too, without a choice.
    """
    names = [field.name for field in oneof.fields if not field.name.endswith(contract.DOCUMENT)]
    return [] if oneof.name.startswith("_") else names


def _is_only_choice(field: Any) -> bool:
    return field.containing_oneof is not None and _choice(field.containing_oneof) == [field.name]


def has_choice(message: Any) -> bool:
    """Whether a body of the message has to choose one of several fields."""
    return bool(_choices(message))


def _choices(message: Any) -> dict[str, Any]:
    """Return validators that take exactly one field of each oneof."""
    names = {oneof.name: _choice(oneof) for oneof in message.oneofs}
    return {f"one_{name}": _exactly_one(each) for name, each in names.items() if len(each) > 1}


def _exactly_one(names: list[str]) -> Any:
    def check(values: BaseModel) -> BaseModel:
        if sum(getattr(values, name) is not None for name in names) != 1:
            raise ValueError(f"give exactly one of {' and '.join(f'`{name}`' for name in names)}")
        return values

    return model_validator(mode="after")(check)


@cache
def query(message: Any, path_variables: tuple[str, ...] = ()) -> Shape:
    """Return the shape of a request's query, without what its path has."""
    hidden = (*path_variables, contract.REQUEST_ID)
    made = {field.name: _asked(field) for field in message.fields if field.name not in hidden}
    return _model(f"{message.name}Query", description(message), Query, made)


def _asked(field: Any) -> Definition:
    if field.is_repeated:
        return list[_limited(field)], _described(field, [])  # type: ignore[misc]
    if contract.field_rules(field).required:
        return _limited(field), _described(field)
    if field.has_presence or field.enum_type is not None:
        return _limited(field) | None, _described(field, None)
    return _limited(field), _described(field, field.default_value)


def _limited(field: Any) -> Any:
    """Return the type of a field in a request, with its limits."""
    rules = contract.field_rules(field)
    limits: dict[str, Any] = {
        "ge": rules.minimum if rules.HasField("minimum") else None,
        "gt": rules.exclusive_minimum if rules.HasField("exclusive_minimum") else None,
        "le": rules.maximum if rules.HasField("maximum") else _largest(field),
        "max_length": rules.max_length or None,
        "pattern": rules.pattern or None,
    }
    return Annotated[_scalar(field), Field(**{k: v for k, v in limits.items() if v is not None})]


def _largest(field: Any) -> int | None:
    if field.enum_type is not None:
        return None
    return {field.CPPTYPE_INT32: 2**31 - 1, field.CPPTYPE_INT64: 2**63 - 1}.get(field.cpp_type)


# --- what they share


def _scalar(field: Any) -> Any:
    if field.enum_type is not None:
        return Literal[tuple(enum_words(field.enum_type).values())]
    return {
        field.CPPTYPE_STRING: str,
        field.CPPTYPE_BOOL: bool,
        field.CPPTYPE_INT32: int,
        field.CPPTYPE_INT64: int,
        field.CPPTYPE_DOUBLE: float,
    }[field.cpp_type]


def _described(field: Any, default: Any = ...) -> Any:
    text = description(field) + (" RFC 3339, UTC." if is_time(field) else "")
    return Field(default, description=text, alias=field.name)


def _model(
    name: str,
    text: str,
    base: Shape,
    fields: dict[str, Definition],
    validators: dict[str, Any] | None = None,
) -> Shape:
    # pydantic has names of its own that a field may not have, `model_config` among them.
    attributes: dict[str, Any] = {
        f"{field}_" if hasattr(base, field) else field: made for field, made in fields.items()
    }
    return create_model(
        name,
        __doc__=text,
        __base__=base,
        __module__=__name__,
        __validators__=validators,
        **attributes,
    )
