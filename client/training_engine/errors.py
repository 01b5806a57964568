"""Everything the SDK raises, the same over gRPC and REST."""

# TrainingEngineError                 .message .code .errors .retryable .retry_after
# ├── InvalidArgumentError            a field is malformed, a path is outside the roots, ...
# │   └── InvalidConfigError          .problems lists every problem of the configuration
# ├── NotFoundError                   no job, checkpoint, configuration or dataset has this id
# ├── ConflictError                   the thing is in use, or of a newer version
# │   └── StateForbidsError           the job's state forbids the transition
# ├── PayloadTooLargeError            the request is larger than the service accepts
# ├── ArtifactDamagedError            a file differs from its checksum, or is gone
# ├── UnauthenticatedError            credentials are missing or wrong
# ├── PermissionDeniedError           the credentials do not allow the call
# ├── RateLimitedError                too many requests or streams; may be tried again
# ├── UnavailableError                no service answers, or it cannot now; may be tried again
# ├── DeadlineExceededError           no answer in time (also a TimeoutError)
# └── InternalError                   a defect, here or in the service

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training_engine.v1.options_pb2 import CallStatus


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with one field.

    Attributes:
        field: Path of the field, e.g. `model_config.num_heads`.
        message: Value, rule and remedy in one sentence.
    """

    field: str
    message: str

    def __str__(self) -> str:
        if not self.field or self.message.startswith(f"`{self.field}`"):
            return self.message
        return f"{self.field}: {self.message}"


class TrainingEngineError(Exception):
    """The root of all errors of the SDK.

    Attributes:
        message: What happened, for a person.
        code: Stable name of the reason (the contract's ErrorReason in lower case, as REST's
            `reason`), for a program to branch on, e.g. `job_not_found`.
        errors: One `FieldProblem` for each field at fault.
        retry_after: Seconds after which the service asks to be tried again, where it does.
    """

    default_code = "internal"
    #: `retryable` of a code that errors.proto does not list: may the failure pass by itself?
    may_pass = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldProblem] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.errors = tuple(errors)
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """True where the same call may succeed if it is sent again."""
        status = _call_status(self.code)
        return self.may_pass if status is None else status.retryable

    def __str__(self) -> str:
        # The service's message often contains the problems already.
        missing = [str(problem) for problem in self.errors if problem.message not in self.message]
        return "\n  ".join([self.message, *missing])


class InvalidArgumentError(TrainingEngineError):
    """A field of the request is malformed or out of range."""

    default_code = "invalid_argument"


class InvalidConfigError(InvalidArgumentError):
    """The configuration has problems; `problems` lists every one."""

    default_code = "invalid_config"

    @property
    def problems(self) -> tuple[FieldProblem, ...]:
        """The same as `errors`: a configuration is said to have problems."""
        return self.errors


class NotFoundError(TrainingEngineError):
    """Nothing has this id."""

    default_code = "not_found"


class ConflictError(TrainingEngineError):
    """The thing is in use, exists already, or is of a newer version."""

    default_code = "in_use"


class StateForbidsError(ConflictError):
    """The job's state forbids the transition."""

    default_code = "state_forbids"


class PayloadTooLargeError(TrainingEngineError):
    """The request is larger than the service accepts."""

    default_code = "payload_too_large"


class ArtifactDamagedError(TrainingEngineError):
    """A file is missing or differs from its checksum."""

    default_code = "artifact_damaged"


class UnauthenticatedError(TrainingEngineError):
    """The service asks for an access token, and got none that it knows."""

    default_code = "unauthenticated"


class PermissionDeniedError(TrainingEngineError):
    """The credentials do not allow the call."""

    default_code = "permission_denied"


class RateLimitedError(TrainingEngineError):
    """Too many requests or streams."""

    default_code = "rate_limited"
    may_pass = True


class UnavailableError(TrainingEngineError):
    """The service does not answer, or cannot answer now."""

    default_code = "control_plane_unavailable"
    may_pass = True


class DeadlineExceededError(TrainingEngineError, TimeoutError):
    """No answer in time; what was asked for may still happen."""

    default_code = "deadline_exceeded"


class InternalError(TrainingEngineError):
    """A defect, here or in the service."""

    default_code = "internal"


# RESOURCE_EXHAUSTED is missing: its reasons have different classes, so they are in `_BY_REASON`.
_BY_CODE: dict[str, type[TrainingEngineError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "OUT_OF_RANGE": InvalidArgumentError,
    "NOT_FOUND": NotFoundError,
    "FAILED_PRECONDITION": ConflictError,
    "ALREADY_EXISTS": ConflictError,
    "ABORTED": ConflictError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "UNAVAILABLE": UnavailableError,
    # The server cancelled the call. A caller who closes a stream's iterator cancels it, too, but
    # then no error is raised.
    "CANCELLED": UnavailableError,
    "DATA_LOSS": ArtifactDamagedError,
}
# Reasons whose class does not follow from the gRPC code that errors.proto gives them.
_BY_REASON: dict[str, type[TrainingEngineError]] = {
    "invalid_config": InvalidConfigError,
    "state_forbids": StateForbidsError,
    "payload_too_large": PayloadTooLargeError,
    "rate_limited": RateLimitedError,
    # Neither is the request too large, nor are there too many of them.
    "artifact_store_full": TrainingEngineError,
    # No resource is missing: the address is not a gateway's, or the gateway is of another release.
    "route_not_found": TrainingEngineError,
    "method_not_allowed": TrainingEngineError,
}


TOKEN_NEEDED = (
    "the service asks for an access token, and got none that it knows; set TRAINING_ENGINE_TOKEN "
    "to a token that the service was started with, or pass token=... in a program"
)


def class_for_code(code: str) -> type[TrainingEngineError]:
    """Return the exception class that a gRPC code means, by the code's name."""
    return _BY_CODE.get(code, InternalError)


def class_for_reason(reason: str, fallback: type[TrainingEngineError]) -> type[TrainingEngineError]:
    """Return the exception class of a reason in lower case; `fallback` for an unknown reason."""
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    status = _call_status(reason)
    return fallback if status is None else class_for_code(status.grpc_code)


def _call_status(reason: str) -> CallStatus | None:
    """Return what errors.proto says of a reason; None for a reason that it does not list."""
    from training_engine.reasons import CALL_STATUSES  # loads protobuf, so not before an error

    return CALL_STATUSES.get(reason.upper())


def error_for(
    reason: str,
    message: str,
    *,
    fallback: type[TrainingEngineError],
    errors: Sequence[FieldProblem] = (),
    retry_after: float | None = None,
) -> TrainingEngineError:
    """Return the exception for a reason of the contract.

    Args:
        reason: ErrorReason in lower case without its prefix; empty where none was sent.
        message: What the service says.
        fallback: The class that the transport's status code means, for a reason that is empty
            or newer than this SDK.
        errors: The fields at fault.
        retry_after: Seconds, where the service named them.
    """
    kind = class_for_reason(reason, fallback)
    if kind is UnauthenticatedError:  # the service speaks of headers, which no caller sets here
        message = TOKEN_NEEDED
    return kind(message, code=reason or None, errors=errors, retry_after=retry_after)
