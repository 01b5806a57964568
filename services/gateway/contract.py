"""What the protos say about REST: each call's route, and the form of its messages.

All of it is read once, at the start, from the descriptors and the options in options.proto.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.api import annotations_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from training_engine.descriptions import description
from training_engine.messages import message_to_plain, plain_to_message
from training_engine.v1 import (
    checkpoint_pb2,
    config_pb2,
    dataset_pb2,
    generation_pb2,
    job_pb2,
    metrics_pb2,
    options_pb2,
    sweep_pb2,
    worker_pb2,
)
from training_engine.v1.options_pb2 import RestField, RestView

# Descriptors are typed Any: protobuf's C and Python implementations do not share their classes.
Plain = dict[str, Any]

PREFIX = "/api/training"
REQUEST_ID = "request_id"
PAGE_TOKEN = "next_page_token"
DOCUMENT = "_document"
"""Ending of a field that holds another field as YAML or JSON text; REST has one field for both."""
WHOLE_DOCUMENT = "document"
"""A field of a request that is YAML or JSON text over gRPC, and in REST an object too."""
_FILES = (
    config_pb2,
    job_pb2,
    metrics_pb2,
    checkpoint_pb2,
    generation_pb2,
    dataset_pb2,
    sweep_pb2,
    worker_pb2,
)
_VERBS = ("get", "post", "patch", "delete")


@dataclass(frozen=True)
class Route:
    """A call that REST offers."""

    method: Any
    """Its descriptor."""
    verb: str
    path: str
    """Below PREFIX, with variables in braces."""
    takes_body: bool
    answer_field: str
    """Field of the answer whose fields REST shows at the top; empty for the whole answer."""
    status: int
    """Of success."""
    echo: str
    """Field of the request that the answer repeats; empty for none."""

    @property
    def rpc(self) -> str:
        """`Service.Method`."""
        return f"{self.method.containing_service.name}.{self.method.name}"

    @property
    def service(self) -> str:
        """Its service in one word, as addresses and the gateway's stubs have it, e.g. `jobs`."""
        word = self.method.containing_service.name.removesuffix("Service").lower()
        return word if word.endswith("s") else f"{word}s"

    @property
    def name(self) -> str:
        """The method's name in snake_case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(self.method.name)).lower()

    @property
    def is_unary(self) -> bool:
        """Whether it takes one message and answers with one."""
        return not (self.method.client_streaming or self.method.server_streaming)

    @property
    def variables(self) -> list[str]:
        """Names of the variables in its path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def is_change(self) -> bool:
        """Whether it takes an idempotency key."""
        return REQUEST_ID in self.method.input_type.fields_by_name

    @property
    def description(self) -> str:
        """The comment on the method."""
        return description(self.method)

    @property
    def refusals(self) -> list[int]:
        """Statuses it may refuse with, besides those that every route may."""
        ids = [
            field.name
            for field in self.method.input_type.fields
            if field.name.endswith(("_id", "_ids"))
        ]
        names_something = bool(self.variables or set(ids) - {REQUEST_ID})
        return [
            *([404] if names_something else []),
            *([409] if self.is_change else []),
            *([413] if self.takes_body else []),
        ]

    def request(self, values: Plain) -> Message:
        """Return the message to send."""
        return plain_to_message(GetMessageClass(self.method.input_type), values)

    def answer(self, message: Message, echoed: Mapping[str, str]) -> Plain:
        """Return the JSON object that REST answers with."""
        plain = answer_to_plain(message)
        if self.answer_field:
            fields = plain.pop(self.answer_field)
            plain = {**fields, **plain} if plain else fields
        return {self.echo: echoed[self.echo], **plain} if self.echo else plain

    def location(self, answer: Plain) -> str:
        """Return the address of the new resource, relative to the route's own."""
        resource = self.method.output_type.fields_by_name[self.answer_field].message_type
        for each in routes():
            if each.verb == "get" and each.is_unary and each.answer_field:
                field = each.method.output_type.fields_by_name[each.answer_field]
                if field.message_type is resource:
                    address = each.path.format_map(answer)
                    return posixpath.relpath(address, posixpath.dirname(self.path))
        raise LookupError(f"no route reads a {resource.name}; give one a google.api.http rule")


@cache
def routes() -> list[Route]:
    """Return every call that REST offers, streams included."""
    return list(_read_routes())


def _read_routes() -> Iterator[Route]:
    for file in _FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                if method.GetOptions().HasExtension(annotations_pb2.http):
                    yield _route(method)


def _route(method: Any) -> Route:
    http: Any = method.GetOptions().Extensions[annotations_pb2.http]
    answer: Any = method.GetOptions().Extensions[options_pb2.rest_answer]
    verb = next(verb for verb in _VERBS if getattr(http, verb))
    return Route(
        method=method,
        verb=verb,
        path=getattr(http, verb).removeprefix(PREFIX),
        takes_body=bool(http.body),
        answer_field=http.response_body,
        status=answer.status or (200 if method.output_type.fields else 204),
        echo=answer.echo,
    )


def route(rpc: str) -> Route:
    """Return the route of `Service.Method`."""
    return next(each for each in routes() if each.rpc == rpc)


def field_rules(field: Any) -> RestField:
    """Return the options of the field for REST."""
    rules: RestField = field.GetOptions().Extensions[options_pb2.rest_field]
    return rules


@cache
def view(message: Any, name: str) -> RestView:
    """Return the view of a message with this name."""
    views: list[RestView] = list(message.GetOptions().Extensions[options_pb2.rest_view])
    return next(each for each in views if each.name == name)


@cache
def shown_fields(message: Any, view_name: str = "") -> list[Any]:
    """Return the fields of a message that a view of it has, or all."""
    if not view_name:
        return list(message.fields)
    part = view(message, view_name)
    return [
        field
        for field in message.fields
        if field.name not in part.without and (not part.fields or field.name in part.fields)
    ]


def view_to_plain(message: Message, view_name: str) -> Plain:
    """Return the fields of a message that a view of it has."""
    return _part(message_to_plain(message), message.DESCRIPTOR, view_name)


def _part(plain: Plain, message: Any, view_name: str) -> Plain:
    return {field.name: plain[field.name] for field in shown_fields(message, view_name)}


def answer_to_plain(message: Message) -> Plain:
    """Return a message as REST answers with it.

    Inner messages are reduced to a view where the protos name one; an empty page token is null.
    """
    plain = message_to_plain(message)
    for field, view_name in _parts(message.DESCRIPTOR):
        value, owner = plain.get(field.name), field.message_type
        if isinstance(value, list):
            plain[field.name] = [_part(each, owner, view_name) for each in value]
        elif value is not None:
            plain[field.name] = _part(value, owner, view_name)
    if PAGE_TOKEN in plain:
        plain[PAGE_TOKEN] = plain[PAGE_TOKEN] or None
    return plain


@cache
def _parts(message: Any) -> list[tuple[Any, str]]:
    """Return the fields of a message of which only a part is shown."""
    views = [(field, field_rules(field).view) for field in message.fields]
    return [(field, view_name) for field, view_name in views if view_name]
