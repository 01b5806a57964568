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

DOMAIN = "training_engine"


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that is at fault."""

    field: str
    """Dotted path."""

    message: str
    """Value, rule and remedy."""


@dataclass
class RpcError(Exception):
    """A failed call, as its client will see it."""

    code: grpc.StatusCode
    reason: str
    message: str
    violations: Sequence[FieldViolation] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts a program may want, e.g. the job's state."""

    retry_after_seconds: float | None = None
    """Set where the same call may succeed later."""

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def to_grpc_status(self) -> grpc.Status:
        """What `context.abort_with_status` takes."""
        return rpc_status.to_status(self.to_status())  # type: ignore[no-any-return]

    def to_status(self) -> status_pb2.Status:
        """The status with its details."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=dict(self.metadata)
        )
        details = [_packed(info)]
        if self.violations:
            details.append(_packed(_bad_request(self.violations)))
        if self.retry_after_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(self.retry_after_seconds * 1000))
            details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=details)


def _packed(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed


def _bad_request(violations: Sequence[FieldViolation]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.message)
            for v in violations
        ]
    )
