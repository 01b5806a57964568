"""Everything the SDK raises, the same over gRPC and REST."""

# TrainingEngineError                 .message .code .errors
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
# ├── UnavailableError                nobody answers, or cannot now; may be tried again
# ├── DeadlineExceededError           no answer in time (also a TimeoutError)
# └── InternalError                   a defect, here or in the service

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
        return f"{self.field}: {self.message}" if self.field else self.message


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
    #: True for failures that may pass by themselves.
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
        return self.may_pass

    def __str__(self) -> str:
        # The service's message may already spell out the problems.
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
        """The same as `errors`, under the name a configuration's reader expects."""
        return self.errors


class NotFoundError(TrainingEngineError):
    """Nothing has this id."""

    default_code = "not_found"


class ConflictError(TrainingEngineError):
    """What the call asks for conflicts with how things stand."""

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
    """Nobody answers, or cannot answer now."""

    default_code = "control_plane_unavailable"
    may_pass = True

    @property
    def retryable(self) -> bool:
        """True, except where the service itself has already waited in vain for a worker."""
        return self.code != "worker_unavailable"


class DeadlineExceededError(TrainingEngineError, TimeoutError):
    """No answer in time; what was asked for may still happen."""

    default_code = "deadline_exceeded"


class InternalError(TrainingEngineError):
    """A defect, here or in the service."""

    default_code = "internal"


_BY_REASON: dict[str, type[TrainingEngineError]] = {
    "invalid_config": InvalidConfigError,
    "invalid_argument": InvalidArgumentError,
    "invalid_page_token": InvalidArgumentError,
    "invalid_cursor": InvalidArgumentError,
    "path_not_allowed": InvalidArgumentError,
    "path_not_found": InvalidArgumentError,
    "request_id_reused": InvalidArgumentError,
    "checksum_mismatch": InvalidArgumentError,
    "offset_out_of_range": InvalidArgumentError,
    "content_encoding_unsupported": InvalidArgumentError,
    # No resource is missing: the address is no gateway's, or that of a gateway of another age.
    "route_not_found": TrainingEngineError,
    "method_not_allowed": TrainingEngineError,
    "payload_too_large": PayloadTooLargeError,
    "config_not_found": NotFoundError,
    "job_not_found": NotFoundError,
    "checkpoint_not_found": NotFoundError,
    "dataset_not_found": NotFoundError,
    "metrics_not_found": NotFoundError,
    "state_forbids": StateForbidsError,
    "in_use": ConflictError,
    "record_version": ConflictError,
    "artifact_damaged": ArtifactDamagedError,
    "unauthenticated": UnauthenticatedError,
    "permission_denied": PermissionDeniedError,
    "rate_limited": RateLimitedError,
    "store_unavailable": UnavailableError,
    "control_plane_unavailable": UnavailableError,
    "shutting_down": UnavailableError,
    "worker_unavailable": UnavailableError,
    "watcher_too_slow": UnavailableError,
    "internal": InternalError,
}


TOKEN_NEEDED = (
    "the service asks for an access token, and got none that it knows; set TRAINING_ENGINE_TOKEN "
    "to a token that the service was started with, or pass token=... in a program"
)


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
    kind = _BY_REASON.get(reason, fallback)
    if kind is UnauthenticatedError:  # the service speaks of headers, which no caller sets here
        message = TOKEN_NEEDED
    return kind(message, code=reason or None, errors=errors, retry_after=retry_after)
