"""The worker: RQ's worker class, whose messages name attempts of jobs instead of functions.

RQ provides the queues, the blocking pop and the warm shutdown. The rest of it is not used: its
registries, results, retries, sweeps and job timeouts would contradict the job record. This module
takes messages and obeys signals; `attempt_runner` does what a message asks for.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from contextlib import suppress
from typing import Any, NoReturn

from redis.exceptions import RedisError
from rq import Queue, Worker, worker_registration
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker.base import WorkerStatus

from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.errors import JobStoreError, StoreUnavailableError
from job_store.outages import changes_role, unavailable
from job_store.queues import own_queue, worker_queues
from job_store.records import WorkerRecord, WorkerState
from job_store.workers import WorkerRegistry
from service_runtime.duties import Duties
from training_worker.artifacts import ArtifactGate, open_artifacts
from training_worker.attempt_runner import AttemptRunner
from training_worker.claiming import Claims
from training_worker.inference import inference_process
from training_worker.messages import (
    AttemptJob,
    AttemptOrder,
    AttemptQueue,
    MessageRefusedError,
    PlaceOrder,
)
from training_worker.preload import preload_for_ranks
from training_worker.settings import WorkerSettings
from training_worker.witness import Witness

logger = logging.getLogger(__name__)

_SLOWEST_HEARTBEAT = 10.0
_SAME_REQUEST_SECONDS = 2.0
_PAUSE_AFTER_NONSENSE = 0.02
_QUEUE = "queue"
_IDLE_SECONDS = 10
"""After so long without a message a worker imports what only jobs of several processes need."""


class TrainingWorker(Worker):
    """Trains one attempt at a time in a forked process.

    Args:
        settings: of this worker.
        client: for RQ; retries for minutes.
        prompt: gives up within seconds, for everything that must not wait.
        device: what `ListWorkers` shows; it decides which queues are listened to.
        witness: sees the death of this process.
    """

    job_class = AttemptJob
    queue_class = AttemptQueue
    log_job_description = False
    max_connection_wait_time = 2.0

    def __init__(
        self,
        settings: WorkerSettings,
        client: Any,
        prompt: Connection,
        device: str,
        witness: Witness,
    ) -> None:
        self._settings = settings
        self._prompt = prompt
        self._workers = WorkerRegistry(prompt)
        self._device = device
        self._started_at = int(time.time() * 1000)
        self._worker_id = settings.resolved_worker_id()
        artifacts = open_artifacts(settings)
        self._gate = ArtifactGate(artifacts, prompt, device, self._worker_id)
        self._leaving_since = 0.0
        self._queues_are_empty = False
        self._is_ready_for_ranks = False
        self._duties = Duties(expected=(StoreUnavailableError,))
        self._witness = witness
        witness.page.name_worker(self._worker_id)
        claims = Claims(
            AttemptStore(prompt),
            artifacts,
            self._worker_id,
            witness,
            heartbeat=self.heartbeat,
            heartbeat_seconds=settings.heartbeat_seconds,
            is_leaving=lambda: self._stop_requested,
        )
        self._runner = AttemptRunner(
            settings,
            prompt,
            artifacts,
            device,
            claims,
            witness,
            report_alive=self._report_alive,
            is_leaving=lambda: self._stop_requested,
            leave=self.handle_warm_shutdown_request,
        )
        only_job = settings.only_job
        answers = settings.generation and not only_job
        self._inference = inference_process(settings) if answers else None
        super().__init__(
            [own_queue(only_job)] if only_job else list(worker_queues(device)),
            name=self._new_name(),
            connection=client,
            serializer=JSONSerializer,
            worker_ttl=60,
            log_job_description=False,
        )

    def _new_name(self) -> str:
        """RQ refuses a name that a killed worker left behind, for as long as its key lives.

        A pod keeps its name, so RQ gets one of its own for each process.
        """
        return f"{self._worker_id}-{secrets.token_hex(4)}"

    # -- messages --------------------------------------------------------------------------

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Return the next message that names an attempt; refuse and delete all others."""
        self.set_state(WorkerStatus.IDLE)  # a signal ends the wait for the store, too
        while True:
            try:
                self._gate.pass_through(self.heartbeat)
                result = self._dequeue(timeout, max_idle_time)
            except StopRequested:
                raise
            except Exception as error:  # RQ's loop would end at it, in silence
                self._handle_queue_error(error)
                continue
            self._duties.done(_QUEUE)
            if result is None:  # in burst mode only: else RQ waits on
                self._queues_are_empty = True
                return None
            job, queue = result
            try:
                _order(job)
            except MessageRefusedError as error:
                self._refuse(job.id, str(error))
                continue
            # Popping may have taken hours. A message held here for long is sent again meanwhile.
            self._gate.pass_through(self.heartbeat)
            return job, queue

    def _dequeue(self, timeout: int | None, max_idle_time: int | None) -> tuple[Job, Queue] | None:
        """Return the next message, and use the first idle seconds to import the rest."""
        if timeout is None or self._is_ready_for_ranks:
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        result = super().dequeue_job_and_maintain_ttl(_IDLE_SECONDS, _IDLE_SECONDS)
        if result is None:
            preload_for_ranks()
            self._is_ready_for_ranks = True
            return self._dequeue(timeout, max_idle_time)
        return result

    def _handle_queue_error(self, error: Exception) -> None:
        """Refuse the message that `error` is about, or wait before the queue is read again."""
        message_id = getattr(error, "job_id", None)
        outage = unavailable(error) if isinstance(error, RedisError) else None
        if message_id is not None and outage is None:
            self._refuse(message_id, str(error))
            return
        if isinstance(error, ValueError | KeyError | TypeError):  # the entry is not an id
            self._refuse("?", str(error))
            time.sleep(_PAUSE_AFTER_NONSENSE)
            return
        if isinstance(error, RedisError) and changes_role(error):
            self.connection.connection_pool.disconnect(inuse_connections=False)
        time.sleep(self._duties.failed(_QUEUE, outage or error))

    def _refuse(self, message_id: str, reason: str) -> None:
        logger.error("refused message %s: %s", message_id, reason[:500])
        self._forget(message_id)

    def _forget(self, message_id: str) -> None:
        """Remove RQ's record of a message; its place in the queue went with the pop."""
        with suppress(RedisError):
            self._prompt.client.delete(Job.key_for(message_id))

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have the attempt trained that a message asks for. Never raises."""
        # Kept local: a shutdown from here on waits for the attempt, whether Redis knows or not.
        self._state = WorkerStatus.BUSY
        self._runner.run(_order(job), lambda: self._forget(job.id))

    # -- leaving ---------------------------------------------------------------------------

    @property
    def ended_in_order(self) -> bool:
        """Whether a signal, or in burst mode an empty queue, has ended the work."""
        return self._leaving_since > 0 or self._queues_are_empty

    def handle_warm_shutdown_request(self) -> None:
        """First SIGTERM or SIGINT: the job is saved and handed back, then the worker leaves."""
        self._leaving_since = time.monotonic()
        self._runner.hand_back()

    def set_shutdown_requested_date(self) -> None:
        """Do nothing: RQ calls this in a signal handler, which must not wait for Redis."""

    def request_force_stop(self, signum: int, frame: Any) -> None:
        """Second signal: the trainer is killed; its job falls back to the last checkpoint.

        One that follows at once is the same request by two ways: Ctrl-C reaches a whole terminal,
        and a supervisor in it passes the signal on.
        """
        if time.monotonic() - self._leaving_since >= _SAME_REQUEST_SECONDS:
            self._runner.kill()

    def register_death(self) -> None:
        """Remove this worker from the lists of workers, if Redis answers."""
        self._witness.end()  # no claim is held any more
        self._runner.close()
        if self._inference is not None:
            self._inference.end()
        with suppress(RedisError, JobStoreError):
            self._workers.leave(self._worker_id)
        with suppress(RedisError), self._prompt.client.pipeline() as pipeline:
            worker_registration.unregister(self, pipeline)
            pipeline.delete(self.key)
            if self._settings.only_job:  # RQ's list of queues would keep it for ever
                pipeline.srem(Queue.redis_queues_keys, self.queues[0].key)
            pipeline.execute()

    # -- staying in the lists of workers ---------------------------------------------------

    @property
    def dequeue_timeout(self) -> int:
        """Whole seconds of one blocking pop; a heartbeat is sent between two of them."""
        return max(1, round(min(self._settings.heartbeat_seconds, _SLOWEST_HEARTBEAT)))

    @property
    def connection_timeout(self) -> int:
        """Seconds a socket may stay silent: longer than a blocking pop."""
        return self.dequeue_timeout + 10

    def bootstrap(self, *arguments: Any, **options: Any) -> None:
        """Run RQ's preparation, and try again while the server takes no writes."""
        while True:
            try:
                super().bootstrap(*arguments, **options)
            except RedisError as error:
                time.sleep(self._duties.failed(_QUEUE, unavailable(error) or error))
                # RQ may have registered the first name, and refuses a name that exists.
                self.name = self._new_name()
            else:
                return

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Write RQ's record of what this worker does; a failure does no harm.

        Raises:
            StopRequested: A signal came behind a job, once RQ's loop had asked for signals: while
                the state is busy it is only noted, and the wait for the next message never asks.
        """
        self._state = state
        if state == WorkerStatus.IDLE and self._leaving_since:
            raise StopRequested()
        with suppress(RedisError):
            (pipeline or self._prompt.client).hset(self.key, "state", state)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Report to RQ and the worker list that this worker lives; a failure does no harm."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        with suppress(RedisError), self._prompt.client.pipeline(transaction=False) as quick:
            super().heartbeat(timeout, quick)
            quick.execute()
        self._report_alive()

    def _report_alive(self) -> None:
        try:
            self._witness.ensure()
            if self._inference is not None and not self._stop_requested:
                self._inference.ensure()
            self._workers.heartbeat(self._record())
        except StopRequested:
            raise
        except Exception as error:  # the next heartbeat is the next try
            self._duties.failed("heartbeat", error)
        else:
            self._duties.done("heartbeat")

    def _record(self) -> WorkerRecord:
        current = self._runner.current
        busy = WorkerState.DRAINING if self._stop_requested else WorkerState.BUSY
        return WorkerRecord(
            worker_id=self._worker_id,
            state=busy if current else WorkerState.IDLE,
            device=self._device,
            hostname=self.hostname or "",
            pid=os.getpid(),
            started_at=self._started_at,
            last_heartbeat=0,
            job_id=current.job_id if current else "",
            attempt=current.attempt if current else 0,
            only_job=self._settings.only_job,
        )

    # -- what RQ does and this worker does not ---------------------------------------------

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Return False: the reconciler watches attempts, and RQ's sweep is not atomic."""
        return False

    def subscribe(self) -> None:
        """Take no commands by pub/sub: RQ's kill saves nothing, and its thread would be forked."""

    def unsubscribe(self) -> None:
        """See `subscribe`."""

    def check_for_suspension(self, burst: bool) -> None:
        """Ignore RQ's suspension by a key in Redis: workers are stopped by signals."""

    def fork_work_horse(self, job: Job, queue: Any) -> NoReturn:
        """Refuse to run a message by its function's name, as RQ would."""
        raise MessageRefusedError("this worker runs attempts, not functions")


def _order(job: Job) -> AttemptOrder | PlaceOrder:
    """Return what a message asks for.

    Raises:
        MessageRefusedError: A message that this worker does not act on.
    """
    if not isinstance(job, AttemptJob):
        raise MessageRefusedError(f"it was read as a {type(job).__name__}")
    return job.order()
