"""A control plane that waits for launched workers, an API server, and launchers, as processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from free_ports import free_port
from kubernetes_api import KubernetesApi, Manifest
from redis_server import DIE_WITH_PARENT, RedisServer
from running_stack import clean_environment, wait_until

from launcher.launcher import Launcher
from launcher.settings import LauncherSettings
from training_engine import Job, TrainingEngine

TEMPLATE = "node-workers"
TOKEN = "of-the-launcher"
TINY: dict[str, Any] = {
    "model_config": {"vocab_size": 256, "hidden_size": 32, "num_layers": 1, "num_heads": 2},
    "sequence_length": 32,
    "batch_size": 2,
    "max_steps": 20,
    "warmup_steps": 2,
    "logging_steps": 1,
}
WORKER_FLAGS = (
    "--threads=1",
    "--lease-renewal-seconds=0.3",
    "--heartbeat-seconds=0.5",
    "--grace-seconds=10",
)


class LauncherSite:
    """All but workers; `folder` holds all that is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Each call waits until it is in the append-only file.
        self.redis = RedisServer(folder / "redis", extra="appendfsync always").start()
        self.text = folder / "text.txt"
        self.text.write_text("to be or not to be, that is the question\n" * 200)
        (folder / "tokens").write_text(f"{TOKEN}\n")
        self.api = KubernetesApi(folder / "kubernetes")
        self.environment = clean_environment() | {
            "TRAINING_ENGINE_REDIS_URL": self.redis.url(),
            "TRAINING_ENGINE_CACHE": str(folder / "cache"),
            "TRAINING_ENGINE_ARTIFACT_ROOT": str(folder / "artifacts"),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = free_port()
        self._spawn(
            "control_plane",
            f"--port={self.port}",
            f"--data-root={folder}",
            f"--auth-tokens-file={folder / 'tokens'}",
            "--launched-nodes",
            "--reconcile-interval-seconds=0.1",
            "--leader-ttl-seconds=1",
        )
        wait_until(self._listens, "the control plane")
        self.engine = TrainingEngine(self.address, token=TOKEN)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def address(self) -> str:
        """Of the control plane."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """Ends all of it."""
        self.engine.close()
        for process in self._processes:
            process.kill()
            process.wait()
        self.api.close()
        self.redis.kill()

    def template(self) -> Manifest:
        """A JobSet like the overlay's, whose pods are workers of this machine."""
        worker = {
            "name": "worker",
            "image": "training-engine/worker",
            "command": [sys.executable, "-P", "-m", "training_worker"],
            "args": list(WORKER_FLAGS),
        }
        pod = {"metadata": {"labels": {"role": "worker"}}, "spec": {"containers": [worker]}}
        job = {"spec": {"backoffLimit": 2147483647, "template": pod}}
        return {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {
                "name": TEMPLATE,
                "labels": {"app.kubernetes.io/instance": "a"},
                "annotations": {
                    "alpha.jobset.sigs.k8s.io/exclusive-topology": "rack",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                },
            },
            "spec": {
                "managedBy": "training-engine/launcher",
                "suspend": True,
                "failurePolicy": {"maxRestarts": 0},
                "replicatedJobs": [{"name": "node", "replicas": 1, "template": job}],
            },
        }

    def settings(self, **changed: Any) -> LauncherSettings:
        """Of a launcher that rounds are run of in this process."""
        given: dict[str, Any] = {
            "control_plane_address": self.address,
            "token_file": self.folder / "tokens",
            "kubernetes_url": self.api.url,
            "account_folder": self.api.account,
            "round_seconds": 0.1,
            "timeout_seconds": 5,
        }
        return LauncherSettings(**(given | changed))

    async def look(self, **changed: Any) -> None:
        """One round of a launcher that has just started."""
        await Launcher(self.settings(**changed)).look()

    def launcher(self, **changed: Any) -> subprocess.Popen[bytes]:
        """A launcher as a process."""
        flags = [
            f"--{name.replace('_', '-')}={value}"
            for name, value in self.settings(**changed).model_dump(exclude_unset=True).items()
        ]
        return self._spawn("launcher", *flags)

    def log(self, module: str = "launcher") -> str:
        """What processes of this kind printed."""
        return (self.folder / f"{module}.log").read_text(errors="replace")

    def start(self, nodes: int = 2, **fields: Any) -> Job:
        """A queued job; `fields` of its execution."""
        execution = {"nodes": nodes, **fields}
        return self.engine.jobs.start(config=TINY, dataset_path=str(self.text), execution=execution)

    def end_jobs(self) -> None:
        """Stops all jobs."""
        for job in self.engine.jobs.list():
            if not job.is_terminal:
                job.stop()

    def _spawn(self, module: str, *flags: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{module}.log").open("ab") as log:
            process = subprocess.Popen(
                [*DIE_WITH_PARENT, sys.executable, "-P", "-m", module, *flags],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process
