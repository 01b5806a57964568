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

from training_engine._call import Call, ListCall, RecordCall, new_request_id
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
    routed = methods()[ROUTES_OF_OTHERS.get(method.name, method.name)]
    rule = routed.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    route = getattr(rule, verb)
    in_path = re.findall(r"{(\w+)}", route)
    specs = {spec.name: spec for spec in _request(method).fields}
    others = [spec for name, spec in specs.items() if name not in (*in_path, *NO_ARGUMENTS)]
    parameters = [f"{name}: str" for name in in_path] + ["*"] * bool(others)
    parameters += [f"{spec.name}: {_type(spec)} | None = None" for spec in others]
    kind, answered = _answer(method)
    arguments = [
        f'"{method.containing_service.name}/{method.name}"',
        f'"{verb.upper()}"',
        f'"{route}"',
        f"{{{', '.join(f'{name!r}: {name}' for name in specs if name not in NO_ARGUMENTS)}}}",
        *["has_body=True"] * (rule.body == "*"),
        *["request_id=new_request_id()"] * ("request_id" in specs),
        *answered,
    ]
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method.name).lower()
    return (
        f"def {name}({', '.join(parameters)}) -> {kind}:\n"
        f"{_docstring(description(method))}\n"
        f"    return {kind.partition('[')[0]}({', '.join(arguments)})"
    )


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


def _type(spec: Any) -> str:
    """Return the type of an argument; messages are plain dicts, a configuration apart."""
    if spec.message_type is None:
        kind = SCALARS[spec.cpp_type][0]
    else:
        kind = "ConfigSource" if spec.message_type.name == "TrainingConfig" else "Plain"
    return f"list[{kind}]" if spec.is_repeated else kind


def _answer(method: Any) -> tuple[str, list[str]]:
    """Return the class of a call that is answered so, and what the call says of its answer."""
    message, field = answer(method), answer_field(method)
    if message not in record_messages():
        return "Call", []
    record = record_name(message)
    if field is None:
        return f"RecordCall[{record}]", [f"record={record}"]
    if field.is_repeated:
        return f"ListCall[{record}]", [f'rows="{field.name}"', f"record={record}"]
    return f"RecordCall[{record}]", [f"record={record}", f'answer="{field.name}"']


if __name__ == "__main__":
    main()
