"""Writes the calls of the SDK from the services of the protos and their REST routes.

    make protos                              write the calls, with the stubs
    python client/generate_calls.py --check  fail where they differ (part of `make lint`)

A call is a function of the fields of its request. Those of the REST path come first.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from google.api import annotations_pb2

from generate_records import SCALARS, answer, answer_field, methods, record_messages, record_name
from generate_sync import PACKAGE, write
from training_engine.descriptions import description

HEADER = '''# Generated from the protos by client/generate_calls.py; run: make protos
"""Every call of the contract, for gRPC and for REST alike."""

from __future__ import annotations

from collections.abc import Sequence

from training_engine._call import Call, ListCall, RecordCall, new_request_id, texts
from training_engine._config_source import ConfigSource
from training_engine.records import RECORDS, Plain
'''
#: Set by the call itself, or, of a configuration, from `config`.
NO_ARGUMENTS = ("request_id", "config_document")
#: REST has one stream of all events; its reader picks the points out.
ROUTES_OF_OTHERS = {"StreamMetrics": "WatchJob"}


def main() -> None:
    """Write the module of calls, or compare it with what would be written."""
    names = ", ".join(map(record_name, record_messages()))
    texts = [HEADER.replace("RECORDS", names), *map(_function, methods().values())]
    write({PACKAGE / "_calls.py": "\n\n".join(texts)}, "the protos", "make protos")


def _function(method: Any) -> str:
    """Return the function that makes a call of a method."""
    rule, verb, route = _rule(method)
    in_path, fields = fields_of_path(method), request_fields(method)
    others = [spec for spec in fields if spec.name not in in_path]
    parameters = [f"{name}: str" for name in in_path] + ["*"] * bool(others)
    parameters += [f"{spec.name}: {argument_type(spec)} | None = None" for spec in others]
    kind, record = answer_kind(method)
    arguments = [
        f'"{method.containing_service.name}/{method.name}"',
        f'"{verb.upper()}"',
        f'"{route}"',
        f"{{{', '.join(f'{spec.name!r}: {_value(spec)}' for spec in fields)}}}",
        *["has_body=True"] * (rule.body == "*"),
        *["request_id=new_request_id()"] * ("request_id" in _request(method).fields_by_name),
        *_answer(method, kind, record),
    ]
    return (
        f"def {call_name(method.name)}({', '.join(parameters)}) -> "
        f"{f'{kind}[{record}]' if record else kind}:\n"
        f"{_docstring(description(method))}\n"
        f"    return {kind}({', '.join(arguments)})"
    )


def call_name(name: str) -> str:
    """Return the name of a method of the protos as functions are named."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def fields_of_path(method: Any) -> list[str]:
    """Return the names of the fields that are in the REST path, in their order."""
    return re.findall(r"{(\w+)}", _rule(method)[2])


def request_fields(method: Any) -> list[Any]:
    """Return the fields of a call's request that a caller gives."""
    return [spec for spec in _request(method).fields if spec.name not in NO_ARGUMENTS]


def _rule(method: Any) -> tuple[Any, str, str]:
    """Return the REST route of a method: its rule, the HTTP method, the path."""
    routed = methods()[ROUTES_OF_OTHERS.get(method.name, method.name)]
    rule = routed.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return rule, verb, getattr(rule, verb)


def _docstring(text: str) -> str:
    """Return a docstring whose first line is the first sentence."""
    first, _, rest = text.partition(". ")
    if not rest:
        return f'    """{text}"""'
    wrapped = textwrap.fill(rest, 96, initial_indent="    ", subsequent_indent="    ")
    return f'    """{first}.\n\n{wrapped}\n    """'


def _request(method: Any) -> Any:
    """Return the message that has a call's fields; of an upload, its header."""
    header = method.input_type.fields_by_name.get("header")
    return header.message_type if header else method.input_type


def _value(spec: Any) -> str:
    """Return what a call sends for an argument; a list of texts is checked not to be one text."""
    is_texts = argument_type(spec) == "Sequence[str]"
    return f'texts("{spec.name}", {spec.name})' if is_texts else str(spec.name)


def argument_type(spec: Any) -> str:
    """Return the type of an argument; messages are plain dicts, a configuration apart."""
    if spec.message_type is None:
        kind = SCALARS[spec.cpp_type][0]
    else:
        kind = "ConfigSource" if spec.message_type.name == "TrainingConfig" else "Plain"
    return f"Sequence[{kind}]" if spec.is_repeated else kind


def answer_kind(method: Any) -> tuple[str, str]:
    """Return the class of a call, and the record that its answer, or a row of it, is read as."""
    message, field = answer(method), answer_field(method)
    if message not in record_messages():
        return "Call", ""
    is_list = field is not None and field.is_repeated
    return "ListCall" if is_list else "RecordCall", record_name(message)


def _answer(method: Any, kind: str, record: str) -> list[str]:
    """Return what a call says of its answer."""
    field = answer_field(method)
    if not record:
        return []
    if field is None:
        return [f"record={record}"]
    name = "rows" if kind == "ListCall" else "answer"
    return [f"record={record}", f'{name}="{field.name}"']


if __name__ == "__main__":
    main()
