"""From an exception to how an attempt ends: whether it is tried again."""

from __future__ import annotations

import errno
import sys
import traceback

from artifact_store import ArtifactStoreAwayError
from job_store.records import JobError, Outcome, OutcomeKind

_MESSAGE_LENGTH = 2000
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_REMEDY = "free some space"

# Matched by class name along the inheritance, so that telling an error apart does not need the
# library's torch-laden modules in every process that can fail.
_DEFINITE = {
    "NonFiniteLossError": "NON_FINITE_LOSS",
    "TrainingMemoryError": "OUT_OF_MEMORY",
    "OutOfMemoryError": "OUT_OF_MEMORY",
    "CustomMetricError": "TRAINER_ERROR",
    "ConfigError": "INVALID_CONFIG",
    "DataError": "INVALID_DATA",
    "PathNotAllowedError": "PATH_NOT_ALLOWED",
    "TokenizerError": "INVALID_DATA",
    "DatasetUnavailableError": "INVALID_DATA",
    "ResumeError": "RESUME_IMPOSSIBLE",
}
_PASSING = {
    "CheckpointError": "CHECKPOINT_FAILED",
    "CheckpointMissingError": "RESUME_IMPOSSIBLE",
    "LostPeerError": "TRAINER_DIED",
    "UnreachableNodeError": "WORKER_LOST",
    "OSError": "INPUT_OUTPUT",
}
_WITHOUT_TRACEBACK = _DEFINITE.keys() - {"OutOfMemoryError"} | {
    "CheckpointError",
    "CheckpointMissingError",
    "LostPeerError",
    "UnreachableNodeError",
    "ArtifactStoreAwayError",
}
"""Errors whose message says all; a traceback would not help the reader."""


def is_full_disk(error: BaseException) -> bool:
    """Whether lack of space is behind it, whatever the library made of that."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NO_SPACE:
            return True
        cause = cause.__cause__
    return False


def absence_behind(error: BaseException) -> ArtifactStoreAwayError | None:
    """Return the absence of the artifact store behind it, whatever the library made of that."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ArtifactStoreAwayError):
        cause = cause.__cause__
    return cause


def describe_failure(error: BaseException, log_tail: str) -> Outcome:
    """Return FAILED for errors that another attempt would meet too, else CRASHED, to be retried.

    An attempt whose artifact store is away hands its job back: that does not count as a failure.
    """
    if absence_behind(error):
        return Outcome(OutcomeKind.HANDED_BACK, message=str(error)[:_MESSAGE_LENGTH])
    names = [kind.__name__ for kind in type(error).__mro__]
    message = f"{type(error).__name__}: {error}"[:_MESSAGE_LENGTH]
    if is_full_disk(error):
        if _REMEDY not in message and "free space" not in message:
            message += f"; {_REMEDY}, and resume from the last checkpoint"
        return Outcome(OutcomeKind.CRASHED, JobError("DISK_FULL", message, log_tail))
    for name in names:
        if name in _DEFINITE:
            return Outcome(OutcomeKind.FAILED, JobError(_DEFINITE[name], message, log_tail))
    reason = next((_PASSING[name] for name in names if name in _PASSING), "TRAINER_ERROR")
    return Outcome(OutcomeKind.CRASHED, JobError(reason, message, log_tail))


def print_failure(error: BaseException) -> None:
    """Print an error to stderr, which is the job's log; for a defect, with its traceback."""
    if any(kind.__name__ in _WITHOUT_TRACEBACK for kind in type(error).__mro__):
        print(error, file=sys.stderr)
    else:
        traceback.print_exception(error)
