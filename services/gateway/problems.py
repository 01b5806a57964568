"""Answers every error, the gateway's own and the control plane's, as a problem (RFC 9457).

    HTTPException (starlette)
    └── ProblemError     status, reason, detail, fields at fault

Reasons are the names of the enum in `errors.proto`, in lower case and without its prefix.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import grpc
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from gateway.codec import dumps
from gateway.openai.errors import CALLS as OPENAI_CALLS
from gateway.openai.errors import is_openai, openai_error
from gateway.sessions import SIGN_IN
from training_engine.error_details import error_details
from training_engine.errors import FieldProblem
from training_engine.reasons import CALL_STATUSES, PREFIX
from training_engine.v1.errors_pb2 import ErrorReason

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
_SHOWN_INPUT = 80
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_REASONS = frozenset(ErrorReason.DESCRIPTOR.values_by_name)

# The HTTP status of an error without a reason of errors.proto: gRPC itself raised it, or a newer
# control plane did.
_STATUS_OF_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.OUT_OF_RANGE: 416,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 503,
    grpc.StatusCode.CANCELLED: 503,
    # A damaged file or a defect behind the gateway is a 502, since the gateway itself is well.
    grpc.StatusCode.DATA_LOSS: 502,
    grpc.StatusCode.INTERNAL: 502,
    grpc.StatusCode.UNKNOWN: 502,
}
_TOKENS_DIFFER = (
    "the control plane asks for a token that this gateway does not; start the gateway with the "
    "same --auth-tokens or --auth-tokens-file (TRAINING_ENGINE_AUTH_TOKENS, "
    "TRAINING_ENGINE_AUTH_TOKENS_FILE) as the control plane, or send `Authorization: Bearer TOKEN`"
)
_REASON_OF_STATUS = {501: "INTERNAL", 502: "INTERNAL", 503: "CONTROL_PLANE_UNAVAILABLE"}


class ProblemError(HTTPException):
    """A refused request, as its client will see it.

    Its status is the one that errors.proto gives to `reason`, unless `status` is set.
    """

    def __init__(
        self,
        detail: str,
        *,
        reason: str = "INVALID_ARGUMENT",
        status: int | None = None,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        ErrorReason.Value(PREFIX + reason)  # a name outside the one list is a defect
        status = status or CALL_STATUSES[reason].http_status
        all_headers = dict(headers or {})
        if status in (429, 503):
            all_headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        if status == 401:
            all_headers.setdefault("WWW-Authenticate", "Bearer")
        super().__init__(status, detail, all_headers)
        self.reason = reason.lower()
        self.errors = tuple(errors)

    def body(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "type": f"urn:training-engine:problem:{self.reason}",
            "title": _title(self.status_code),
            "status": self.status_code,
            "detail": self.detail,
            "reason": self.reason,
            "errors": [asdict(error) for error in self.errors],
        }

    def response(self, path: str = "") -> Response:
        """Return the answer to a request of this path, headers included."""
        if is_openai(path):
            body, media_type = openai_error(self), "application/json"
        else:
            body, media_type = self.body(), MEDIA_TYPE
        return Response(dumps(body), self.status_code, headers=self.headers, media_type=media_type)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def from_rpc_error(error: grpc.aio.AioRpcError) -> ProblemError:
    """Return what a failed call of the control plane means over HTTP."""
    details = error_details(error)
    text = error.details() or ""
    status, reason = _without_reason(error.code(), text)
    has_reason = PREFIX + details.reason in _REASONS
    if has_reason:
        reason = details.reason
        status = CALL_STATUSES[reason].http_status if reason in CALL_STATUSES else status
    if not has_reason and status == 502:
        log.error("the control plane failed: %s %s", error.code().name, text)
        text = "the control plane failed; its log has the cause"
    if not has_reason and status == 501:
        text = "the control plane does not offer this call; it may be older than this gateway"
    if not has_reason and status == 503:
        text = f"the control plane did not answer ({error.code().name.lower()}); try again"
    if status == 401:  # its text is for those who call the control plane themselves
        log.warning("the control plane knows no token of a request: %s", _TOKENS_DIFFER)
        text = _TOKENS_DIFFER
    pause = details.retry_after
    headers = {} if pause is None else {"Retry-After": str(max(1, math.ceil(pause)))}
    return ProblemError(
        text, reason=reason, status=status, errors=details.problems, headers=headers
    )


def _without_reason(code: grpc.StatusCode, text: str) -> tuple[int, str]:
    """Return the status and the reason of an error that names no reason."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return 413, "PAYLOAD_TOO_LARGE"
    status = _STATUS_OF_CODE.get(code, 502)
    return status, _reason_of(status)


