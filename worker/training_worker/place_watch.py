"""The parent's side of a place in an attempt over several nodes, as `Supervisor` is of an attempt.

It renews the place's lease, ends its processes once the attempt is over, and says when they have
ended before. What they do is reported by the worker that has claimed the attempt.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from job_store.attempts import PLACE_DONE, PLACE_LOST, AttemptStore
from job_store.errors import (
    FencedError,
    JobStoreError,
    NotFoundError,
    StoreUnavailableError,
)
from job_store.records import FencingToken
from training_worker.board import Board
from training_worker.supervisor import LEAVE_MARGIN_SECONDS, Kill, kill_group

logger = logging.getLogger(__name__)

_TICK_MS = 100
_SAY_AGAIN_SECONDS = 0.3


class PlaceWatch:
    """Watches the processes of one place until they are gone."""

    def __init__(
        self,
        token: FencingToken,
        place: int,
        store: AttemptStore,
        board: Board,
        *,
        renewal_seconds: float,
        heartbeat: Callable[[], None],
    ) -> None:
        self._token, self._place, self._store = token, place, store
        self._board, self._pulses = board, 0
        self._renewal_seconds, self._heartbeat = renewal_seconds, heartbeat
        self._pid = 0
        self._leave_by: float | None = None

    def hand_back(self, grace_seconds: float) -> None:
        """Ask all processes of the run to save and end, since this worker leaves."""
        margin = min(LEAVE_MARGIN_SECONDS, grace_seconds / 4)
        self._leave_by = time.monotonic() + grace_seconds - margin
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def kill(self, why: Kill) -> None:
        """End the processes of this place now; the run then ends on all nodes."""
        logger.warning("ending place %d of job %s: %s", self._place, self._token.job_id, why.value)
        kill_group(self._pid)

    def attach(self, pid: int) -> None:
        """Send signals to this process from now on."""
        self._pid = pid

    def watch(self, pid: int) -> None:
        """Return when the processes are gone, and that is said."""
        handle = os.pidfd_open(pid)
        renew_at = time.monotonic()
        try:
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            while not poller.poll(_TICK_MS):
                now = time.monotonic()
                if now >= renew_at:
                    renew_at = now + self._renewal_seconds
                    self._renew()
                if self._is_late():
                    self.kill(Kill.GRACE)
        finally:
            os.close(handle)
            kill_group(pid)
            _, status = os.waitpid(pid, 0)
            self._pid = 0
        count = PLACE_LOST if os.waitstatus_to_exitcode(status) else PLACE_DONE
        while not self._try_leave(count) and not self._is_late():
            time.sleep(_SAY_AGAIN_SECONDS)

    def _is_late(self) -> bool:
        return self._leave_by is not None and time.monotonic() >= self._leave_by

    def _try_leave(self, count: int) -> bool:
        """Say how the processes ended; False if the store is away."""
        try:
            self._store.leave_place(self._token, self._place, count)
        except StoreUnavailableError:
            return False
        except JobStoreError as error:
            logger.info("place %d of job %s: %s", self._place, self._token.job_id, error)
        return True

    def _renew(self) -> None:
        pulses = self._board.pulses
        try:
            self._store.renew_place(self._token, self._place, pulses != self._pulses)
        except (FencedError, NotFoundError):
            self.kill(Kill.FENCED)
        except StoreUnavailableError as error:
            logger.warning("the place in job %s waits: %s", self._token.job_id, error)
        except Exception:  # the processes go on, so watching them does too
            logger.exception("the place in job %s could not be renewed", self._token.job_id)
        else:
            self._pulses = pulses
            self._heartbeat()
