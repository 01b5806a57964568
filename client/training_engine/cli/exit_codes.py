"""The exit codes that scripts may rely on, and how an error is shown."""

from __future__ import annotations

import sys

from training_engine import errors
from training_engine.errors import TrainingEngineError

OK = 0
FAILED = 1  # the job failed, or an error without a code of its own
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
UNAVAILABLE = 5
INVALID_CONFIG = 6
NOT_ALLOWED = 7
INTERRUPTED = 130

TABLE = (
    "Exit codes: 0 done; 1 the job failed, or another error; 2 wrong usage; 3 not found; "
    "4 the state forbids it; 5 service unavailable; 6 invalid configuration; "
    "7 not allowed; 130 interrupted."
)

_CODES: list[tuple[type[TrainingEngineError], int]] = [
    (errors.InvalidConfigError, INVALID_CONFIG),
    (errors.InvalidArgumentError, USAGE),
    (errors.NotFoundError, NOT_FOUND),
    (errors.ConflictError, CONFLICT),
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
