"""Brings a job's oldest points out of Redis and into the artifact store, a segment at a time.

A segment holds what readers see of a stream, so it is written from the stream and not from a
spool: an attempt's spool also has points that were cut since, and lacks those that a successor
completed. Redis drops points only once their file is durable.
"""

from __future__ import annotations

import logging

from artifact_store import ArtifactError, ArtifactStore, attempt_prefix
from job_store.archive import Segment, Surplus
from job_store.attempts import AttemptStore
from job_store.records import FencingToken

logger = logging.getLogger(__name__)

_CHECK_POINTS = 1024
"""Points published between two checks, so the bound may be passed by that many."""


class PointArchive:
    """Keeps one job's raw points in Redis within their bound."""

    def __init__(self, store: AttemptStore, artifacts: ArtifactStore, token: FencingToken) -> None:
        self._store, self._artifacts, self._token = store, artifacts, token
        self._prefix = attempt_prefix(token.job_id, token.attempt, token.claim_id)
        self._interval = min(_CHECK_POINTS, store.segment_points)
        self._unchecked = self._interval

    def published(self, points: int) -> None:
        """Count so many more points in Redis, and archive the oldest where they are too many.

        Where the artifact store takes nothing, they stay in Redis and are tried again later.
        """
        self._unchecked += points
        if self._unchecked < self._interval:
            return
        self._unchecked = 0
        try:
            while (surplus := self._store.surplus(self._token)) is not None:
                if not self._store.archive(self._token, surplus.attempt, self._write(surplus)):
                    return
        except (ArtifactError, OSError) as error:
            logger.warning("old metrics stay in Redis, for they cannot be stored: %s", error)

    def _write(self, surplus: Surplus) -> Segment:
        name = f"points-{surplus.attempt}-{surplus.first_step}-{surplus.last_step}.bin"
        info = self._artifacts.put(f"{self._prefix}/{name}", [surplus.document])
        return Segment(
            surplus.first_step,
            surplus.last_step,
            surplus.points,
            info.size_bytes,
            info.sha256,
            info.key,
        )
