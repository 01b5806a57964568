"""Claiming: from a message of the queue to an attempt that this worker alone may train."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from artifact_store import ArtifactStoreAwayError, GuardedStore
from job_store.attempts import AttemptStore, Unregistered
from job_store.errors import JobStoreError, NotFoundError, RecordVersionError, StoreUnavailableError
from job_store.ids import new_claim_id
from job_store.records import Claimed, FencingToken
from training_worker.messages import AttemptOrder
from training_worker.unregistered import find_unregistered
from training_worker.witness import Witness

logger = logging.getLogger(__name__)


class Claims:
    """Claims attempts for one worker.

    Args:
        witness: holds each claim from before it is made, and reports the worker's death.
        heartbeat: called now and then while an earlier attempt's files are read.
        is_leaving: whether the worker has been asked to leave; nothing is claimed from then on.
    """

    def __init__(
        self,
        attempts: AttemptStore,
        artifacts: GuardedStore,
        worker_id: str,
        witness: Witness,
        *,
        heartbeat: Callable[[], object],
        heartbeat_seconds: float,
        is_leaving: Callable[[], bool],
    ) -> None:
        self._attempts, self._artifacts = attempts, artifacts
        self._worker_id, self._witness = worker_id, witness
        self._heartbeat, self._heartbeat_seconds = heartbeat, heartbeat_seconds
        self._is_leaving = is_leaving

    def take(self, order: AttemptOrder) -> Claimed | None:
        """Claim the attempt that a message asks for; None where it needs no worker.

        The same claim id makes a repeat after a broken answer harmless.
        """
        claim_id = new_claim_id()
        self._witness.page.hold(FencingToken(order.job_id, order.attempt, claim_id))
        while not self._is_leaving():
            try:
                saved = self._unregistered(order)
                return self._attempts.claim(
                    order.job_id, order.attempt, self._worker_id, claim_id, saved
                )
            except StoreUnavailableError as error:
                logger.warning("claiming waits: %s", error)
                time.sleep(0.2)
            except NotFoundError as error:
                logger.warning("a message names an unknown job: %s", error)
                return None
            except RecordVersionError as error:
                # Left as it is: a worker of the version that wrote it can still train it.
                logger.error("a message is left to another version: %s", error)
                return None
        return None

    def _unregistered(self, order: AttemptOrder) -> Unregistered | None:
        """Return what the last attempt saved and did not register; this may take minutes."""
        if order.attempt == 1:
            return None
        beaten_at = time.monotonic()

        def beat(size: int) -> None:
            nonlocal beaten_at
            if time.monotonic() - beaten_at >= self._heartbeat_seconds:
                beaten_at = time.monotonic()
                self._heartbeat()

        try:
            saved = find_unregistered(
                self._attempts, self._artifacts, order.job_id, order.attempt, beat
            )
        except (JobStoreError, ArtifactStoreAwayError):
            raise
        except Exception:  # whatever it is, the registered checkpoints are as good as before
            logger.exception("looking for an unregistered checkpoint of job %s", order.job_id)
            return None
        if saved is not None:
            logger.info("attempt %d had saved step %d", saved.record.attempt, saved.record.step)
        return saved
