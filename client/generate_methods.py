"""Writes the SDK's public methods of unary calls, from the services of the protos.

    make protos                                write the methods, with the stubs
    python client/generate_methods.py --check  fail where they differ (part of `make lint`)

Each service gives a base class, which a resource in `_aio_jobs` or `_aio_resources` extends. A
docstring is made of the comments in the protos: of the call, its reasons, and its fields.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from generate_calls import answer_kind, argument_type, call_name, fields_of_path, request_fields
from generate_records import in_python, methods, record_messages, record_name
from generate_sync import PACKAGE, write
from training_engine.descriptions import description
from training_engine.errors import InternalError, class_for_reason
from training_engine.reasons import CALL_STATUSES

HEADER = '''# Generated from the protos by client/generate_methods.py; run: make protos
"""The asyncio methods of unary calls that need no more than the call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from training_engine import _calls
from training_engine._aio_resource import AsyncJobResource, AsyncResource
from training_engine._config_source import ConfigLike, config_source
from training_engine.records import Page, Plain, RECORDS

if TYPE_CHECKING:
    from training_engine._aio_job import AsyncJob
'''
#: Their methods take or do something else than the call says.
BY_HAND = (
    "CreateConfig",
    "InspectDataset",
    "ListJobs",
    "ResumeJob",
    "StartJob",
    "StartSweep",
    "ValidateConfig",
)
#: Methods with another name than follows from the call's.
NAMES = {"ListMetrics": "history"}
PAGING = ("page_size", "page_token")


def main() -> None:
    """Write the module of methods, or compare it with what would be written."""
    services = {method.containing_service.name: method.containing_service for method in unary()}
    names = ", ".join(map(record_name, record_messages()))
    texts = [HEADER.replace("RECORDS", names), *map(_class, services.values())]
    write({PACKAGE / "_aio_methods.py": "\n\n".join(texts)}, "the protos", "make protos")


def unary() -> list[Any]:
    """Return the calls that methods are written for."""
    return [
        method
        for method in methods().values()
        if not (method.client_streaming or method.server_streaming or method.name in BY_HAND)
    ]


def method_name(method: Any) -> str:
    """Return the name of a call's method: `get` for GetJob, `logs` for ListLogs of jobs."""
    noun = _noun(method.containing_service)
    words = call_name(re.sub(f"{noun}s?", "", method.name)).split("_")
    is_of_a_part = len(words) > 1 and words[0] in ("get", "list")
    return NAMES.get(method.name) or "_".join(words[1:] if is_of_a_part else words)


def _noun(service: Any) -> str:
    return str(service.name.removesuffix("Service"))


def _class(service: Any) -> str:
    noun = _noun(service)
    base = "AsyncJobResource" if noun == "Job" else "AsyncResource"
    texts = [text for method in unary() if method in service.methods for text in _methods(method)]
    doc = f'    """The calls of `{service.name}`."""'
    return "\n\n".join([f"class Async{noun}Methods({base}):\n{doc}", *texts])


def _methods(method: Any) -> Iterator[str]:
    """Yield the method of a call; of a list, one that iterates over it, and one for a page."""
    kind, record = answer_kind(method)
    name = method_name(method)
    if kind == "ListCall":
        yield _method(method, name, f"AsyncIterator[{record}]", "rows", "Iterate over")
        if name == "list":
            yield _method(method, "page", f"Page[{record}]", "page", "Return one page of")
    elif record == "JobRecord":
        is_change = "request_id" in method.input_type.fields_by_name
        yield _method(method, name, "AsyncJob", "changed_job" if is_change else "job")
    else:
        yield _method(method, name, record or "None", "record" if record else "unary")


def _method(method: Any, name: str, returned: str, link: str, verb: str = "") -> str:
    """Return the text of a method that hands a call to a method of the link."""
    fields = [spec for spec in _fields(method) if link == "page" or spec.name != "page_token"]
    call = f"_calls.{call_name(method.name)}({', '.join(_arguments(method, fields))})"
    body = {
        "rows": f"return self._link.rows({call})",
        "unary": f"await self._link.unary({call})",
        "job": f"return self._job(await self._link.record({call}))",
        "changed_job": f"return await self._whole(await self._link.unary({call}))",
    }.get(link, f"return await self._link.{link}({call})")
    head = "def" if link == "rows" else "async def"
    text = (
        f"{head} {name}({', '.join(_parameters(method, fields))}) -> {returned}:\n"
        f'    """{textwrap.indent(_docstring(method, fields, verb), "    ").lstrip()}"""\n'
        f"    {body}"
    )
    return textwrap.indent(text, "    ")


def _fields(method: Any) -> list[Any]:
    """Return the fields that are arguments: those of the path first, those of paging last."""
    in_path = fields_of_path(method)
    return sorted(
        request_fields(method), key=lambda spec: (spec.name not in in_path, spec.name in PAGING)
    )


def _parameters(method: Any, fields: list[Any]) -> Iterator[str]:
    in_path = fields_of_path(method)
    yield "self"
    yield from (f"{name}: str" for name in in_path)
    if len(fields) > len(in_path):
        yield "*"
    for spec in fields[len(in_path) :]:
        kind = argument_type(spec).replace("ConfigSource", "ConfigLike")
        is_token = spec.name == "page_token"
        yield f"{spec.name}: " + ('str = ""' if is_token else f"{kind} | None = None")


def _arguments(method: Any, fields: list[Any]) -> Iterator[str]:
    in_path = fields_of_path(method)
    yield from in_path
    for spec in fields[len(in_path) :]:
        is_config = argument_type(spec) == "ConfigSource"
        value = f"config_source({spec.name}) if {spec.name} is not None else None"
        yield f"{spec.name}={value if is_config else spec.name}"


def _docstring(method: Any, fields: list[Any], verb: str) -> str:
    """Return what a method does, what it takes, and the errors that the comment's reasons mean."""
    sentences = re.split(r"(?<=\.) (?=[A-Z])", description(method))
    errors = [each for each in sentences if each.split()[0] in CALL_STATUSES]
    first, *rest = [each for each in sentences if each not in errors]
    start, _, remainder = first.partition(" ")
    parts = [f"{verb or _imperative(start)} {remainder}"]
    if rest:
        parts.append(textwrap.fill(" ".join(rest), 92))
    if len(fields) > len(fields_of_path(method)):
        parts.append(
            _section("Args", [(spec.name, in_python(description(spec))) for spec in fields])
        )
    if errors:
        parts.append(_section("Raises", map(_error, errors)))
    return "\n\n".join(parts) + ("\n" if len(parts) > 1 else "")


def _imperative(verb: str) -> str:
    """Return a verb of the third person as an order: `Delete` for Deletes."""
    return re.sub(r"(?:(?<=ss)|(?<=sh)|(?<=ch)|(?<=x))es$|s$", "", verb)


def _error(sentence: str) -> tuple[str, str]:
    """Return the class and the text for a sentence such as `IN_USE while a job names it.`."""
    reason, _, when = sentence.partition(" ")
    kind = class_for_reason(reason.lower(), InternalError)
    text = when.removeprefix("where ")
    return kind.__name__, text[:1].upper() + text[1:]


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    texts = [textwrap.fill(f"{name}: {text}", 88, subsequent_indent="    ") for name, text in rows]
    return f"{title}:\n" + textwrap.indent("\n".join(texts), "    ")


if __name__ == "__main__":
    main()
