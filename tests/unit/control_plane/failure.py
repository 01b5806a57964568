"""Reads the error of a failed call, as its client gets it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Failure:
    """A failed call, taken apart."""

    code: grpc.StatusCode
    reason: str
    message: str
    fields: dict[str, str]
    metadata: dict[str, str]


async def failure_of(call: Awaitable[Any]) -> Failure:
    """The failure that `call` must end in."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_failure(caught.value)


def read_failure(error: grpc.aio.AioRpcError) -> Failure:
    """Reason and fields out of the status details."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no status details: {error.code()} {error.details()}"
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(request)
    assert info.domain == "training_engine"
    fields = {violation.field: violation.description for violation in request.field_violations}
    return Failure(error.code(), info.reason, status.message, fields, dict(info.metadata))
