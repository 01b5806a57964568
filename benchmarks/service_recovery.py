"""From the end of a process to the next optimizer step of its job, at default settings.

Another worker is idle, but for the last figure: there `up` has one worker, whose place another fork
takes. A step counts when its metrics have come back through StreamMetrics.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.harness import Claim
from benchmarks.service_processes import Services, load, percentile, services
from benchmarks.service_start import TINY
from training_engine.v1 import metrics_pb2

KILLS = 20
RANKS = 5
MACHINES = 2
RESTARTS = 5
LEASE_SECONDS = 15.0
CONFIG = TINY | {"max_steps": 1_000_000, "save_steps": 200, "eval_steps": 1_000_000}
_PRELOAD = "from training_worker.preload import preload; preload()"


def run(device: str) -> list[Claim]:
    """Measure all ends; always on the CPU."""
    with services() as stack:
        for name in ("worker-0", "worker-1"):
            stack.start_worker(name, "--workers-on-host=2")
        trainers = [recovery(stack, kill_trainer) for _ in range(KILLS)]
        ranks = [recovery(stack, kill_rank, processes=2) for _ in range(RANKS)]
        workers = [replaced(stack, kill_worker, number) for number in range(KILLS)]
        machines = [vanished(stack, KILLS + number) for number in range(MACHINES)]
        stack.start_worker("third", "--workers-on-host=2")
        first = KILLS + MACHINES
        places = [replaced(stack, kill_place, first + number, nodes=2) for number in range(RANKS)]
    with services(Up) as up:
        recovery(up, kill_trainer)  # the first fork of all warms up caches of the file system
        restarts = [recovery(up, kill_worker) for _ in range(RESTARTS)]
    own = statistics.median(seconds_of(lambda: run_python(_PRELOAD)) for _ in range(3))
    torch = statistics.median(seconds_of(lambda: run_python("import torch")) for _ in range(3))
    return [
        claim("SIGKILL of a trainer to the next step, p95", percentile(trainers, 95), 2, trainers),
        claim("SIGKILL of one of two ranks to the next step, the most", max(ranks), 2, ranks),
        claim("SIGKILL of a worker to the next step, p95", percentile(workers, 95), 2, workers),
        claim("a machine that vanishes, the most", max(machines), LEASE_SECONDS + 2, machines),
        claim(
            "SIGKILL of a place of two nodes to the next step, the most", max(places), 30, places
        ),
        claim(
            "SIGKILL of the one worker of `up`, the most",
            max(restarts),
            2,
            restarts,
            f", without imports: those take {own:.2f} s, `import torch` alone {torch:.2f} s",
        ),
    ]


def claim(name: str, value: float, bound: float, seconds: list[float], more: str = "") -> Claim:
    """Return a figure with the range that it comes from."""
    span = f"{len(seconds)} times, {min(seconds):.2f}–{max(seconds):.2f} s"
    return Claim(name, value, bound, False, "s", f"{span}{more}, {load()}")


class Up(Services):
    """The same calls to a stack that `training-engine up` runs, with one worker."""

    def _start_redis(self) -> str:
        return ""

    def _start_control_plane(self) -> str:
        flags = ["--no-browser", "--grpc-port=0", "--http-port=0", f"--data-root={self.folder}"]
        flags.append(f"--data-dir={self.folder}/data")
        self._start("up", "training_engine", "up", *flags)
        log = self.folder / "up.log"
        found: list[str] = []

        def is_ready() -> bool:
            found[:] = re.findall(r"gRPC +(\S+)", log.read_text())
            return "Ctrl-C" in log.read_text()

        self._wait(is_ready, "`up` to be ready")
        return found[0]

    def pid_of_worker(self, worker_id: str) -> int:
        """Return the process id, which is part of the name of an unnamed worker."""
        return int(worker_id.split("-")[-2])


def recovery(
    stack: Services, end: Callable[[Services, str], None], processes: int = 1, nodes: int = 1
) -> float:
    """Return the seconds until the job of a worker trains on; stop the job afterwards."""
    job_id = stack.start_job(CONFIG, processes, nodes)
    points = stack.metrics("StreamMetrics", metrics_pb2.StreamMetricsRequest(job_id=job_id))
    next(answer for answer in points if answer.point.step >= 500)  # past a checkpoint
    victim = stack.job(job_id).worker_id
    began = time.perf_counter()
    end(stack, victim)
    answer = next(answer for answer in points if answer.point.attempt == 2)
    seconds = time.perf_counter() - began
    assert answer.point.step > 1, "the second attempt began afresh: no checkpoint was registered"
    points.cancel()
    stack.stop_job(job_id)
    return seconds


def replaced(
    stack: Services, end: Callable[[Services, str], None], number: int, nodes: int = 1
) -> float:
    """Return `recovery`; afterwards another worker is idle in place of the one that ended."""
    seconds = recovery(stack, end, nodes=nodes)
    stack.start_worker(f"worker-{number + 2}", "--workers-on-host=2")
    return seconds


def vanished(stack: Services, number: int) -> float:
    """Return `replaced` for a worker that is frozen, with all that is beside it.

    Nothing of it answers, and nothing is closed.
    """
    frozen: list[psutil.Process] = []

    def freeze(stack: Services, victim: str) -> None:
        worker = psutil.Process(stack.pid_of_worker(victim))
        frozen.extend((worker, *worker.children(recursive=True)))
        for process in frozen:
            process.suspend()

    try:
        return replaced(stack, freeze, number)
    finally:
        for process in frozen:
            process.kill()


def kill_worker(stack: Services, victim: str) -> None:
    """End the process that supervises the trainer."""
    os.kill(stack.pid_of_worker(victim), signal.SIGKILL)


def kill_place(stack: Services, claimer: str) -> None:
    """End the process of a worker that trains beside the one with the claim."""
    (other,) = stack.busy_workers() - {claimer}
    kill_worker(stack, other)


def kill_trainer(stack: Services, victim: str) -> None:
    """End the process that trains."""
    _trainer(stack.pid_of_worker(victim)).kill()


def kill_rank(stack: Services, victim: str) -> None:
    """End the second of the processes that train."""
    first = _trainer(stack.pid_of_worker(victim))
    launcher = first.parent()
    assert launcher is not None
    second = next(child for child in launcher.children() if child.pid != first.pid)
    second.kill()


def _trainer(worker: int) -> psutil.Process:
    for child in psutil.Process(worker).children(recursive=True):
        if any(Path(file.path).name == "metrics.spool" for file in child.open_files()):
            return child
    raise RuntimeError(f"no child of process {worker} trains")


def run_python(code: str) -> None:
    """Run `code` in a process of its own."""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def seconds_of(action: Callable[[], None]) -> float:
    """Return how long the action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
