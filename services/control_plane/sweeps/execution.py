"""How the children of a sweep are run: `execution` of its document, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from app.training.config import FieldProblem
from app.transformer.fields import shown
from training_engine.v1 import job_pb2

_FIELDS = job_pb2.Execution.DESCRIPTOR.fields_by_name
_PRIORITIES = {
    value.name.removeprefix("JOB_PRIORITY_").lower(): value.number
    for value in job_pb2.JobPriority.DESCRIPTOR.values
    if value.number
}
_MOST = 2**31 - 1


def read_asked_execution(asked: Any) -> tuple[dict[str, Any], list[FieldProblem]]:
    """Return the fields that are given, and what is wrong with them; limits are checked later."""
    if asked is None:
        return {}, []
    if not isinstance(asked, Mapping):
        text = f"`execution` is {shown(asked)}; it must be a mapping, e.g. {{priority: low}}"
        return {}, [FieldProblem("execution", text)]
    given = {str(name): value for name, value in asked.items() if value is not None}
    wrong = {name: rule for name, value in given.items() if (rule := _rule(name, value))}
    problems = [
        FieldProblem(f"execution.{name}", f"`execution.{name}` is {shown(given[name])}; {rule}")
        for name, rule in wrong.items()
    ]
    return given, problems


def execution_message(given: Mapping[str, Any]) -> job_pb2.Execution:
    """Return what `read_asked_execution` has found right as a message."""
    priority = {"priority": _PRIORITIES[given["priority"]]} if "priority" in given else {}
    return job_pb2.Execution(**{**given, **priority})


def _rule(name: str, value: Any) -> str:
    """Return the rule that a field breaks, with its remedy; empty where it breaks none."""
    if name not in _FIELDS:
        return f"a sweep does not know it; `execution` has {', '.join(_FIELDS)}"
    if name == "priority":
        fits, rule = value in (*_PRIORITIES,), f"one of {', '.join(_PRIORITIES)}"
    elif _FIELDS[name].cpp_type == FieldDescriptor.CPPTYPE_STRING:
        fits, rule = isinstance(value, str), "text"
    elif _FIELDS[name].cpp_type == FieldDescriptor.CPPTYPE_INT32:
        fits, rule = isinstance(value, int) and abs(value) <= _MOST, "a whole number"
    else:
        fits, rule = isinstance(value, int | float), "a number"
    return "" if fits and not isinstance(value, bool) else f"it must be {rule}, or be left out"
