"""Writes the SDK's records from the messages of the protos: fields, types, defaults, docstrings.

    make protos                                write the records, with the stubs
    python client/generate_records.py --check  fail where they differ (part of `make lint`)

Docstrings are made of the comments in the protos. What the protos do not say is in the tables here.
"""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

from generate_sync import PACKAGE, write
from training_engine.descriptions import description
from training_engine.messages import enum_words, is_map

# Descriptors are typed Any: protobuf's C and Python implementations do not share their classes.

CONTRACT = "training_engine.v1"
HEADER = '''# Generated from the protos by client/generate_records.py; run: make protos
"""What the SDK returns: plain frozen dataclasses, the same over every transport.

Transports hand over plain dicts with the contract's field names; `read` turns one into a record.
Times are aware datetimes in UTC, statuses lower-case strings, absent values None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from training_engine._record_base import (
    LEFT_OUT, BulkResult, DatasetMethods, JobMethods, JobStatusMethods, Page, Plain, read,
    read_all, read_as, read_problems, to_plain
)
from training_engine.errors import FieldProblem
'''
#: Records that have another name than their message.
NAMES = {
    "Job": "JobRecord",
    "GetThroughputResponse": "Throughput",
    "GetSeriesResponse": "SeriesSet",
    "ValidateConfigResponse": "ConfigReport",
    "InspectDatasetResponse": "Inspection",
    "ListSystemMetricsResponse": "SystemMetrics",
    "ListAlertsResponse": "Alerts",
}
#: Messages of streams that a method of the SDK returns.
OF_STREAMS = ("Evaluation",)
#: Classes of `_record_base` that records have methods from.
METHODS = {"JobRecord": "JobMethods", "Dataset": "DatasetMethods"}
OPTIONS = {"JobRecord": "frozen=True, kw_only=True"}
USUAL_OPTIONS = "frozen=True, slots=True"
#: Fields of other messages that a record has too.
ADDED = {"Config": ["CreateConfigResponse.warnings"]}
BESIDE_RECORDS = ("EVENT_RECORDS", "EventData", "EventKind", "JobEvent", "JobStatus")
BY_HAND = ("BulkResult", "Page", "Plain", "read", "to_plain")

#: Types and defaults that do not follow from a field's type. Without a default it is required.
FIELDS = {
    "Job.job_id": "str",
    "Job.status": 'JobStatus = field(default=JobStatus.QUEUED, metadata={"read": JobStatus})',
    "Job.attempt": "int = 1",
    "Job.execution": 'Execution = field(default_factory=Execution, repr=False, metadata={"read": '
    "read_as(Execution)})",
    "MetricPoint.step": "int",
    "SystemSample.attempt": "int = 1",
    "Checkpoint.checkpoint_id": "str",
    "Checkpoint.attempt": "int = 1",
    "LogLine.attempt": "int = 1",
    "LogLine.stream": 'str = "stdout"',
    "Rewind.to_step": "int",
    "Rewind.attempt": "int = 1",
    "Config.config_id": "str",
    "Config.config": "Plain = field(default_factory=dict)",
    "CreateConfigResponse.warnings": "tuple[FieldProblem, ...] | None = field(default=None, "
    'metadata={"read": read_problems, **LEFT_OUT})',
    "Dataset.dataset_id": "str",
    "Worker.worker_id": "str",
}
#: Types and defaults of fields that hold these messages, which have no record.
MESSAGES = {
    "Timestamp": "datetime | None = None",
    "TrainingConfig": "Plain | None = field(default=None, repr=False, metadata=LEFT_OUT)",
    "FieldProblem": 'tuple[FieldProblem, ...] = field(default=(), metadata={"read": '
    "read_problems})",
}
#: Types, and the values where nothing was set.
SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: ("int", "0"),
    FieldDescriptor.CPPTYPE_INT64: ("int", "0"),
    FieldDescriptor.CPPTYPE_DOUBLE: ("float", "0.0"),
    FieldDescriptor.CPPTYPE_BOOL: ("bool", "False"),
    FieldDescriptor.CPPTYPE_STRING: ("str", '""'),
    FieldDescriptor.CPPTYPE_ENUM: ("str", None),
}


def main() -> None:
    """Write the module of records, or compare it with what would be written."""
    records = record_messages()
    exports = f"__all__ = {[*map(record_name, records), *BESIDE_RECORDS, *BY_HAND]}"
    texts = [HEADER, exports, _job_status(), *map(_record, records), *_events()]
    write({PACKAGE / "records.py": "\n\n".join(texts)}, "the protos", "make protos")


def methods() -> dict[str, Any]:
    """Return the methods of all services, by name."""
    names = sorted(path.stem for path in (PACKAGE / "v1").glob("*_pb2.py"))
    files = [importlib.import_module(f"training_engine.v1.{name}").DESCRIPTOR for name in names]
    services = [service for file in files for service in file.services_by_name.values()]
    return {method.name: method for service in services for method in service.methods}


def record_messages() -> list[Any]:
    """Return the messages that records are made from; one that is part of another comes first."""
    answers = [answer(method) for method in methods().values() if not method.server_streaming]
    answers += [_message(name) for name in OF_STREAMS]
    events = [spec.message_type for spec in _message("WatchJobResponse").oneofs[0].fields]
    return list(dict.fromkeys(part for message in [*answers, *events] for part in _parts(message)))


def _parts(message: Any) -> Iterator[Any]:
    """Yield the records that a message has, and the message itself, where it is one."""
    if message.name in MESSAGES or message.GetOptions().map_entry or not message.fields:
        return
    for spec in message.fields:
        if spec.message_type is not None:
            yield from _parts(spec.message_type)
    yield message


