"""Problems in the form that OpenAI's clients read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.problems import ProblemError

PREFIX = "/v1/"
CALLS = "below /v1 there are completions, chat/completions and models"

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {
    "unauthenticated": "invalid_api_key",
    "job_not_found": "model_not_found",
    "checkpoint_not_found": "model_not_found",
}
"""Codes that clients look for; every other code is the service's own reason."""


def is_openai(path: str) -> bool:
    """Whether the address is one of OpenAI's API."""
    return path.startswith(PREFIX)


def openai_error(problem: ProblemError) -> dict[str, Any]:
    """Return the JSON object."""
    status = problem.status_code
    general = "invalid_request_error" if status < 500 else "server_error"
    return {
        "error": {
            "message": problem.detail,
            "type": _TYPES.get(status, general),
            "param": problem.errors[0].field or None if problem.errors else None,
            "code": _CODES.get(problem.reason, problem.reason),
        }
    }
