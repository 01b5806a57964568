"""The services as separate processes that tests may kill, freeze and start again one by one.

All intervals are shortened by settings. Nothing restarts by itself here: the test decides.
"""

from __future__ import annotations

import itertools
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from bucket_server import BUCKET, BucketServer, unfinished_uploads
from free_ports import free_port
from paced import Pace
from redis_server import RedisServer
from running_stack import clean_environment, wait_until

from artifact_store import ArtifactStore, open_store
from artifact_store.object_store import S3Store
from training_engine import Job, TrainingEngine

STANDARD = ("redis", "control-plane", "gateway", "worker")
ENDED = ("succeeded", "failed", "stopped")
LEASE_SECONDS = 2.0


class Cluster:
    """A server, control planes, a gateway and workers; `folder` holds all that they write.

    Attributes:
        bucket: Has the artifacts in place of a folder, if set; its address is in the environment.
    """

    bucket: BucketServer | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(folder / "redis")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.pace = Pace(folder)
        self.ports: dict[str, int] = {}
        self._machines = itertools.count(1)

    @property
    def artifact_root(self) -> Path | str:
        """What `--artifact-root` names."""
        return f"s3://{BUCKET}/{self.folder.name}" if self.bucket else self.folder / "artifacts"

    @property
    def scratch(self) -> Path:
        """Where workers write before they send to a bucket."""
        return self.folder / "scratch"

    @property
    def store(self) -> ArtifactStore:
        """The artifact store, unguarded."""
        return open_store(self.artifact_root)

    def files(self, prefix: str) -> list[str]:
        """All that is stored below a prefix: half-written files and unfinished uploads, too."""
        store = self.store
        if isinstance(store, S3Store):
            uploads = [key for key in unfinished_uploads(store) if key.startswith(f"{prefix}/")]
            return store.keys(prefix) + uploads
        folder = self.folder / "artifacts" / prefix
        return [str(path) for path in [folder, *folder.rglob("*")] if path.exists()]

    @property
    def url(self) -> str:
        """Base URL of the gateway."""
        return f"http://127.0.0.1:{self.ports['gateway']}"

    def engine(self, control_plane: str = "control-plane") -> TrainingEngine:
        """An SDK engine that retries through long absences of the services."""
        address = f"127.0.0.1:{self.ports[control_plane]}"
        return TrainingEngine(address, retry_for=60, reconnect_for=120)

    def redis_url(self, name: str) -> str:
        """The server's URL for one process."""
        return self.redis.url()

    def start(self, name: str, *flags: str) -> None:
        """Starts a process, or starts it again; a control plane keeps its port.

        `name` is a kind of process (`redis`, `control-plane`, `gateway`, `worker`); others of a
        kind have a number behind it, as in `worker-2`.
        """
        match re.sub(r"-\d+$", "", name):
            case "redis":
                self.redis.start()
            case "worker":
                self._spawn(name, "training_worker", *WORKER_FLAGS, *flags)
            case "gateway":
                target = f"--control-plane-address=127.0.0.1:{self.ports['control-plane']}"
                self._serve(name, "gateway", target, *flags)
            case "control-plane":
                root = f"--data-root={self.folder}"
                self._serve(name, "control_plane", root, *CONTROL_PLANE_FLAGS, *flags)
            case _:
                raise ValueError(f"{name!r} is not a kind of process")

    def restore(self) -> None:
        """After a test: what runs is what ran before it, and no job does."""
        for name in [name for name in self.processes if name not in STANDARD]:
            self.end(name)
        self.redis.resume()
        for name in STANDARD:
            if not self.runs(name):
                self.start(name)
            elif name != "redis":
                self.signal(name, signal.SIGCONT)
        with self.engine() as engine:
            for job in engine.jobs.list():
                if job.status not in ENDED:
                    job.stop()
                    job.wait(timeout=60)

    def runs(self, name: str) -> bool:
        """Whether a process has been started and is there."""
        process = self.redis.process if name == "redis" else self.processes.get(name)
        return process is not None and process.poll() is None

    def end(self, name: str) -> None:
        """Kill a process that may be frozen or gone, and forget it."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(timeout=10)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait for the end."""
        if name == "redis":
            self.redis.kill()
        else:
            self.processes[name].kill()
            self.processes[name].wait(timeout=10)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to one process."""
        self.processes[name].send_signal(number)

    def trainer(self, worker: str = "worker") -> psutil.Process | None:
        """The worker's child that trains: the one with a spool open."""
        try:
            for child in psutil.Process(self.processes[worker].pid).children(recursive=True):
                if any(f.path.endswith("metrics.spool") for f in child.open_files()):
                    return child
        except psutil.NoSuchProcess:
            pass
        return None

    def worker_of(self, job: Job) -> str:
        """The process that has a running job: it may train, or send what it has trained."""
        wait_until(lambda: job.refresh().status == "running", "the job to run", 300)
        pid = int((job.refresh().worker_id or "").split("-")[-2])
        (name,) = [name for name, process in self.processes.items() if process.pid == pid]
        return name

    def log(self, name: str) -> str:
        """What a process printed so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """Kills what still runs."""
        for name in list(self.processes):
            self.end(name)
        self.redis.resume()
        self.redis.kill()

    def _serve(self, name: str, module: str, *flags: str) -> None:
        port = self.ports.setdefault(name, free_port())
        self._spawn(name, module, f"--port={port}", *flags)
        wait_until(lambda: _listens(port), f"{name} on port {port}", timeout=120)

    def _spawn(self, name: str, module: str, *flags: str) -> None:
        environment = clean_environment() | self.pace.environment()
        environment |= {
            "TRAINING_ENGINE_REDIS_URL": self.redis_url(name),
            "TRAINING_ENGINE_ARTIFACT_ROOT": str(self.artifact_root),
            # Each worker begins on a machine of its own, as far as it can see.
            "TRAINING_ENGINE_SCRATCH_DIR": str(self.scratch / f"{next(self._machines)}-{name}"),
            "TRAINING_ENGINE_CACHE": str(self.folder / "caches" / name),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *flags],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


CONTROL_PLANE_FLAGS = (
    f"--lease-seconds={LEASE_SECONDS}",
    "--reconcile-interval-seconds=0.2",
    "--requeue-after-seconds=2",
    "--leader-ttl-seconds=1",
    "--stop-grace-seconds=2",
    "--retry-pause-seconds=0.5",
    # Files are swept all the time: nothing that a run needs may ever be among them.
    "--sweep-after-seconds=0.5",
)
# One thread: runs compare whatever the machine.
WORKER_FLAGS = (
    "--threads=1",
    "--lease-renewal-seconds=0.3",
    "--heartbeat-seconds=0.5",
    "--grace-seconds=10",
    "--place-lease-seconds=5",
    "--no-generation",
)


@contextmanager
def cluster(
    folder: Path, running: Cluster | None = None, names: Sequence[str] = STANDARD
) -> Iterator[Cluster]:
    """All of it, with one worker; or the processes that are named."""
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    running = running or Cluster(folder)
    try:
        for name in names:
            running.start(name)
        yield running
    finally:
        running.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