def answer(method: Any) -> Any:
    """Return the message that the record of an answer, or a row of it, is made from."""
    field = answer_field(method)
    return method.output_type if field is None else field.message_type


def answer_field(method: Any) -> Any | None:
    """Return the field of a response that has the record or the rows; None for the response."""
    fields = method.output_type.fields_by_name
    if name := method.GetOptions().Extensions[annotations_pb2.http].response_body:
        return fields[name]
    if "next_page_token" in fields:
        return next(spec for spec in fields.values() if spec.is_repeated)
    return None


def record_name(message: Any) -> str:
    """Return the name of the record that is made from a message."""
    return NAMES.get(message.name, str(message.name))


def _message(name: str) -> Any:
    return descriptor_pool.Default().FindMessageTypeByName(f"{CONTRACT}.{name}")


def _field(path: str) -> Any:
    message, _, name = path.partition(".")
    return _message(message).fields_by_name[name]


def _job_status() -> str:
    enum = _field("Job.status").enum_type
    words = enum_words(enum)
    texts = {words[value.number]: description(value) for value in enum.values if value.number}
    return _words("class JobStatus(JobStatusMethods, StrEnum)", description(enum), texts)


def _record(message: Any) -> str:
    name = record_name(message)
    specs = [*message.fields, *map(_field, ADDED.get(name, ()))]
    methods = f"({METHODS[name]})" if name in METHODS else ""
    return _class(
        f"@dataclass({OPTIONS.get(name, USUAL_OPTIONS)})\nclass {name}{methods}",
        description(message),
        {spec.name: _text(spec) for spec in specs},
        [f"{spec.name}: {FIELDS.get(_path(spec)) or _type(spec)}" for spec in specs],
    )


def _events() -> Iterator[str]:
    """Yield what belongs to a job's events: their kinds, and which record each has."""
    event = _message("WatchJobResponse")
    (oneof,) = event.oneofs
    kinds = {spec.name.upper(): record_name(spec.message_type) for spec in oneof.fields}
    texts = {spec.name: _text(spec) for spec in oneof.fields}
    yield _words("class EventKind(StrEnum)", description(oneof), texts)
    yield f"EventData = {' | '.join(kinds.values())}"
    rows = [f"EventKind.{kind}: {record}" for kind, record in kinds.items()]
    yield f"EVENT_RECORDS: dict[str, type[Any]] = {{{', '.join(rows)}}}"
    texts = {
        "kind": "What `data` is.",
        "data": "The record; match on its class.",
        "cursor": _text(_field("WatchJobResponse.cursor")),
    }
    body = ["kind: EventKind", "data: EventData", 'cursor: str = ""']
    yield _class(f"@dataclass({USUAL_OPTIONS})\nclass JobEvent", description(event), texts, body)


def _text(spec: Any) -> str:
    """Return a field's comment; where it holds one of several words, with the words."""
    if spec.enum_type is None or _path(spec) in FIELDS:
        return description(spec)
    words = [f"`{word}`" for word in enum_words(spec.enum_type).values()]
    return f"{description(spec)} One of {', '.join(words)}."


def _path(spec: Any) -> str:
    return f"{spec.containing_type.name}.{spec.name}"


def _type(spec: Any) -> str:
    """Return the type and default that follow from a field of a message."""
    if is_map(spec):
        value = SCALARS[spec.message_type.fields_by_name["value"].cpp_type][0]
        return f"Mapping[str, {value} | None] = field(default_factory=dict, hash=False)"
    if spec.message_type is not None:
        return MESSAGES.get(spec.message_type.name) or _record_type(spec)
    kind, default = SCALARS[spec.cpp_type]
    if spec.is_repeated:
        return f'tuple[{kind}, ...] = field(default=(), metadata={{"read": tuple}})'
    if spec.has_presence or default is None:
        return f"{kind} | None = None"
    return f"{kind} = {default}"


def _record_type(spec: Any) -> str:
    """Return the type and default of a field that holds a record or several."""
    name = record_name(spec.message_type)
    if spec.is_repeated:
        return f'tuple[{name}, ...] = field(default=(), metadata={{"read": read_all({name})}})'
    return f'{name} | None = field(default=None, metadata={{"read": read_as({name})}})'


def _words(head: str, text: str, members: dict[str, str]) -> str:
    """Return the class of an enum of words, which are given with what each means."""
    texts = {word.upper(): meaning for word, meaning in members.items()}
    return _class(head, text, texts, [f'{word.upper()} = "{word}"' for word in members])


def _class(head: str, text: str, attributes: dict[str, str], body: list[str]) -> str:
    """Return a class with a docstring that describes its attributes."""
    described = [f"{name}: {in_python(each)}" for name, each in attributes.items()]
    wrapped = [textwrap.fill(each, 92, subsequent_indent="    ") for each in described]
    listed = textwrap.indent("\n".join(wrapped), "    ")
    doc = f'"""{in_python(text)}\n\nAttributes:\n{listed}\n"""'
    return f"{head}:\n" + textwrap.indent("\n".join([doc, "", *body]), "    ")


def in_python(text: str) -> str:
    """Say None where a comment says that a field is absent, and mark code as docstrings do."""
    text = re.sub(r"([;.] )[Aa]bsent ", r"\1None ", text)
    return re.sub(r'"(\S+)"', r"`\1`", text)


if __name__ == "__main__":
    main()
