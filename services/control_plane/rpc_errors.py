"""The one error model of gRPC calls: google.rpc.Status with ErrorInfo and BadRequest.

    Exception
    └── RpcError         a failed call: code, reason, text, fields at fault

Reasons are the names of the enum in `errors.proto`, without its prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from app.training.config import FieldProblem

DOMAIN = "training_engine"

_MAX_MESSAGE_BYTES = 700
_MAX_VIOLATIONS_BYTES = 3600
# Message and details travel in trailers (the details base64 with the message in them once more),
# and an ordinary client takes 8 KiB of those; with more it sees only that they were too large.


@dataclass
class RpcError(Exception):
    """A failed call, as its client will see it."""

    code: grpc.StatusCode
    reason: str
    message: str
    violations: Sequence[FieldProblem] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts a program may want, e.g. the job's state."""

    retry_after_seconds: float | None = None
    """Set where the same call may succeed later."""

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def to_grpc_status(self) -> grpc.Status:
        """Return what `context.abort_with_status` takes."""
        return rpc_status.to_status(self.to_status())  # type: ignore[no-any-return]

    def to_status(self) -> status_pb2.Status:
        """Return the status with its details."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=dict(self.metadata)
        )
        details = [_packed(info)]
        if self.violations:
            details.append(_packed(_bad_request(_fitting(self.violations))))
        if self.retry_after_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(self.retry_after_seconds * 1000))
            details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        message = _shortened(self.message, _MAX_MESSAGE_BYTES)
        return status_pb2.Status(code=self.code.value[0], message=message, details=details)


def _packed(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed


def as_text(text: str) -> str:
    r"""Return `text` as messages can carry it: UTF-8 has no character for JSON's `"\ud800"`."""
    return text.encode("utf-8", "replace").decode()


def _shortened(text: str, limit: int) -> str:
    """Return `text` cut to `limit` bytes on the wire, where gRPC writes non-ASCII bytes as %XX."""
    text, spent = as_text(text), 0
    for index, character in enumerate(text):
        spent += 1 if " " <= character <= "~" else 3 * len(character.encode())
        if spent > limit:
            return text[:index] + "…"
    return text


def _fitting(violations: Sequence[FieldProblem]) -> Sequence[FieldProblem]:
    """Return as many as a client can receive; the last one says how many were left out."""
    kept: list[FieldProblem] = []
    spent = 0
    for violation in violations:
        message = _shortened(violation.message, 1000)
        field = _shortened(violation.field, 200)
        spent += len(field.encode()) + len(message.encode()) + 8
        if spent > _MAX_VIOLATIONS_BYTES:
            rest = f"and {len(violations) - len(kept)} more; ValidateConfig lists all of them"
            return [*kept, FieldProblem("", rest)]
        kept.append(FieldProblem(field, message))
    return kept


def _bad_request(violations: Sequence[FieldProblem]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.message)
            for v in violations
        ]
    )
