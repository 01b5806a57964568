"""Maps each error of the stores and rules to the reason that clients see.

Any other error is a defect. Its client gets INTERNAL with a reference id; the log has the same id
beside the traceback, which no client sees.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

import grpc

from app.training.config import ConfigError, FieldProblem
from artifact_store import (
    ArtifactDamagedError,
    ArtifactError,
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    ArtifactStoreFullError,
    ArtifactTooLargeError,
    InvalidKeyError,
    OffsetOutOfRangeError,
)
from control_plane.rpc_errors import RpcError
from job_store.errors import (
    FeedsClosedError,
    JobStoreError,
    NotFoundError,
    TransitionRefusedError,
)
from job_store.inference_requests import InferenceFailedError
from service_runtime.logs import get_logger
from training_engine.reasons import CALL_STATUSES

_log = get_logger("control_plane")

_REASONS: dict[type[Exception], str] = {
    TransitionRefusedError: "STATE_FORBIDS",
    ArtifactNotFoundError: "ARTIFACT_DAMAGED",
    ArtifactDamagedError: "ARTIFACT_DAMAGED",
    InvalidKeyError: "ARTIFACT_DAMAGED",
    OffsetOutOfRangeError: "OFFSET_OUT_OF_RANGE",
    ArtifactTooLargeError: "PAYLOAD_TOO_LARGE",
    ArtifactStoreAwayError: "ARTIFACT_STORE_UNAVAILABLE",
    ArtifactStoreFullError: "ARTIFACT_STORE_FULL",
}
"""Reasons of errors without a `code`; most of the job store's errors have their reason there."""

_DATA_FIELDS = frozenset({"dataset_path", "val_dataset_path", "tokenizer"})
_RETRY_SECONDS = 1.0


def call_error(
    reason: str,
    message: str,
    violations: Sequence[FieldProblem] = (),
    metadata: Mapping[str, str] | None = None,
) -> RpcError:
    """Return the error for a reason of errors.proto, which also sets the gRPC code."""
    code = grpc.StatusCode[CALL_STATUSES[reason].grpc_code]
    pause = _RETRY_SECONDS if code is grpc.StatusCode.UNAVAILABLE else None
    return RpcError(code, reason, message, violations, metadata or {}, pause)


def invalid_argument(field: str, message: str, reason: str = "INVALID_ARGUMENT") -> RpcError:
    """Return the error for a field of the request that breaks a rule."""
    return call_error(reason, message, [FieldProblem(field, message)])


def invalid_config(problems: Iterable[FieldProblem]) -> RpcError:
    """Return the error for a configuration, with every problem of it."""
    return _config_refused(ConfigError(list(problems)))


def invalid_data(problems: Sequence[FieldProblem]) -> RpcError:
    """Return the error for data or a tokenizer that cannot be trained on.

    Its reason is INVALID_CONFIG where a field has to change.
    """
    error = ConfigError(problems)
    if not all(_is_of_data(problem.field) for problem in problems):
        return _config_refused(error)
    message = "; ".join(problem.message for problem in problems)
    return call_error("INVALID_DATA", message, problems)


def _is_of_data(field: str) -> bool:
    return field in _DATA_FIELDS or field.startswith("data.sources")


def in_use(message: str) -> RpcError:
    """Return the error for something that cannot be deleted now."""
    return call_error("IN_USE", message)


def watcher_too_slow(seconds: float) -> RpcError:
    """Return the error that ends a stream whose client does not read; it can be continued."""
    return call_error(
        "WATCHER_TOO_SLOW",
        f"the client has left messages unread for {seconds:g} s; read on, and continue from the "
        "last cursor",
    )


def shutting_down() -> RpcError:
    """Return the error that ends a stream at shutdown; it can be continued elsewhere."""
    return call_error(
        "SHUTTING_DOWN",
        "the control plane is shutting down; reconnect and continue from the last cursor",
    )


def to_rpc_error(error: BaseException) -> RpcError:
    """Return `error` as its client sees it; a defect is logged here under a reference id."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, ConfigError):
        return _config_refused(error)
    if isinstance(error, JobStoreError | ArtifactError):
        return _refused_by_store(error)
    reference = uuid.uuid4().hex[:12]
    _log.error("a call failed by a defect", reference=reference, exc_info=error)
    return call_error(
        "INTERNAL",
        f"the call failed by a defect of the service; its log tells more under {reference}",
        metadata={"reference": reference},
    )


def _config_refused(error: ConfigError) -> RpcError:
    return call_error("INVALID_CONFIG", str(error), error.problems)


def _refused_by_store(error: JobStoreError | ArtifactError) -> RpcError:
    if isinstance(error, FeedsClosedError):
        return shutting_down()
    if isinstance(error, InferenceFailedError):
        return _failed_at_worker(error)
    metadata = {"state": error.state} if isinstance(error, TransitionRefusedError) else {}
    return call_error(_reason_of(error), str(error), metadata=metadata)


def _failed_at_worker(error: InferenceFailedError) -> RpcError:
    if error.code not in CALL_STATUSES:  # of a newer worker
        return RpcError(grpc.StatusCode.INTERNAL, error.code, str(error))
    if error.field:
        return invalid_argument(error.field, str(error), error.code)
    return call_error(error.code, str(error))


def _reason_of(error: JobStoreError | ArtifactError) -> str:
    if isinstance(error, NotFoundError):
        return f"{error.kind.upper()}_NOT_FOUND"
    if isinstance(error, JobStoreError) and error.code in CALL_STATUSES:
        return error.code
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    raise error  # a new class of store error: add it to the table above
