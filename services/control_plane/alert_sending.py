"""Sends alerts to their webhooks: at least once, those of a job in their order.

A script that fires an alert stores it as pending in the same write, so none is lost. Only the
leading reconciler sends. It notes what came of each request afterwards, so what it had sent when it
was killed is sent again, with the same id.

Each receiver has a lane of its own, with one request at a time: one that is slow or away delays no
other. In a lane each job waits by itself after a failure, so that what a receiver refuses of one
job delays no other job.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from app.training.alert_rules import webhook_place
from control_plane.conversion import alert_message, alert_rule
from control_plane.state import ServiceState
from control_plane.telemetry import ALERT_DELIVERIES
from control_plane.webhooks import Answer, alert_body
from job_store.alerts import Alert, AlertDelivery
from job_store.errors import JobStoreError, NotFoundError, StoreUnavailableError
from job_store.records import JobRecord
from service_runtime.backoff import pause_seconds
from service_runtime.logs import get_logger

_log = get_logger("alerts")
_NOWHERE = ""


@dataclass(frozen=True, slots=True)
class Retries:
    """How a failed delivery is repeated."""

    first: float = 2.0
    """Seconds of the first pause, which doubles with each failure."""
    longest: float = 1800.0
    """Seconds of the longest pause."""
    most: int = 150
    """Requests after which a delivery is given up; with these pauses after about three days."""


class AlertSender:
    """Looks for alerts that wait, and hands each job to the lane of its receiver.

    Args:
        state: of the service.
        is_leading: whether this process may still send.
    """

    def __init__(
        self, state: ServiceState, is_leading: Callable[[], bool], retries: Retries = Retries()
    ) -> None:
        self._state = state
        self._is_leading = is_leading
        self._retries = retries
        self._lanes: dict[str, _Lane] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look in the background, unless the last look is still under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._try(), name="alerts")

    def forget(self) -> None:
        """Forget for how long each job is to wait: another process led meanwhile."""
        for lane in self._lanes.values():
            lane.forget()

    async def end(self) -> None:
        """Cancel what is under way; the next leader sends it again."""
        tasks = [self._task, *(lane.task for lane in self._lanes.values())]
        running = [task for task in tasks if task is not None and not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _try(self) -> None:
        try:
            await self.look()
        except StoreUnavailableError as error:
            _log.warning("alerts wait for Redis", why=str(error))
        except Exception as error:
            _log.error("the look at alerts met a defect", exc_info=error)

    async def look(self) -> None:
        """Enter new jobs into their lanes, and let each lane send what is due.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
        """
        waiting = await self._state.reconcile.alerting_jobs()
        for lane in self._lanes.values():
            lane.keep(waiting)
        self._lanes = {place: lane for place, lane in self._lanes.items() if not lane.is_idle}
        known = {job_id for lane in self._lanes.values() for job_id in lane.jobs}
        for job_id in waiting:
            if job_id not in known:
                await self._enter(job_id)
        for lane in self._lanes.values():
            lane.begin()

    async def _enter(self, job_id: str) -> None:
        try:
            config = json.loads((await self._state.jobs.get(job_id)).config_document)
        except StoreUnavailableError:
            raise
        except JobStoreError as error:  # deleted meanwhile, or of another release
            _log.debug("alerts of a job cannot be read", job_id=job_id, why=str(error))
            return
        place = webhook_place(self._state.webhooks.address_of(config)) or _NOWHERE
        if place not in self._lanes:
            self._lanes[place] = _Lane(self._state, self._is_leading, self._retries)
        self._lanes[place].enter(job_id)


class _Lane:
    """The jobs whose alerts go to one place; one request at a time."""

    def __init__(
        self, state: ServiceState, is_leading: Callable[[], bool], retries: Retries
    ) -> None:
        self._state = state
        self._is_leading = is_leading
        self._retries = retries
        self.jobs: dict[str, float] = {}
        """When each is due, by `time.monotonic()`."""
        self.task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it has no job and sends nothing."""
        return not self.jobs and (self.task is None or self.task.done())

    def enter(self, job_id: str) -> None:
        self.jobs[job_id] = 0.0

    def keep(self, waiting: Collection[str]) -> None:
        """Forget the jobs that do not wait any more."""
        still = set(waiting)
        self.jobs = {job_id: due for job_id, due in self.jobs.items() if job_id in still}

    def forget(self) -> None:
        self.jobs = {}

    def begin(self) -> None:
        """Send in the background what is due, unless that is still under way."""
        now = time.monotonic()
        due = [job_id for job_id, at in self.jobs.items() if at <= now]
        if due and (self.task is None or self.task.done()):
            self.task = asyncio.create_task(self._run(due), name="lane of alerts")

    async def _run(self, due: list[str]) -> None:
        for job_id in due:
            try:
                await self._send_all(job_id)
            except NotFoundError:
                self.jobs.pop(job_id, None)
            except JobStoreError as error:
                _log.warning("an alert waits", job_id=job_id, why=str(error))
            except Exception as error:
                _log.error("sending alerts met a defect", job_id=job_id, exc_info=error)

    async def _send_all(self, job_id: str) -> None:
        """Send the pending alerts of a job, the oldest first, up to the first that fails."""
        record = await self._state.jobs.get(job_id)
        config = json.loads(record.config_document)
        alerts = await self._state.history.alerts(job_id)
        pending = [alert for alert in alerts if alert.delivery is AlertDelivery.PENDING]
        for alert in pending:
            if not self._is_leading() or not await self._send(record, config, alert):
                return
        if not pending:
            await self._state.reconcile.note_delivery(job_id, "", None)

    async def _send(self, record: JobRecord, config: dict[str, Any], alert: Alert) -> bool:
        """Send one alert and note what came of it; return whether the next one may follow."""
        webhooks, note = self._state.webhooks, self._state.reconcile.note_delivery
        address = webhooks.address_of(config)
        if not address:
            await note(record.job_id, alert.alert_id, None)
            return True
        if refusal := webhooks.refusal(config):
            await self._give_up(record, alert, alert.delivery_tries, refusal)
            return True
        message = alert_message(alert, config, is_sent=False)  # the same at each try
        body = alert_body(record.job_id, record.name, message, alert_rule(alert, config))
        answer = await webhooks.send(address, alert.alert_id, body)
        return await self._note(record, alert, answer)

    async def _note(self, record: JobRecord, alert: Alert, answer: Answer) -> bool:
        tries, job_id = alert.delivery_tries + 1, record.job_id
        note = self._state.reconcile.note_delivery
        if answer.delivered:
            await note(job_id, alert.alert_id, AlertDelivery.DELIVERED, tries)
            ALERT_DELIVERIES.labels("delivered").inc()
            self.jobs = dict.fromkeys(self.jobs, 0.0)  # the receiver is back: no job waits longer
            return True
        if answer.gone or tries >= self._retries.most:
            await self._give_up(record, alert, tries, answer.problem)
            return True
        await note(job_id, alert.alert_id, AlertDelivery.PENDING, tries, answer.problem)
        ALERT_DELIVERIES.labels("retried").inc()
        pause = pause_seconds(tries, self._retries.first, self._retries.longest)
        self.jobs[job_id] = time.monotonic() + pause
        _log.warning("an alert is sent again later", job_id=job_id, tries=tries, why=answer.problem)
        return False

    async def _give_up(self, record: JobRecord, alert: Alert, tries: int, why: str) -> None:
        note = self._state.reconcile.note_delivery
        await note(record.job_id, alert.alert_id, AlertDelivery.FAILED, tries, why)
        ALERT_DELIVERIES.labels("given_up").inc()
        _log.error("an alert was given up", job_id=record.job_id, alert_id=alert.alert_id, why=why)
