"""Settings of a worker: flags, `TRAINING_ENGINE_*` variables, defaults."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from app.training.cores import usable_cores
from artifact_store import ArtifactRoot
from service_runtime.settings import RedisSettings, ServiceSettings, setting


class WorkerSettings(RedisSettings, ServiceSettings):
    """Trains the jobs of the queue, one at a time, and hands its job back on SIGTERM."""

    artifact_root: ArtifactRoot = setting(
        Path("./artifacts"),
        "folder of checkpoints and datasets, shared with the control plane, or s3://BUCKET/PREFIX",
    )
    scratch_dir: Path = setting(
        Path("./scratch"),
        "folder of this machine for files under way where --artifact-root is a bucket",
    )
    worker_id: str = setting("", "name of this worker; empty makes one of host and process id")
    workers_on_host: int = setting(
        1, "workers that share this machine's cores; see --threads", ge=1
    )
    threads: int = setting(
        0,
        "threads of a fresh job's trainer, shared by its processes; 0 for cores (a container's "
        "quota counts) / workers on this host",
        ge=0,
    )
    device: str = setting(
        "auto", 'device of jobs that leave theirs at "auto"; named as in a configuration'
    )
    callbacks: str = setting(
        "",
        "MODULE:NAME of a class or function that takes a trainer and returns a callback of your "
        "own; several are separated by commas",
    )
    only_job: str = setting(
        "",
        "id of the one job over several nodes that this worker trains; a launcher starts such "
        "workers, and ends them. They end with exit code 143, so that Kubernetes starts another "
        "one where a node is drained",
        pattern="^(job_[0-9a-z]{26})?$",
    )
    node_address: str = setting(
        "",
        "address at which workers on other machines reach this one, for jobs over several nodes; "
        "empty takes the one from which this machine reaches Redis",
    )
    gathering_seconds: float = setting(
        10.0,
        "how long the workers of a job over several nodes wait for each other; then all are free "
        "again, and the job waits for a pause",
        unit="seconds",
        gt=0,
    )
    place_lease_seconds: float = setting(
        15.0,
        "in a job over several nodes, one whose worker renews nothing for so long is lost",
        unit="seconds",
        gt=0,
    )
    lease_renewal_seconds: float = setting(
        3.0, "time between two lease renewals; keep it a fifth of the lease", unit="seconds", gt=0
    )
    grace_seconds: float = setting(
        30.0,
        "time from SIGTERM to the end of the process; a trainer that has not saved by then is "
        "killed and its job falls back to the last registered checkpoint",
        unit="seconds",
        gt=0,
    )
    full_disk_patience_seconds: float = setting(
        3600.0,
        "how long a run whose last checkpoint finds no room waits for some; saves before the last "
        "are left out meanwhile",
        unit="seconds",
        ge=0,
    )
    progress_seconds: float = setting(
        0.2, "longest time between two reports of a step", unit="seconds", gt=0
    )
    heartbeat_seconds: float = setting(
        3.0, "time between two reports of the worker itself", unit="seconds", gt=0
    )
    max_raw_points: int = setting(
        200_000,
        "logged steps of a job that Redis holds; older ones are read from the artifact folder",
        ge=100,
    )
    max_output_mib: float = setting(
        16.0, "bound of the file that a trainer's output goes to", unit="MiB", gt=0
    )
    respawn: bool = setting(
        False,
        "fork the worker from a process that has imported everything, and fork another one when it "
        "is killed; `up` does so",
    )
    burst: bool = setting(False, "exit once the queues are empty, instead of waiting")
    generation: bool = setting(
        True, "answer requests for text and evaluations, in a process beside"
    )

    def resolved_worker_id(self) -> str:
        """Return `worker_id`, or one that no other process has."""
        if self.worker_id:
            return self.worker_id
        host = "".join(c if c.isalnum() or c in "._-" else "-" for c in socket.gethostname())
        return f"{host.strip('._-') or 'host'}-{os.getpid()}-{secrets.token_hex(3)}"

    def resolved_threads(self) -> int:
        """Return the threads of a fresh job: this worker's fair share of the cores it may use."""
        return self.threads or max(1, usable_cores() // self.workers_on_host)

    def threads_of_rank(self, processes: int) -> int:
        """Return the threads of each of a fresh job's processes, which share those of one."""
        return max(1, self.resolved_threads() // processes)
