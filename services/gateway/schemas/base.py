"""What every shape shares."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas import examples

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

Step = Annotated[int, Field(ge=0, le=INT64_MAX)]
"""An optimizer step."""

PageToken = Annotated[
    str | None, Field(description="Pass as `page_token` for the next page; null on the last one.")
]


def with_example(
    example: examples.Example, *, extra: Literal["forbid"] = "forbid", strict: bool = False
) -> ConfigDict:
    """A model's settings with an example for OpenAPI."""
    return ConfigDict(json_schema_extra={"examples": [example]}, extra=extra, strict=strict)


class Body(BaseModel):
    """A request body: no coercion, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """Query parameters: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """An answer. Every field is always there; what is absent is null."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(Query):
    """Where in a list to read."""

    page_size: int = Field(0, ge=0, le=1000, description="Rows on the page; 0 for 50.")
    page_token: str = Field("", description="`next_page_token` of the page before.")


class FieldProblem(Answer):
    """One thing wrong with a field."""

    model_config = with_example(examples.WARNING)

    field: str = Field(description="Dotted path of the field; empty for the body as a whole.")
    message: str = Field(description="Value, rule and remedy.")


class Problem(Answer):
    """An error, as `application/problem+json` (RFC 9457)."""

    model_config = with_example(
        {
            "type": "urn:training-engine:problem:job_not_found",
            "title": "Not Found",
            "status": 404,
            "detail": "there is no job 'job_x'; list the jobs to see which exist",
            "reason": "job_not_found",
            "errors": [],
        },
        extra="forbid",
    )

    type: str = Field(description="A name of the kind of problem; ends in `reason`.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong and what to do about it.")
    reason: str = Field(description="A stable code that programs may branch on.")
    errors: list[FieldProblem] = Field(description="Every field at fault.")


IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="A name for this change: repeated within 24 h it returns the first answer "
        "and changes nothing; with another body it is refused with 409.",
    ),
]

RequestId = Annotated[
    str,
    Field(max_length=200, description="The same as the `Idempotency-Key` header."),
]
