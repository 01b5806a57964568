"""The real processes that the service benchmarks measure: a Redis server, a control plane, workers.

Default settings, loopback, free ports; everything is gone when the context ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc

from local_stack.embedded_server import (
    default_memory_mib,
    find_server_binary,
    wait_for_server,
    write_configuration,
)
from training_engine.v1 import job_pb2, job_pb2_grpc, metrics_pb2_grpc, worker_pb2, worker_pb2_grpc

T = TypeVar("T")
TOKEN = "benchmark"
"""Known to the control plane, so that authentication is part of every figure."""
METADATA = (("authorization", f"Bearer {TOKEN}"),)
LARGE_MESSAGES = (("grpc.max_receive_message_length", 16 << 20),)
TEXT = "".join(f"{n} is followed by {n + 1}, and {n + 1} by {n + 2}.\n" for n in range(5000))


class Services:
    """A running Redis server and control plane, and as many workers as are started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = folder / "text.txt"
        self.text.write_text(TEXT)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.redis_url = self._start_redis()
        self.address = self._start_control_plane()
        self._channel = grpc.insecure_channel(self.address, options=LARGE_MESSAGES)
        self._bearer: Any = {"metadata": METADATA, "timeout": 60}
        self._jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self._metrics = metrics_pb2_grpc.MetricsServiceStub(self._channel)
        self._workers = worker_pb2_grpc.WorkerServiceStub(self._channel)

    def start_worker(self, name: str, *flags: str) -> None:
        """Start a worker and return once it waits for jobs."""
        self._start(name, "training_worker", f"--worker-id={name}", *flags)
        self._wait(lambda: name in self._idle_workers(), f"worker {name} to be idle")

    def start_job(self, config: Mapping[str, Any], processes: int = 1, nodes: int = 1) -> str:
        """Start a job on the text, in so many processes on each node; return its id."""
        request = job_pb2.StartJobRequest(
            config_document=json.dumps(config),
            dataset_path=str(self.text),
            execution=job_pb2.Execution(processes=processes, nodes=nodes),
        )
        return str(self._jobs.StartJob(request, **self._bearer).job.job_id)

    def job(self, job_id: str) -> job_pb2.Job:
        """Return the job as it is now."""
        return self._jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id), **self._bearer).job

    def stop_job(self, job_id: str) -> None:
        """Stop a job and wait for its end."""
        self._jobs.StopJob(job_pb2.StopJobRequest(job_id=job_id), **self._bearer)
        self.wait_for_end(job_id)

    def wait_for_end(self, job_id: str) -> job_pb2.Job:
        """Wait until no worker will touch the job any more; return it."""
        self._wait(lambda: self.job(job_id).status in _ENDED, f"the end of job {job_id}")
        return self.job(job_id)

    def metrics(self, method: str, request: Any, timeout: float | None = 120) -> Any:
        """Call a method of MetricsService."""
        return getattr(self._metrics, method)(request, metadata=METADATA, timeout=timeout)

    def kill(self, name: str) -> None:
        """Send SIGKILL to one process, and wait for its end."""
        self._children[name].kill()
        self._children[name].wait(timeout=10)

    def pid(self, name: str) -> int:
        """Return the id of one process: `redis`, `control_plane` or a worker."""
        return self._children[name].pid

    def pid_of_worker(self, worker_id: str) -> int:
        """Return the id of a worker's process."""
        return self.pid(worker_id)

    def cpu_seconds(self, name: str) -> float:
        """Return the user and system time that a process has taken."""
        fields = Path(f"/proc/{self.pid(name)}/stat").read_text().rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End everything: workers first, the server last."""
        self._channel.close()
        for child in reversed(self._children.values()):
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.wait(timeout=10)

    def _start_redis(self) -> str:
        config, url = write_configuration(self.folder, free_port(), default_memory_mib())
        self._spawn("redis", [str(find_server_binary()), str(config)], {})
        wait_for_server(url, 20)
        return url

    def _start_control_plane(self) -> str:
        port = free_port()
        self._start(
            "control_plane", "control_plane", f"--port={port}", f"--data-root={self.folder}"
        )
        self._wait(lambda: _listens(port), "the control plane to listen")
        return f"127.0.0.1:{port}"

    def _start(self, name: str, module: str, *flags: str) -> None:
        own = [] if module == "training_engine" else ["--exit-with-parent"]  # not for `up`
        command = [sys.executable, "-P", "-m", module, *own, *flags]
        self._spawn(
            name,
            command,
            {
                "TRAINING_ENGINE_REDIS_URL": self.redis_url,
                "TRAINING_ENGINE_AUTH_TOKENS": TOKEN,
                "TRAINING_ENGINE_ARTIFACT_ROOT": str(self.folder / "artifacts"),
                "TRAINING_ENGINE_CACHE": str(self.folder / "cache"),
            },
        )

    def _spawn(self, name: str, command: Sequence[str], settings: dict[str, str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TRAINING_ENGINE_")}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                command,
                env=inherited | settings,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def busy_workers(self) -> set[str]:
        """Return the workers that train."""
        return self._workers_in(worker_pb2.WORKER_STATE_BUSY)

    def _idle_workers(self) -> set[str]:
        return self._workers_in(worker_pb2.WORKER_STATE_IDLE)

    def _workers_in(self, state: int) -> set[str]:
        answer = self._workers.ListWorkers(worker_pb2.ListWorkersRequest(), **self._bearer)
        return {worker.worker_id for worker in answer.workers if worker.state == state}

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            for name, child in self._children.items():
                if child.poll() not in (None, -signal.SIGKILL):
                    log = (self.folder / f"{name}.log").read_text(errors="replace")
                    raise RuntimeError(f"{name} has ended: {log[-2000:]}")
            return condition()

        wait_until(met, what)


_ENDED = (job_pb2.JOB_STATUS_SUCCEEDED, job_pb2.JOB_STATUS_STOPPED, job_pb2.JOB_STATUS_FAILED)


@contextmanager
def services(kind: type[Services] = Services) -> Iterator[Services]:
    """Run Redis and a control plane, in a temporary folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = kind(Path(folder))
        try:
            yield running
        finally:
            running.close()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], T], what: str, timeout: float = 120) -> T:
    """Return the condition's first true value; raise TimeoutError, naming `what`, if none comes."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.02)
    return value


def load() -> str:
    """Say how busy the machine is besides; each service figure is printed with it."""
    return "load {:.2f} {:.2f} {:.2f}".format(*os.getloadavg())


async def calls_per_second(
    call: Callable[[], Awaitable[Any]], count: int, concurrency: int
) -> float:
    """Return the rate of `count` calls, `concurrency` of them at a time."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await call()

    gc.collect()
    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return count / (time.perf_counter() - started)


async def latencies_at(call: Callable[[], Awaitable[Any]], rate: float, count: int) -> list[float]:
    """Return the seconds of each of `count` calls, which begin at this rate whatever they take.

    A call's time counts from when it was due, so that one which could not begin in time is late.
    """
    began = time.perf_counter()

    async def at(due: float) -> float:
        await asyncio.sleep(due - time.perf_counter())
        await call()
        return time.perf_counter() - due

    return list(await asyncio.gather(*(at(began + n / rate) for n in range(count))))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
