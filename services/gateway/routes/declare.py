"""Declares routes: the RPC behind each, and the problems that it may answer with."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from gateway.codec import dumps
from gateway.contract import PREFIX, Route
from gateway.control_plane import Caller
from gateway.documents import StrictRoute
from gateway.problems import MEDIA_TYPE, ProblemError
from gateway.schemas.base import IdempotencyKey
from training_engine.errors import FieldProblem

RPC = "x-grpc-methods"

CallerOf = Annotated[Caller, Depends(Caller)]
"""The control plane, on behalf of the request."""

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}

_MEANING = {
    400: "Malformed or invalid; every fault is listed.",
    401: "No known token.",
    403: "From a page or a host name that may not do this.",
    404: "No such id.",
    408: "The rest of the body did not come in time.",
    409: "The state forbids it, or the Idempotency-Key was used with another body.",
    413: "Too large.",
    415: "The body is compressed; send it as it is.",
    416: "The range is outside the file.",
    429: "Too much at once; try again after Retry-After seconds.",
    501: "The control plane does not offer this.",
    502: "The control plane failed, or a file is damaged.",
    507: "The service's disk has no room.",
    503: "Redis, the control plane or a worker is away; try again after Retry-After seconds.",
}
_BAD_RATE = "learning_rate is -1.0; it must be > 0; try 6e-4 for a 124M model"
_EXAMPLES = {
    problem.status_code: problem.body()
    for problem in (
        ProblemError(
            _BAD_RATE, reason="INVALID_CONFIG", errors=[FieldProblem("learning_rate", _BAD_RATE)]
        ),
        ProblemError("the request carries no known token", reason="UNAUTHENTICATED"),
        ProblemError(
            "a page from https://elsewhere.example may not change anything here",
            reason="PERMISSION_DENIED",
        ),
        ProblemError(
            "there is no job 'job_x'; list the jobs to see which exist", reason="JOB_NOT_FOUND"
        ),
        ProblemError("the rest of the body did not come within 60 s", status=408),
        ProblemError("the job has succeeded; it cannot be stopped", reason="STATE_FORBIDS"),
        ProblemError(
            "the body is larger than the 2097152 bytes that are accepted here",
            reason="PAYLOAD_TOO_LARGE",
        ),
        ProblemError(
            "the body comes with Content-Encoding 'gzip', and none is read here",
            reason="CONTENT_ENCODING_UNSUPPORTED",
        ),
        ProblemError(
            "the range 'bytes=900-' is outside the file's 800 bytes",
            reason="OFFSET_OUT_OF_RANGE",
        ),
        ProblemError("too many event streams are open; try later", reason="RATE_LIMITED"),
        ProblemError(
            "the control plane does not offer this; update it", reason="INTERNAL", status=501
        ),
        ProblemError(
            "the call failed by a defect of the service; its log tells more", reason="INTERNAL"
        ),
        ProblemError("no control plane answers; start one", reason="CONTROL_PLANE_UNAVAILABLE"),
        ProblemError(
            "there is no room left to store the file; delete jobs or datasets, or enlarge the disk",
            reason="ARTIFACT_STORE_FULL",
        ),
    )
}
_EVERYWHERE = (400, 401, 403, 429, 501, 502, 503)


def router(tag: str) -> APIRouter:
    """Return a router of the API whose JSON is read strictly."""
    return APIRouter(prefix=PREFIX, tags=[tag], route_class=StrictRoute)


def rpc(*names: str) -> dict[str, Any]:
    """Return `openapi_extra` that names the RPCs behind a route, as `Service.Method`."""
    return {RPC: list(names)}


def refusals(route: Route) -> dict[int | str, dict[str, Any]]:
    """Return `responses` of a call's route: the problems that it may answer with."""
    return problems(*route.refusals)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses` of a route: its own problems, and those of every route."""
    return only_problems(*_EVERYWHERE, *statuses, *([408, 415] if 413 in statuses else []))


def only_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses` of a route that calls no control plane."""
    return {
        status: {
            "description": _MEANING[status],
            "content": {
                MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "example": _EXAMPLES[status]},
            },
        }
        for status in sorted(set(statuses))
    }


def event_stream(example: str, **data: str) -> dict[str, Any]:
    """Return `content` of an event stream; `data` maps each event's name to its data's schema."""
    events = [
        {
            "type": "object",
            "properties": {
                "event": {"const": name},
                "id": {"type": "string", "description": "A cursor, for Last-Event-ID."},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": f"#/components/schemas/{schema}"},
                },
            },
            "required": ["event", "data"],
        }
        for name, schema in data.items()
    ]
    return {"text/event-stream": {"itemSchema": {"oneOf": events}, "example": example}}


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON answer. The shapes are checked in tests, not on every call."""
    return Response(dumps(value), status, headers=headers, media_type="application/json")


NO_CONTENT = 204


def request_id(header: str, body: str = "") -> str:
    """Return the idempotency key of a change, from its header or its body."""
    if header and body and header != body:
        raise ProblemError(
            f"Idempotency-Key is {header!r} and request_id is {body!r}; send one of them",
        )
    return header or body


__all__ = [
    "NO_CONTENT",
    "PREFIX",
    "RPC",
    "CallerOf",
    "IdempotencyKey",
    "answer",
    "event_stream",
    "only_problems",
    "problems",
    "refusals",
    "request_id",
    "router",
    "rpc",
]
