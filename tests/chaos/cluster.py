"""The services as separate processes that tests may kill, freeze and start again one by one.

All intervals are shortened by settings. Nothing restarts by itself here: the test decides.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis
from redis_server import find_server_binary
from running_stack import clean_environment, wait_until

from training_engine import TrainingEngine

LEASE_SECONDS = 2.0
RENEWAL_SECONDS = 0.3


@dataclass
class Cluster:
    """A server, control planes, a gateway and workers; `folder` holds all they write."""

    folder: Path
    redis_port: int
    password: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def redis_url(self) -> str:
        """With its password."""
        return f"redis://:{self.password}@127.0.0.1:{self.redis_port}/0"

    def address(self, control_plane: str = "control-plane") -> str:
        """HOST:PORT of a control plane."""
        return f"127.0.0.1:{self.ports[control_plane]}"

    @property
    def url(self) -> str:
        """Base URL of the gateway."""
        return f"http://127.0.0.1:{self.ports['gateway']}"

    def engine(self, control_plane: str = "control-plane") -> TrainingEngine:
        """An SDK engine that bears long absences."""
        return TrainingEngine(self.address(control_plane), retry_for=60, reconnect_for=120)

    def start_redis(self) -> None:
        """Starts the server and waits until it has loaded its log."""
        folder = self.folder / "redis"
        folder.mkdir(exist_ok=True)
        configuration = folder / "server.conf"
        configuration.write_text(
            f"bind 127.0.0.1\nport {self.redis_port}\nrequirepass {self.password}\n"
            f'dir "{folder}"\nappendonly yes\nsave ""\nappendfsync everysec\n'
        )
        configuration.chmod(0o600)
        self._spawn("redis", [str(find_server_binary()), str(configuration)])
        with redis.Redis.from_url(self.redis_url) as client:

            def answers() -> bool:
                try:
                    return bool(client.ping())
                except redis.RedisError:
                    return False

            wait_until(answers, "the server")

    def start_control_plane(self, name: str = "control-plane") -> None:
        """Starts a control plane on its own port, the same one every time."""
        port = self.ports.setdefault(name, free_port())
        self._spawn(
            name,
            [
                *module("control_plane"),
                f"--port={port}",
                f"--data-root={self.folder}",
                f"--lease-seconds={LEASE_SECONDS}",
                "--reconcile-interval-seconds=0.2",
                "--requeue-after-seconds=2",
                "--leader-ttl-seconds=1",
                "--stop-grace-seconds=2",
            ],
        )
        wait_for_port(port)

    def start_gateway(self) -> None:
        """Starts the gateway."""
        port = self.ports.setdefault("gateway", free_port())
        self._spawn(
            "gateway",
            [*module("gateway"), f"--port={port}", f"--control-plane-address={self.address()}"],
        )
        wait_for_port(port)

    def start_worker(self, name: str = "worker", *flags: str) -> None:
        """Starts a worker with one thread, so that runs compare whatever the machine."""
        self._spawn(
            name,
            [
                *module("training_worker"),
                "--threads=1",
                f"--lease-renewal-seconds={RENEWAL_SECONDS}",
                "--heartbeat-seconds=0.5",
                "--grace-seconds=10",
                *flags,
            ],
        )

    def start(self, name: str) -> None:
        """Starts again what was killed."""
        {
            "redis": self.start_redis,
            "control-plane": self.start_control_plane,
            "gateway": self.start_gateway,
            "worker": self.start_worker,
        }[name]()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to one process."""
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait for the end."""
        self.processes[name].kill()
        self.processes[name].wait(timeout=10)

    def horses(self, worker: str = "worker") -> list[psutil.Process]:
        """The worker's children."""
        try:
            return psutil.Process(self.processes[worker].pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill_trainer(self, job_id: str, worker: str = "worker") -> bool:
        """SIGKILL to the process that trains a job; False if there is none just now."""
        with redis.Redis.from_url(self.redis_url):
            for process in self.horses(worker):
                if is_trainer(process):
                    process.kill()
                    return True
        return False

    def log(self, name: str) -> str:
        """What a process printed so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """Kills what still runs."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(timeout=10)

    def _spawn(self, name: str, command: list[str]) -> None:
        environment = clean_environment() | {
            "TRAINING_ENGINE_REDIS_URL": self.redis_url,
            "TRAINING_ENGINE_ARTIFACT_ROOT": str(self.folder / "artifacts"),
            "TRAINING_ENGINE_CACHE": str(self.folder / "cache"),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """All of it, with one worker, ready to train."""
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    running = Cluster(folder, free_port(), secrets.token_hex(8))
    try:
        running.start_redis()
        running.start_control_plane()
        running.start_gateway()
        running.start_worker()
        yield running
    finally:
        running.close()


def is_trainer(process: psutil.Process) -> bool:
    """Whether a worker's child trains a job (the others answer generation requests)."""
    try:
        return "attempt" in " ".join(process.cmdline()) or process.name().startswith("attempt")
    except psutil.NoSuchProcess:
        return False


def module(name: str) -> list[str]:
    """The command line of one of our processes."""
    return [sys.executable, "-P", "-m", name]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Returns when somebody listens on the port."""

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, f"port {port}")


def monotonic_deadline(seconds: float) -> float:
    """The end of a wait."""
    return time.monotonic() + seconds


__all__ = ["Cluster", "cluster", "free_port", "is_trainer", "os"]
