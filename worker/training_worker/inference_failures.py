"""What a reader is told when a request to the inference process fails."""

from __future__ import annotations

import logging
from typing import NamedTuple

from artifact_store import ArtifactError, ArtifactNotFoundError, ArtifactStoreAwayError

logger = logging.getLogger(__name__)


class Failure(NamedTuple):
    """Why a request failed."""

    code: str
    """A reason of the protos' enum."""
    message: str
    field: str = ""
    """Of the request that is at fault; empty for none."""


def failure_of(error: Exception, checkpoint_id: str) -> Failure:
    """Return what is wrong with the checkpoint or its store; anything else is a defect."""
    if isinstance(error, ArtifactNotFoundError):
        message = f"checkpoint {checkpoint_id} was deleted; choose another one"
        return Failure("CHECKPOINT_NOT_FOUND", message)
    if isinstance(error, ArtifactStoreAwayError):
        return Failure("ARTIFACT_STORE_UNAVAILABLE", str(error))
    if isinstance(error, ArtifactError):
        return Failure("ARTIFACT_DAMAGED", str(error))
    logger.error("a request about %s failed", checkpoint_id, exc_info=error)
    return Failure("INTERNAL", f"the work on {checkpoint_id} failed: {type(error).__name__}")
