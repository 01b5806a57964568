"""Checks how a job is to be run: every limit at once."""

from __future__ import annotations

import math
from typing import Any

from app.training.config import FieldProblem, TrainingConfig
from app.training.devices import DEVICES, is_device
from control_plane.conversion import PRIORITY_FROM_MESSAGE
from job_store.records import Execution, Priority
from training_engine.v1 import job_pb2

MAX_PROCESSES = 64
MAX_NODES = 64
_MAX_SECONDS = 30 * 86_400.0
_DEFAULT = Execution()


def read_execution(message: job_pb2.Execution, config: TrainingConfig) -> Execution:
    """Return the execution that the message asks for, on the configuration's device by default."""
    fields: dict[str, Any] = {field.name: value for field, value in message.ListFields()}
    priority = PRIORITY_FROM_MESSAGE.get(fields.pop("priority", 0), Priority.DEFAULT)
    return Execution(**{"device": config.device, **fields}, priority=priority)


def execution_problems(message: job_pb2.Execution, config: TrainingConfig) -> list[FieldProblem]:
    """Return every rule that the execution breaks; empty where it can be run as fields."""
    execution = read_execution(message, config)
    problems = [
        *_count_problems("processes", execution.processes, MAX_PROCESSES),
        *_count_problems("nodes", execution.nodes, MAX_NODES),
        *_seconds_problems("stop_timeout_seconds", execution.stop_timeout_seconds),
        *_seconds_problems("stall_timeout_seconds", execution.stall_timeout_seconds),
    ]
    if message.priority not in PRIORITY_FROM_MESSAGE and message.priority != 0:
        rule = "it must be 1 (high), 2 (default) or 3 (low)"
        problems.append(_problem("priority", message.priority, f"{rule}; leave it out for default"))
    if not 0 <= execution.max_retries <= 1000:
        problems.append(
            _problem("max_retries", execution.max_retries, "it must be 0 to 1000; try 3")
        )
    if not is_device(execution.device):
        rule = f"it must be {DEVICES}; try auto"
        problems.append(_problem("device", execution.device[:80], rule))
    spread = (config.distributed.processes if config.distributed else None) or 1
    if spread > MAX_PROCESSES:
        problems.append(_too_many("distributed.processes", spread, MAX_PROCESSES))
    elif execution.processes > 1 and spread not in (1, execution.processes):
        rule = f"`distributed.processes` is {spread}, and both mean the same; give one of them"
        problems.append(_problem("processes", execution.processes, rule))
    return problems


def _count_problems(name: str, value: int, most: int) -> list[FieldProblem]:
    if value < 1:
        return [_problem(name, value, "it must be at least 1; leave it out for 1")]
    return [_too_many(f"execution.{name}", value, most)] if value > most else []


def _too_many(field: str, value: int, most: int) -> FieldProblem:
    where = (
        f"on at most {most} nodes" if field.endswith("nodes") else f"in at most {most} processes"
    )
    rule = f"a job runs {where}; ask for fewer"
    return FieldProblem(field, f"`{field}` is {value}; {rule}")


def _seconds_problems(name: str, value: float) -> list[FieldProblem]:
    if math.isfinite(value) and 0 < value <= _MAX_SECONDS:
        return []
    rule = f"it must be above 0 and at most {_MAX_SECONDS:.0f}"
    return [_problem(name, value, f"{rule}; try {getattr(_DEFAULT, name):.0f}")]


def _problem(name: str, value: object, rule: str) -> FieldProblem:
    return FieldProblem(f"execution.{name}", f"`execution.{name}` is {value!r}; {rule}")
