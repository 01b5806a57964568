"""What a failed gRPC call says beside its status: its reason, the fields at fault, a pause."""

from __future__ import annotations

from typing import NamedTuple, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from training_engine.errors import FieldProblem


class ErrorDetails(NamedTuple):
    """Details of a failed call.

    Attributes:
        reason: Name of an `ErrorReason` without its prefix; empty where none was sent.
        problems: The fields at fault.
        retry_after: Seconds to wait before the call is sent again, where the server names them.
    """

    reason: str
    problems: list[FieldProblem]
    retry_after: float | None


def error_details(error: grpc.RpcError) -> ErrorDetails:
    """Return the details of a failed call, as far as it has any."""
    try:
        status = rpc_status.from_call(cast("grpc.Call", error))
    except ValueError:  # the rich status contradicts the plain one: trust the plain one
        status = None
    reason, problems, retry_after = "", [], None
    for packed in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            reason = info.reason
        elif packed.Unpack(bad):
            problems = [FieldProblem(v.field, v.description) for v in bad.field_violations]
        elif packed.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return ErrorDetails(reason, problems, retry_after)