def _reason_of(status: int) -> str:
    """Return the reason with this HTTP status.

    Where no reason or more than one has it, return a general one, e.g. INVALID_ARGUMENT.
    """
    reasons = [name for name, call in CALL_STATUSES.items() if call.http_status == status]
    if len(reasons) == 1:
        return reasons[0]
    return _REASON_OF_STATUS.get(status, "INVALID_ARGUMENT")


def from_validation_error(error: RequestValidationError, *, repeat: bool = True) -> ProblemError:
    """Return FastAPI's complaints as one 400, with each field's path, its value and the rule.

    `repeat` is False where a value may be a secret; then no value is repeated.
    """
    fields = [_field_error(complaint, repeat) for complaint in error.errors()]
    return ProblemError("; ".join(field.message for field in fields), errors=fields)


def _field_error(complaint: dict[str, Any], repeat: bool) -> FieldProblem:
    place, *path = complaint["loc"] or ("request",)
    if complaint["type"] == "json_invalid":
        at = f" at character {path[0]}" if path else ""
        return FieldProblem("", f"the body is not JSON{at}: {complaint['ctx']['error']}")
    field = ".".join(str(part) for part in path)
    name = field or f"the {place}"
    if complaint["type"] == "missing":
        return FieldProblem(field, f"{name} is missing; it is required")
    if complaint["type"] == "extra_forbidden":
        return FieldProblem(field, f"{name} is not known here; remove it or correct its spelling")
    if not field and isinstance(complaint.get("input"), bytes):
        return FieldProblem("", "the body must be JSON, sent with Content-Type: application/json")
    shown = repr(complaint.get("input")) if repeat else "not repeated here"
    if len(shown) > _SHOWN_INPUT:
        shown = shown[:_SHOWN_INPUT] + "…"
    return FieldProblem(field, f"{name} is {shown}: {_rule(complaint['msg'])}")


def _rule(message: str) -> str:
    """Return pydantic's sentence as the second half of ours."""
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"it {text}" if text.startswith("should") else text


def install(app: FastAPI) -> None:
    """Answer every exception of `app` with a problem."""

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error, ProblemError):
            return error.response(request.url.path)
        if error.status_code == 405:
            taken = ", ".join(_methods_at(request))
            return ProblemError(
                f"this address does not take {request.method}; it takes {taken}",
                reason="METHOD_NOT_ALLOWED",
                headers={"Allow": taken},
            ).response(request.url.path)
        return _from_http(error, request.url.path).response(request.url.path)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        path = request.url.path
        return from_validation_error(error, repeat=path != SIGN_IN).response(path)

    async def on_rpc(request: Request, error: Exception) -> Response:
        assert isinstance(error, grpc.aio.AioRpcError)
        return from_rpc_error(error).response(request.url.path)

    async def on_defect(request: Request, _error: Exception) -> Response:
        # The server logs the traceback; the client does not get it.
        return ProblemError(
            "the gateway failed; its log has the cause", reason="INTERNAL", status=500
        ).response(request.url.path)

    app.add_exception_handler(Exception, on_defect)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(grpc.aio.AioRpcError, on_rpc)


def _methods_at(request: Request) -> list[str]:
    """Return every method that the request's address takes; the router names those of one route."""
    scope = {name: request.scope.get(name, "") for name in ("type", "path", "root_path")}
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    taken = [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    if "GET" in taken and "HEAD" not in taken:
        taken.insert(taken.index("GET") + 1, "HEAD")
    return taken or ["GET", "HEAD"]  # a folder of files


def _from_http(error: HTTPException, path: str) -> ProblemError:
    """Return one of Starlette's own refusals (no such route, an unreadable body) as a problem."""
    if error.status_code == 404:
        there = OPENAI_CALLS if is_openai(path) else "/docs lists every one that there is"
        detail = f"no such address; {there}"
        return ProblemError(detail, reason="ROUTE_NOT_FOUND", headers=error.headers)
    status = error.status_code
    return ProblemError(
        str(error.detail), reason=_reason_of(status), status=status, headers=error.headers
    )
