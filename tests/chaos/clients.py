"""Clients of a round: they start, stop, resume, delete, read and watch jobs, and record it all."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from history import Recorder
from job_model import ENDED, FORBIDDEN, NO_CHECKPOINT, NO_JOB
from plan import JobPlan
from proxied import ProxiedCluster

from training_engine import MetricPoint, TrainingEngine, _calls
from training_engine._call import Call
from training_engine._config_source import config_source
from training_engine._grpc_transport import GrpcTransport
from training_engine._options import Options
from training_engine._rest import RestTransport
from training_engine._transport import Transport
from training_engine.errors import DeadlineExceededError, NotFoundError, TrainingEngineError
from training_engine.records import Checkpoint, Plain, Rewind

_TIMEOUT = 2.0
"""Seconds that one try of a call may take: calls to frozen processes are lost often."""
_LONGEST = 180.0
"""Seconds after which a job that has not ended, or a call without an answer, is a failure."""
_REFUSALS = (FORBIDDEN, NO_JOB, NO_CHECKPOINT)


class Clients:
    """What the clients of a round share: its cluster, its clock and its record."""

    def __init__(self, cluster: ProxiedCluster, recorder: Recorder, began: float) -> None:
        self.cluster = cluster
        self.recorder = recorder
        self.began = began
        self.problems: list[str] = []

    def now(self) -> float:
        """Seconds since the round began."""
        return round(time.monotonic() - self.began, 4)

    def transport(self, door: str) -> Transport:
        """A connection that tries each call once."""
        options = Options(timeout=_TIMEOUT, retry_for=0)
        kind = GrpcTransport if door == "grpc" else RestTransport
        return kind(self.cluster.address(door), options)

    def engine(self, door: str) -> TrainingEngine:
        """The SDK as a user has it, with patience."""
        make = TrainingEngine if door == "grpc" else TrainingEngine.over_rest
        return make(
            self.cluster.address(door), timeout=10, retry_for=_LONGEST, reconnect_for=_LONGEST
        )

    def note(self, problem: str) -> None:
        """Remember something that must not be."""
        self.problems.append(problem)


class Client:
    """One client at one door. Each try of a call is a line of the history."""

    def __init__(self, clients: Clients, name: str, door: str) -> None:
        self._clients = clients
        self._name = name
        self._transport = clients.transport(door)

    def ask(self, kind: str, job: str, call: Call, **arguments: Any) -> Plain:
        """Try a call about one job once.

        Raises:
            TrainingEngineError: It was refused, or its answer was lost.
        """
        line = self._line(kind, job, call, arguments)
        try:
            plain = self._transport.unary(call)
        except TrainingEngineError as error:
            self._fail(line, error)
            raise
        self._record(line, "ok", plain)
        return plain

    def _line(self, kind: str, job: str, call: Call, arguments: Plain) -> Plain:
        fixed = {"job": job, "client": self._name, "call": kind, "request": call.request_id}
        return {**fixed, "arguments": arguments or None, "begin": self._clients.now()}

    def _record(self, line: Plain, outcome: str, plain: Plain) -> None:
        seen = {"status": plain.get("status"), "attempt": plain.get("attempt")}
        said = {"end": self._clients.now(), "outcome": outcome, **seen}
        self._clients.recorder.add({**line, **said})

    def _fail(self, line: Plain, error: TrainingEngineError) -> None:
        refused = error.code in _REFUSALS
        if not (refused or error.retryable or isinstance(error, DeadlineExceededError)):
            self._clients.note(f"{line['job']}: {line['call']} failed with {error.code}: {error}")
        why = {} if refused else {"error": f"{error.code}: {error}"[:200]}
        self._record({**line, **why}, error.code if refused else "unknown", {})

    def insist(self, kind: str, job: str, call: Call, **arguments: Any) -> Plain:
        """Try a call under one request id until it is answered.

        Raises:
            TrainingEngineError: It was refused, or not answered in time.
        """
        deadline, pause = time.monotonic() + _LONGEST, 0.05
        while True:
            try:
                return self.ask(kind, job, call, **arguments)
            except TrainingEngineError as error:
                if error.code in _REFUSALS or time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def list(self, jobs: Sequence[str]) -> None:
        """Fetch the list of all jobs; a line for each of `jobs`, whether it was there or not."""
        call = _calls.list_jobs(page_size=1000)
        lines = [self._line("get", job, call, {}) for job in jobs]
        try:
            plain = self._transport.unary(call)
        except TrainingEngineError as error:
            for line in lines:
                self._fail(line, error)
            return
        rows = {row["name"]: row for row in plain.get("jobs") or ()}
        for line in lines:
            row = rows.get(line["job"])
            self._record(line, "ok" if row else NO_JOB, row or {})

    def close(self) -> None:
        self._transport.close()


class JobRun:
    """One job of a round, from its start to what its plan makes of it.

    Attributes:
        job_id: Empty until its start was answered.
        over: Set when its driver has done all.
        deleted: Whether it was deleted.
    """

    def __init__(self, clients: Clients, plan: JobPlan, config: Plain, execution: Plain) -> None:
        self.plan = plan
        self.config = config
        self.execution = execution
        self.job_id = ""
        self.deleted = False
        self.over = threading.Event()
        self._clients = clients
        self._client = Client(clients, f"{plan.name} driver", plan.door)

    def drive(self) -> None:
        """Do all that the plan says."""
        try:
            time.sleep(self.plan.begins)
            self._start()
            self._live()
        except Exception as error:
            self._clients.note(f"{self.plan.name}: its driver gave up: {error!r}")
        finally:
            self._client.close()
            self.over.set()

    def _start(self) -> None:
        call = _calls.start_job(
            config=config_source(self.config),
            dataset_path=str(self._clients.cluster.folder / "text.txt"),
            name=self.plan.name,
            execution=self.execution,
        )
        started = self._change("start", call, max_steps=self.config["max_steps"])
        self.job_id = started["job_id"]

    def _live(self) -> None:
        life = self.plan.life
        if "stop" in life:
            if "at once" not in life:
                time.sleep(self.plan.pause)
            self._try("stop", _calls.stop_job(self.job_id))
            self._wait()
        if "delete" in life:
            self._try("delete", _calls.delete_job(self.job_id))
            self.deleted = True
        elif "resume" in life:
            checkpoint = self._earliest() if "earlier" in life else None
            origin = "checkpoint" if checkpoint else ""
            call = _calls.resume_job(self.job_id, checkpoint_id=checkpoint)
            self._try("resume", call, origin=origin)
        if not self.deleted:
            self._wait()

    def _change(self, kind: str, call: Call, **arguments: Any) -> Plain:
        """Send a change until it is answered, and once more where the plan says so."""
        answer = self._client.insist(kind, self.plan.name, call, **arguments)
        if self.plan.repeats:
            self._client.insist(kind, self.plan.name, call, **arguments)
        return answer

    def _try(self, kind: str, call: Call, **arguments: Any) -> None:
        """The same, where the job's state may forbid it."""
        try:
            self._change(kind, call, **arguments)
        except TrainingEngineError as error:
            if error.code not in _REFUSALS:
                raise

    def _wait(self) -> str:
        """Ask until the job has ended; returns its state."""
        deadline = time.monotonic() + _LONGEST
        while True:
            job = self._client.insist("get", self.plan.name, _calls.get_job(self.job_id))
            if job["status"] in ENDED:
                return str(job["status"])
            if time.monotonic() > deadline:
                raise AssertionError(f"it has not ended in {_LONGEST:g} s: {_summary(job)}")
            time.sleep(0.1)

    def _earliest(self) -> str | None:
        with self._clients.engine(self.plan.door) as engine:
            saved = sorted(engine.checkpoints.list(self.job_id), key=lambda one: one.step)
        return saved[0].checkpoint_id if len(saved) > 1 else None


