"""The error model of calls: what an error becomes on the wire."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from app.training.config import FieldProblem
from control_plane.rpc_errors import RpcError, as_text


def test_an_error_becomes_a_status_with_its_details() -> None:
    error = RpcError(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CONFIG", "two problems",
        [FieldProblem("a.b", "first"), FieldProblem("c", "second")],
        metadata={"state": "running"}, retry_after_seconds=1.5,
    )  # fmt: skip
    status = error.to_status()
    assert (status.code, status.message) == (3, "two problems")
    info, request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for detail, message in zip(status.details, (info, request, retry), strict=True):
        assert detail.Unpack(message)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "INVALID_CONFIG", "training_engine", {"state": "running"},
    )  # fmt: skip
    assert [(v.field, v.description) for v in request.field_violations] == [
        ("a.b", "first"), ("c", "second"),
    ]  # fmt: skip
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert str(error) == "two problems"


@pytest.mark.parametrize("text", ["x" * 50_000, "é" * 50_000, "\n" * 50_000, "\ud800" * 9_000])
def test_a_status_fits_into_what_clients_take(text: str) -> None:
    violations = [FieldProblem(f"field_{i}", text) for i in range(500)]
    error = RpcError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CONFIG", text, violations)
    status = error.to_status()
    details = status.SerializeToString()
    percent_encoded = sum(1 if " " <= c <= "~" else 3 * len(c.encode()) for c in status.message)
    assert len(details) * 4 / 3 + percent_encoded < 7_500
    assert status.message.endswith("…")


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert as_text("a\ud800é") == "a?é"
