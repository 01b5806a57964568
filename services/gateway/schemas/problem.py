"""The shape of every error."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.schemas.base import Answer
from gateway.schemas.shapes import answer
from training_engine.v1 import config_pb2

_FIELD_PROBLEM: Any = answer(config_pb2.FieldProblem.DESCRIPTOR)


class Problem(Answer):
    """An error, as `application/problem+json` (RFC 9457)."""

    type: str = Field(description="A name of the kind of problem; ends in `reason`.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong and what to do about it.")
    reason: str = Field(description="A stable code that programs may branch on.")
    errors: list[_FIELD_PROBLEM] = Field(description="Every field at fault.")
