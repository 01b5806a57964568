"""The exit codes that scripts may rely on, and how an error is shown."""

from __future__ import annotations

import sys

from training_engine import errors
from training_engine.errors import TrainingEngineError

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
UNAVAILABLE = 5
INVALID_CONFIG = 6
NOT_ALLOWED = 7
JOB_FAILED = 8
JOB_STOPPED = 9
INTERRUPTED = 130

MEANINGS = {
    OK: "done",
    FAILED: "another error, on this machine or in the service",
    USAGE: "wrong usage: an option, a file that cannot be read, an argument that is refused",
    NOT_FOUND: "not found",
    REFUSED: "refused: a job's state, a user of the thing, or an existing file forbids it",
    UNAVAILABLE: "service unavailable, or no answer in time",
    INVALID_CONFIG: "invalid configuration",
    NOT_ALLOWED: "not allowed",
    JOB_FAILED: "the watched job failed",
    JOB_STOPPED: "the watched job was stopped before its end",
    INTERRUPTED: "interrupted",
}
TABLE = f"Exit codes: {'; '.join(f'{code} {text}' for code, text in MEANINGS.items())}."

_CODES: list[tuple[type[TrainingEngineError], int]] = [
    (errors.InvalidConfigError, INVALID_CONFIG),
    (errors.InvalidArgumentError, USAGE),
    (errors.NotFoundError, NOT_FOUND),
    (errors.ConflictError, REFUSED),
    (errors.UnavailableError, UNAVAILABLE),
    (errors.RateLimitedError, UNAVAILABLE),
    (errors.DeadlineExceededError, UNAVAILABLE),
    (errors.UnauthenticatedError, NOT_ALLOWED),
    (errors.PermissionDeniedError, NOT_ALLOWED),
]


def exit_code(error: BaseException | None) -> int:
    """Return the exit code that an error means."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def show_error(error: BaseException, *, verbose: bool) -> None:
    """Print an error as one block on stderr; `verbose` adds its code and its causes."""
    lines = [f"error: {error}"]
    if verbose:
        lines += [f"  code: {error.code}"] if isinstance(error, TrainingEngineError) else []
        cause = error.__cause__
        while cause is not None:
            lines.append(f"  because of {type(cause).__name__}: {cause}".rstrip())
            cause = cause.__cause__
    print("\n".join(lines), file=sys.stderr)
