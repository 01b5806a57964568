"""What the stores and rules refuse, as clients see it: one place maps each error to its reason.

Anything that is not in this table is a defect: INTERNAL with a reference id that stands in the
log beside the traceback, which the client never sees.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import grpc

from app.training.config import ConfigError, Problem
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
from job_store.errors import (
    FeedsClosed,
    InvalidCursor,
    InvalidPageToken,
    JobStoreError,
    NotFound,
    RecordVersionError,
    RequestIdReused,
    SegmentUnreadable,
    StoreUnavailable,
    TransitionRefused,
)
from job_store.generation import GenerationFailed, GenerationTimedOut
from service_runtime.logs import get_logger
from service_runtime.rpc_errors import FieldViolation, RpcError

_log = get_logger("control_plane")
_Code = grpc.StatusCode

_STORE_REASONS: dict[type[Exception], tuple[grpc.StatusCode, str]] = {
    TransitionRefused: (_Code.FAILED_PRECONDITION, "STATE_FORBIDS"),
    RequestIdReused: (_Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
    InvalidCursor: (_Code.INVALID_ARGUMENT, "INVALID_CURSOR"),
    InvalidPageToken: (_Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"),
    RecordVersionError: (_Code.FAILED_PRECONDITION, "RECORD_VERSION"),
    SegmentUnreadable: (_Code.DATA_LOSS, "ARTIFACT_DAMAGED"),
    ArtifactNotFoundError: (_Code.DATA_LOSS, "ARTIFACT_DAMAGED"),
    ArtifactDamagedError: (_Code.DATA_LOSS, "ARTIFACT_DAMAGED"),
    InvalidKeyError: (_Code.DATA_LOSS, "ARTIFACT_DAMAGED"),
    OffsetOutOfRangeError: (_Code.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE"),
    ArtifactTooLargeError: (_Code.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE"),
    ArtifactStoreFullError: (_Code.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
}
_GENERATION_CODES = {
    "CHECKPOINT_NOT_FOUND": _Code.NOT_FOUND,
    "ARTIFACT_DAMAGED": _Code.DATA_LOSS,
    "ARTIFACT_STORE_UNAVAILABLE": _Code.UNAVAILABLE,
    "INVALID_ARGUMENT": _Code.INVALID_ARGUMENT,
}
"""What a worker may answer; the rest is a defect there."""

_DATA_FIELDS = frozenset({"dataset_path", "val_dataset_path", "tokenizer"})
_RETRY_SECONDS = 1.0


def invalid_argument(field: str, message: str, reason: str = "INVALID_ARGUMENT") -> RpcError:
    """A request field at fault."""
    return RpcError(_Code.INVALID_ARGUMENT, reason, message, [FieldViolation(field, message)])


def invalid_config(problems: Iterable[Problem]) -> RpcError:
    """Every problem of a configuration, at once."""
    return _config_refused(ConfigError(list(problems)))


def invalid_data(problems: Sequence[Problem]) -> RpcError:
    """Data or a tokenizer that cannot be trained on; INVALID_CONFIG where a field has to change."""
    error = ConfigError(problems)
    if any(problem.field not in _DATA_FIELDS for problem in problems):
        return _config_refused(error)
    violations = [FieldViolation(problem.field, problem.message) for problem in problems]
    message = "; ".join(problem.message for problem in problems)
    return RpcError(_Code.INVALID_ARGUMENT, "INVALID_DATA", message, violations)


def not_found(kind: str, id: str) -> RpcError:
    """No such job, config, checkpoint or dataset."""
    return to_rpc_error(NotFound(kind, id))


def in_use(message: str) -> RpcError:
    """Something that cannot be deleted now."""
    return RpcError(_Code.FAILED_PRECONDITION, "IN_USE", message)


def watcher_too_slow(seconds: float) -> RpcError:
    """Ends a stream whose client does not read; it can be continued."""
    return RpcError(
        _Code.UNAVAILABLE,
        "WATCHER_TOO_SLOW",
        f"the client has left messages unread for {seconds:g} s; read on, and continue from the "
        "last cursor",
        retry_after_seconds=_RETRY_SECONDS,
    )


def shutting_down() -> RpcError:
    """Ends a stream that can be continued elsewhere."""
    return RpcError(
        _Code.UNAVAILABLE,
        "SHUTTING_DOWN",
        "the control plane is shutting down; reconnect and continue from the last cursor",
        retry_after_seconds=_RETRY_SECONDS,
    )


def to_rpc_error(error: BaseException) -> RpcError:
    """What a client is told of `error`; a defect is logged here under a reference id."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, ConfigError):
        return _config_refused(error)
    if isinstance(error, JobStoreError | ArtifactError):
        return _refused_by_store(error)
    reference = uuid.uuid4().hex[:12]
    _log.error("a call failed by a defect", reference=reference, exc_info=error)
    return RpcError(
        _Code.INTERNAL,
        "INTERNAL",
        f"the call failed by a defect of the service; its log tells more under {reference}",
        metadata={"reference": reference},
    )


def _config_refused(error: ConfigError) -> RpcError:
    violations = [FieldViolation(problem.field, problem.message) for problem in error.problems]
    return RpcError(_Code.INVALID_ARGUMENT, "INVALID_CONFIG", str(error), violations)


def _refused_by_store(error: JobStoreError | ArtifactError) -> RpcError:
    if isinstance(error, FeedsClosed):
        return shutting_down()
    if isinstance(error, NotFound):
        return RpcError(_Code.NOT_FOUND, f"{error.kind.upper()}_NOT_FOUND", str(error))
    if isinstance(error, StoreUnavailable | GenerationTimedOut):
        return RpcError(
            _Code.UNAVAILABLE, error.code, str(error), retry_after_seconds=_RETRY_SECONDS
        )
    if isinstance(error, ArtifactStoreAwayError):
        reason = "ARTIFACT_STORE_UNAVAILABLE"
        return RpcError(_Code.UNAVAILABLE, reason, str(error), retry_after_seconds=_RETRY_SECONDS)
    if isinstance(error, GenerationFailed):
        return RpcError(_GENERATION_CODES.get(error.code, _Code.INTERNAL), error.code, str(error))
    for kind, (code, reason) in _STORE_REASONS.items():
        if isinstance(error, kind):
            metadata = {"state": error.state} if isinstance(error, TransitionRefused) else {}
            return RpcError(code, reason, str(error), metadata=metadata)
    raise error  # a new class of store error: the table above has to learn it