def _summary(job: Plain) -> str:
    names = ("status", "attempt", "current_step", "message", "error")
    return ", ".join(f"{name}: {job.get(name)}" for name in names)


def watch_events(clients: Clients, run: JobRun) -> None:
    """Record all events of a job through its stops and resumes, each after the cursor before."""
    cursor = ""

    def read(engine: TrainingEngine) -> None:
        nonlocal cursor
        for event in engine.jobs.watch(run.job_id, after=cursor):
            line = _event_line(event.kind, event.data)
            if line:
                fixed = {"job": run.plan.name, "client": f"{run.plan.name} events"}
                clients.recorder.add({**fixed, **line, "time": clients.now()})
            cursor = event.cursor or cursor

    _follow(clients, run, run.plan.watch_door, read)


def _event_line(kind: str, data: Any) -> Plain | None:
    if isinstance(data, MetricPoint):
        return {"event": "metrics", "step": data.step, "loss": data.loss}
    if isinstance(data, Rewind):
        return {"event": "rewound", "to_step": data.to_step}
    if isinstance(data, Checkpoint):
        return {"event": "checkpoint", "step": data.step}
    if kind == "state":
        return {"event": "state", "status": data.status, "attempt": data.attempt}
    return None


def watch_points(clients: Clients, run: JobRun) -> None:
    """Record the points of a job, each after the step before."""
    last: int | None = None

    def read(engine: TrainingEngine) -> None:
        nonlocal last
        for point in engine.metrics.stream(run.job_id, after_step=last):
            line = {"job": run.plan.name, "client": f"{run.plan.name} points", "event": "point"}
            measured = {"step": point.step, "loss": point.loss}
            clients.recorder.add({**line, **measured, "time": clients.now()})
            last = point.step

    other = "rest" if run.plan.watch_door == "grpc" else "grpc"
    _follow(clients, run, other, read)


def _follow(
    clients: Clients, run: JobRun, door: str, read: Callable[[TrainingEngine], None]
) -> None:
    """Read a stream again until the job's driver is done and the stream has ended after that."""
    with clients.engine(door) as engine:
        while not run.over.wait(0.05):
            if run.job_id:
                break
        finished = not run.job_id
        while not finished:
            finished = run.over.is_set()
            try:
                read(engine)
            except NotFoundError:
                break  # deleted
            except TrainingEngineError as error:
                if not (error.retryable or isinstance(error, DeadlineExceededError)):
                    clients.note(f"{run.plan.name}: a watcher failed with {error.code}: {error}")
                    break
                finished = False
            run.over.wait(0.1)


def read_at_random(clients: Clients, runs: Sequence[JobRun], seed: str) -> None:
    """Read single jobs and lists by both doors until all drivers are done."""
    choose = random.Random(seed)
    readers = [Client(clients, f"{door} reader", door) for door in ("grpc", "rest")]
    while not all(run.over.is_set() for run in runs):
        reader, run = choose.choice(readers), choose.choice(runs)
        if choose.random() < 0.4:
            reader.list([run.plan.name for run in runs])
        elif run.job_id:
            try:
                reader.ask("get", run.plan.name, _calls.get_job(run.job_id))
            except TrainingEngineError:
                pass  # recorded
        time.sleep(choose.uniform(0.02, 0.2))
    for reader in readers:
        reader.close()
