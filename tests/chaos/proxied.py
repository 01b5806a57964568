"""A cluster whose connections go through proxies and whose disks and clock can be changed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from cluster import Cluster
from free_ports import free_port
from proxies import Proxy, ProxyThread, RedisProxy
from redis_server import RedisServer
from running_stack import wait_until
from small_disk import mount, unmount

ARTIFACT_BYTES, REDIS_BYTES = 64 << 20, 256 << 20
WORKERS = ("worker", "worker-2")

CLOCK_SECONDS = 1
"""Time in which the server notes that its clock was set."""
_FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
_FLAGS = {
    "worker": ("--lease-renewal-seconds=0.2",),
    "control-plane": (
        "--lease-seconds=1.5",
        "--requeue-after-seconds=1",
        "--longest-retry-pause-seconds=1",
    ),
}
"""Shorter than those of other tests: a verdict that comes too early must do no harm either."""


class ProxiedCluster(Cluster):
    """Two workers; `missing` says which faults cannot be made here, and why.

    Attributes:
        links: The proxies: of a process with Redis by the process's name, of clients by their door.
        clock: The file with the offset of Redis' clock; None where that cannot be set.
        disks: Folders that can be filled, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.missing: dict[str, str] = {}
        self.disks: dict[str, Path] = {}
        self._mount(
            "artifacts", folder / ("scratch" if self.bucket else "artifacts"), ARTIFACT_BYTES
        )
        self._mount("redis", folder / "redis", REDIS_BYTES)
        super().__init__(folder)
        self.clock = self._fake_clock()
        self._thread = ProxyThread()
        self._starters = ThreadPoolExecutor()
        self.links: dict[str, Proxy] = {}
        for name in ("control-plane", *WORKERS):
            self.links[name] = RedisProxy(self._thread, free_port(), lambda: self.redis.port)
        for door, process in (("grpc", "control-plane"), ("rest", "gateway")):
            port = self.ports[process] = free_port()
            self.links[door] = Proxy(self._thread, free_port(), lambda port=port: port)

    def _mount(self, name: str, folder: Path, size_bytes: int) -> None:
        if problem := mount(folder, size_bytes):
            self.missing["full disk"] = problem
        else:
            self.disks[name] = folder

    def _fake_clock(self) -> Path | None:
        libraries = [*Path("/").glob(_FAKETIME.lstrip("/"))]
        if not libraries:
            self.missing["clock"] = f"libfaketime is not installed ({_FAKETIME})"
            return None
        clock = self.folder / "clock"
        clock.write_text("+0\n")
        environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": str(CLOCK_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.redis = RedisServer(self.folder / "redis", environment=environment)
        return clock

    def redis_url(self, name: str) -> str:
        url = self.redis.url()
        link = self.links.get(name)
        return url.replace(f":{self.redis.port}/", f":{link.port}/") if link else url

    def start(self, name: str, *flags: str) -> None:
        # A server that dies with its parent dies with the *thread* that started it, and faults are
        # made on threads that end.
        flags = (*_FLAGS.get(name.removesuffix("-2"), ()), *flags)
        self._starters.submit(super().start, name, *flags).result()

    def address(self, door: str) -> str:
        """Where clients reach a door: through its proxy."""
        at = f"127.0.0.1:{self.links[door].port}"
        return at if door == "grpc" else f"http://{at}"

    def trainers(self) -> list[psutil.Process]:
        """Every process that trains."""
        return [trainer for name in WORKERS if (trainer := self.trainer(name))]

    def heal(self) -> None:
        """Undo what faults have left, and start what does not run."""
        for link in self.links.values():
            link.delay_seconds = 0.0
            link.release()
        for name in ("redis", "control-plane", "gateway", *WORKERS):
            if not self.runs(name):
                self.start(name)

    def close(self) -> None:
        super().close()
        self._starters.shutdown()
        self._thread.close()
        for disk in self.disks.values():
            unmount(disk)


@contextmanager
def proxied_cluster(folder: Path) -> Iterator[ProxiedCluster]:
    """All of it, started."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = ProxiedCluster(folder)
    with ExitStack() as stack:
        stack.callback(cluster.close)
        (folder / "artifacts").mkdir(exist_ok=True)
        cluster.heal()
        with cluster.engine() as engine:
            wait_until(lambda: len([*engine.workers.list()]) == len(WORKERS), "workers", 180)
        yield cluster
