"""Takes care of jobs whose workers or messages are gone. One process leads, by a lock in Redis.

A leader may die at any moment: its successor watches everything itself from the beginning. Every
decision is an atomic script that refuses a claim which has been replaced meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence, Set
from contextlib import suppress

from control_plane.alert_sending import AlertSender
from control_plane.gangs import GangGate
from control_plane.leases import AttemptWatch, Claim, FirstSeen, claim_of
from control_plane.leftovers import Sweeper
from control_plane.queue import message_id
from control_plane.state import ServiceState
from control_plane.sweeps.driver import SweepDriver
from control_plane.telemetry import LOST_ATTEMPTS, RESENT_MESSAGES
from job_store.errors import JobStoreError, NotJournaledError, StoreUnavailableError
from job_store.reconcile import NOTHING_SEEN, RunningAttempt, Seen, stall_message
from job_store.records import JobError, JobStatus, Phase, QueuedAttempt
from service_runtime.backoff import pause_seconds
from service_runtime.duties import Duties
from service_runtime.logs import get_logger

_log = get_logger("reconciler")
_ALL_NOTICES = "0"
_HEED_SECONDS = 0.02  # between two readings: many notices come at once
_FOLLOWER_SECONDS = 0.2
_MOST_UNSENT = 1000
"""Missing messages that a round looks at; jobs that wait for several workers lack theirs."""


class Reconciler:
    """Runs in every control plane; only the leader acts."""

    def __init__(self, state: ServiceState, owner: str) -> None:
        self._state = state
        self._owner = owner
        self._leases = AttemptWatch(state.settings.lease_seconds)
        self._leading = False
        self._other = FirstSeen[str]()
        self._unsent: set[tuple[str, int]] = set()
        self._missing = FirstSeen[tuple[str, int]]()
        self._pauses = FirstSeen[tuple[str, int]]()
        self._queues_looked_at = -float("inf")
        self._sweeper = Sweeper(state)
        self._alerts = AlertSender(state, lambda: self._leading)
        self._sweeps = SweepDriver(state)
        self._heeded = _ALL_NOTICES
        self._acting = asyncio.Lock()
        self._launched = state.settings.launched_nodes
        self._gangs = GangGate(self._launched)

    async def run(self, duties: Duties, stopping: asyncio.Event) -> None:
        """Run rounds until `stopping` is set; `duties` goes on after a round that failed."""
        seconds = self._state.settings.reconcile_interval_seconds
        heeding = asyncio.create_task(
            duties.keep("notices", self._heed_notices, seconds=_HEED_SECONDS, stopping=stopping)
        )
        await duties.keep("reconciler", self.look, seconds=seconds, stopping=stopping)
        heeding.cancel()  # it may wait for a notice
        with suppress(asyncio.CancelledError):
            await heeding
        await self._sweeper.end()
        await self._alerts.end()
        await self._resign()

    async def look(self) -> None:
        """Run one round of all duties.

        Raises:
            StoreUnavailableError: Redis does not answer.
            Exception: The first defect of a duty, after all duties have run.
        """
        if self._state.records_lost:
            self._forget()  # what a recovery enters is not to be touched
            return
        try:
            await self._lead_or_follow()
            if self._leading:
                async with self._acting:
                    await self._run_duties()
        except StoreUnavailableError:
            self._forget()
            raise

    async def _run_duties(self) -> None:
        defects = []
        for duty in (
            self._declare_lost_attempts,
            self._send_unsent_messages,
            self._resend_lost_messages,
            self._sweeps.look,
        ):
            try:
                await duty()
            except StoreUnavailableError:
                raise
            except JobStoreError as error:  # one bad record must not keep the others waiting
                _log.error("the reconciler cannot read a record", why=str(error))
            except Exception as error:
                defects.append(error)
        self._sweeper.begin()
        self._alerts.begin()
        if defects:
            raise defects[0]

    async def _lead_or_follow(self) -> None:
        leads = await self._become_leader()
        if leads and not self._leading:
            _log.info("this process leads the reconciliation")
            self._leases.forget()
            self._alerts.forget()
            self._heeded = _ALL_NOTICES
        self._leading = leads

    async def _become_leader(self) -> bool:
        """Take the lock if it has run out.

        Also take one that this process has seen unchanged for its whole term: where the server's
        clock was set back, the lock runs out too late.
        """
        ttl = self._state.settings.leader_ttl_seconds
        leads, mark = await self._state.reconcile.acquire_leadership(self._owner, ttl)
        now = time.monotonic()
        self._other.observe([] if leads else [mark], now)
        if self._other.seconds(mark, now) > ttl:
            leads, _ = await self._state.reconcile.acquire_leadership(self._owner, ttl, mark)
        return leads

    def _forget(self) -> None:
        """Forget what was seen before an outage; it proves nothing afterwards."""
        self._leading = False
        self._leases.forget()
        self._unsent.clear()
        self._missing.forget()
        self._other.forget()

    async def _resign(self) -> None:
        if not self._leading:
            return
        self._leading = False
        try:
            await self._state.reconcile.release_leadership(self._owner)
        except StoreUnavailableError:
            return  # the lock runs out by itself

    async def _heed_notices(self) -> None:
        """Act on what cannot wait for the next round, as soon as it is said.

        A notice that is read again, by the next leader or after an outage, changes nothing.
        """
        if not self._leading:
            await asyncio.sleep(_FOLLOWER_SECONDS)
            return
        notices = await self._state.reconcile.notices(self._heeded)
        async with self._acting:
            ended = {(one.job_id, one.attempt, one.claim_id) for one in notices if one.claim_id}
            if ended:
                await self._declare_ended(ended)
            waiting = {(one.job_id, one.attempt) for one in notices if not one.claim_id}
            if waiting:
                await self._send_unsent(waiting)
        if notices:
            self._heeded = notices[-1].notice_id

    async def _declare_ended(self, claims: Set[Claim]) -> None:
        """Declare attempts lost whose workers' processes have ended."""
        for attempt in await self._state.reconcile.running_attempts():
            if claim_of(attempt) in claims:
                whose = f"worker {attempt.worker_id}"
                if attempt.nodes > 1:
                    whose = f"one of its {attempt.nodes} workers"
                text = f"the process of {whose} was killed or crashed"
                await self._declare_lost(attempt, JobError("WORKER_LOST", text))

    async def _declare_lost_attempts(self) -> None:
        """Declare attempts lost that renew no lease, or are past their stop or stall deadline."""
        attempts = await self._state.reconcile.running_attempts()
        now = time.monotonic()
        for attempt in self._leases.observe(attempts, now):
            seconds = self._state.settings.lease_seconds
            text = f"worker {attempt.worker_id} renewed no lease for {seconds:g} s"
            await self._declare_lost(attempt, JobError("WORKER_LOST", text), attempt.lease)
        await self._fire_alerts(attempts, now)
        grace = self._state.settings.stop_grace_seconds
        for attempt in attempts:
            # After an outage workers need a moment to report their progress.
            if self._leases.watched_seconds(attempt, now) >= grace and (
                error := overdue(attempt, self._leases, now, grace)
            ):
                seen = attempt.sign if error.reason == "STALLED" else NOTHING_SEEN
                await self._declare_lost(attempt, error, seen)

    async def _fire_alerts(self, attempts: Sequence[RunningAttempt], now: float) -> None:
        """Fire alerts about a stall; the store fires each once."""
        for attempt in attempts:
            silent = self._leases.silent_seconds(attempt, now)
            if silent >= attempt.first_stall_alert:
                await self._state.reconcile.fire_stalled(attempt, silent)

    async def _declare_lost(
        self, attempt: RunningAttempt, error: JobError, seen: Seen = NOTHING_SEEN
    ) -> None:
        record = await self._state.reconcile.declare_lost(
            attempt.job_id, attempt.attempt, attempt.claim_id, error, seen
        )
        if record is None:
            return
        LOST_ATTEMPTS.labels(error.reason).inc()
        _log.warning(
            "an attempt was declared lost",
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            why=error.message,
            status=record.status.value,
        )
        await self._record_in_journal(record.job_id)
        run = record.execution
        if record.status is JobStatus.QUEUED and run.nodes == 1:
            await self._send(record.job_id, record.attempt, run.priority, run.device)

    async def _record_in_journal(self, job_id: str) -> None:
        """Write the job into the journal; where that fails, the next entry tells it too."""
        try:
            await self._state.jobs.record_in_journal(job_id)
        except NotJournaledError as error:
            _log.warning("a lost attempt is not in the journal", job_id=job_id, why=str(error))

    async def _send_unsent_messages(self) -> None:
        """Send the messages of waiting jobs that have none.

        A job counts only when two rounds have seen it, since a StartJob may be about to send it.
        """
        await self._end_pauses()
        self._unsent = await self._send_unsent(self._unsent)

    async def _send_unsent(self, among: Set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Send those of the missing messages; return all that were missing."""
        waiting = await self._state.jobs.jobs_lacking_message(_MOST_UNSENT)
        for queued in waiting:
            if (queued.job_id, queued.attempt) in among and await self._has_workers(queued):
                await self._send_queued(queued)
        return {(queued.job_id, queued.attempt) for queued in waiting}

    async def _has_workers(self, queued: QueuedAttempt) -> bool:
        """Whether a job over several workers can begin now; else its status says why not."""
        if queued.nodes == 1:
            return True
        why = self._gangs.why_not(queued, await self._state.workers.list())
        if why is not None:
            await self._state.reconcile.say_waiting(queued.job_id, queued.attempt, why)
        return why is None

    async def _end_pauses(self) -> None:
        """Release retries that this process has seen wait for their whole pause."""
        delayed = await self._state.reconcile.delayed_retries()
        now = time.monotonic()
        self._pauses.observe([(retry.job_id, retry.attempt) for retry in delayed], now)
        settings = self._state.settings
        first, longest = settings.retry_pause_seconds, settings.longest_retry_pause_seconds
        for retry in delayed:
            waited = self._pauses.seconds((retry.job_id, retry.attempt), now)
            if waited >= pause_seconds(retry.failures, first, longest):
                await self._state.reconcile.release_retry(retry.job_id, retry.attempt)

    async def _resend_lost_messages(self) -> None:
        """Send the message again of each waiting attempt that has been in no queue for a while."""
        patience = self._state.settings.requeue_after_seconds
        now = time.monotonic()
        if now - self._queues_looked_at < patience / 2:
            return
        self._queues_looked_at = now
        sent = [one for one in await self._state.reconcile.queued_attempts() if one.is_sent]
        in_queues = await self._state.queue.waiting() if sent else set()
        missing = [one for one in sent if message_id(one.job_id, one.attempt) not in in_queues]
        now = time.monotonic()
        self._missing.observe([(one.job_id, one.attempt) for one in missing], now)
        for queued in missing:
            if self._missing.seconds((queued.job_id, queued.attempt), now) >= patience:
                await self._send_again(queued)

    async def _send_again(self, queued: QueuedAttempt) -> None:
        if await self._state.jobs.request_message(queued.job_id, queued.attempt):
            _log.warning("a message was lost and is sent again", job_id=queued.job_id)
            RESENT_MESSAGES.inc()
            if await self._has_workers(queued):
                await self._send_queued(queued)

    async def _send_queued(self, queued: QueuedAttempt) -> None:
        if queued.nodes > 1 and self._launched:
            await self._state.queue.send_to_own(queued.job_id, queued.attempt)
            await self._state.jobs.mark_enqueued(queued.job_id, queued.attempt)
            return
        await self._send(queued.job_id, queued.attempt, queued.priority, queued.device)

    async def _send(self, job_id: str, attempt: int, priority: str, device: str) -> None:
        await self._state.queue.send(job_id, attempt, priority, device)
        await self._state.jobs.mark_enqueued(job_id, attempt)


def overdue(
    attempt: RunningAttempt, watch: AttemptWatch, now: float, grace_seconds: float
) -> JobError | None:
    """Why a worker that lives should have ended this attempt by now; None if it need not.

    `now`: monotonic seconds, those of the last `watch.observe`.
    """
    stopping = watch.stopping_seconds(attempt, now)
    if stopping > attempt.stop_timeout_seconds + grace_seconds:
        text = f"worker {attempt.worker_id} did not carry out the stop in time"
        return JobError("STOP_TIMED_OUT", text)
    silent = watch.silent_seconds(attempt, now)
    seconds, step = attempt.stall_timeout_seconds, attempt.current_step
    if silent > seconds + grace_seconds and attempt.phase is not Phase.SAVING:
        return JobError("STALLED", stall_message(seconds, step, attempt.phase))
    return None
