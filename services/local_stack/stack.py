"""Which services make up a stack, how each is started, and in which order."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from artifact_store.errors import ArtifactError
from artifact_store.opening import open_store
from local_stack.data_folder import DataFolder
from local_stack.embedded_server import (
    address_of,
    as_argument,
    find_server_binary,
    shut_down,
    wait_for_server,
    write_configuration,
)
from local_stack.errors import ChildFailedError, PortInUseError, SettingRefusedError
from local_stack.supervisor import Service, Supervisor
from service_runtime.settings import AuthenticationSettings, SettingsError

QUIET_SECONDS = 5.0
"""How long services may be unready before `up` prints why."""
READY_WITHIN_SECONDS = 60.0
"""The slowest part is a worker's import of torch, a few seconds on a laptop."""
SERVER_FILE_VARIABLES = ("TRAINING_ENGINE_REDIS_URL_FILE", "TRAINING_ENGINE_REDIS_PASSWORD_FILE")
PROBE = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks the stack's own addresses, never through the proxy that the environment may name."""
WORKER_GRACE_SECONDS = 35.0
"""A worker takes up to 30 s to save a checkpoint and hand its job back."""


@dataclass(frozen=True)
class StackOptions:
    """The options of `training-engine up`."""

    grpc_port: int
    http_port: int
    workers: int
    redis_url: str | None
    redis_memory_mib: int
    """Bound of the embedded server's data."""
    data_roots: tuple[Path, ...]
    artifact_root: Path | str | None = None
    """A bucket's address, or a folder; None for the one in the data folder."""


class Stack:
    """A server, a control plane, a gateway and some workers on this machine, on loopback."""

    def __init__(
        self, options: StackOptions, folder: DataFolder, report: Callable[[str], None]
    ) -> None:
        self.options = options
        self.folder = folder
        self._report = report
        self._why_unready = ""
        self.supervisor = Supervisor(folder.logs, folder.lock_fd, report)
        self.url = f"http://127.0.0.1:{options.http_port}"
        self.address = f"127.0.0.1:{options.grpc_port}"

    def start(self) -> None:
        """Start everything, and return once a job could be started and would be trained.

        Raises:
            StackError: A service failed; the text has the last lines of its output.
        """
        headers = authorization()
        require_free_port(self.options.grpc_port, "gRPC", "--grpc-port")
        require_free_port(self.options.http_port, "HTTP", "--http-port")
        require_artifacts(self.options.artifact_root)
        self.folder.describe_holder(url=self.url, address=self.address)
        environment = self.environment(self.start_server())
        self.supervisor.start(self._control_plane(environment))
        self.supervisor.start(self._gateway(environment))
        for number in range(1, self.options.workers + 1):
            self.supervisor.start(self._worker(environment, number))
        self._wait_until_ready(headers)

    def start_server(self) -> str:
        """Start the embedded server unless another one is named; return the URL of the server.

        Raises:
            StackError: It does not start, or does not answer.
        """
        if url := self.options.redis_url:
            wait_for_server(url, 5.0, what="the server named by --redis-url")
            return url
        binary = find_server_binary()
        configuration, url = write_configuration(
            self.folder.server, free_port(), self.options.redis_memory_mib
        )
        self.supervisor.start(
            Service(
                name="redis",
                command=[str(binary), as_argument(configuration)],
                # A locale that this machine does not have would keep the server from starting.
                environment={**os.environ, "LC_ALL": "C"},
                stop_order=2,
                grace_seconds=20.0,
                # It answers until the workers have registered their last checkpoints.
                ask_to_end=lambda: shut_down(url),
            )
        )
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while True:  # a long append-only file takes a while to load
            self.supervisor.check_alive("redis")
            try:
                wait_for_server(url, 0.5)
                return url
            except ChildFailedError:
                if time.monotonic() > deadline:
                    raise

    def environment(self, redis_url: str) -> dict[str, str]:
        """Return the environment of the stack's processes."""
        # The URL holds the password: in the environment, never in argv.
        # Where a variable names a file for the URL or its password, `redis_url` holds both.
        inherited = {k: v for k, v in os.environ.items() if k not in SERVER_FILE_VARIABLES}
        return {
            "TRAINING_ENGINE_SCRATCH_DIR": str(self.folder.path / "scratch"),
            **inherited,
            "PYTHONUNBUFFERED": "1",
            "TRAINING_ENGINE_REDIS_URL": redis_url,
            "TRAINING_ENGINE_ARTIFACT_ROOT": str(
                self.options.artifact_root or self.folder.artifacts
            ),
        }

    def _control_plane(self, environment: dict[str, str]) -> Service:
        roots = (*self.options.data_roots, self.folder.datasets)
        return Service(
            name="control-plane",
            command=[
                *module("control_plane"),
                f"--port={self.options.grpc_port}",
                *(f"--data-root={root}" for root in roots),
                "--roots-visible",
                f"--series-folder={self.folder.path / 'series'}",
            ],
            environment=environment,
            stop_order=1,
            grace_seconds=10.0,
        )

    def _gateway(self, environment: dict[str, str]) -> Service:
        return Service(
            name="gateway",
            command=[
                *module("gateway"),
                f"--port={self.options.http_port}",
                f"--control-plane-address={self.address}",
            ],
            environment=environment,
            stop_order=0,
            grace_seconds=10.0,
        )

    def _worker(self, environment: dict[str, str], number: int) -> Service:
        return Service(
            name=f"worker-{number}",
            command=[
                *module("training_worker"),
                "--respawn",
                f"--workers-on-host={self.options.workers}",
            ],
            environment=environment,
            stop_order=0,
            grace_seconds=WORKER_GRACE_SECONDS,
        )

    def _wait_until_ready(self, headers: dict[str, str]) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        names = ["control-plane", "gateway"]
        names += [f"worker-{number}" for number in range(1, self.options.workers + 1)]
        patient_until = time.monotonic() + QUIET_SECONDS
        reported = ""
        while not self._is_ready(headers):
            for name in names:
                self.supervisor.check_alive(name)
            if self._why_unready != reported and time.monotonic() > patient_until:
                reported = self._why_unready
                self._report(f"not ready yet: {reported}")
            if time.monotonic() > deadline:
                raise ChildFailedError(
                    f"the stack was not ready within {READY_WITHIN_SECONDS:g} s; "
                    f"see the logs in {self.folder.logs}"
                )
            time.sleep(0.1)

    def _is_ready(self, headers: dict[str, str]) -> bool:
        workers = urllib.request.Request(f"{self.url}/api/training/workers", headers=headers)
        try:
            with PROBE.open(f"{self.url}/readyz", timeout=2):
                pass
            with PROBE.open(workers, timeout=2) as answer:
                return len(json.load(answer)["workers"]) >= self.options.workers
        except urllib.error.HTTPError as error:
            with suppress(OSError, ValueError, AttributeError):
                self._why_unready = str(json.load(error).get("detail", ""))
            return False
        except OSError:  # urllib's errors are OSErrors
            return False


def authorization() -> dict[str, str]:
    """Return the headers of the stack's requests to itself: a token where the settings name some.

    Raises:
        SettingRefusedError: A setting that the services share cannot be used.
    """
    try:
        tokens = AuthenticationSettings().accepted_tokens()
    except SettingsError as error:
        raise SettingRefusedError(str(error)) from None
    return {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}


def module(name: str) -> list[str]:
    """Return the command line of one of our processes; -P keeps the current folder off sys.path."""
    return [sys.executable, "-P", "-m", name]


def free_port() -> int:
    """Return a port on loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free_port(port: int, what: str, flag: str) -> None:
    """Check that a port is free.

    Raises:
        PortInUseError: Another process listens on `port`.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUseError(
                f"the {what} port {port} cannot be used: {error.strerror}; "
                f"end the process that listens there, or choose another port with {flag}"
            ) from None


def require_artifacts(root: Path | str | None) -> None:
    """Check that a bucket can be read, or a folder written, so that a refusal is seen at once.

    Raises:
        SettingRefusedError: It does not answer, or refuses.
    """
    if root is None:
        return
    try:
        open_store(root).identity()
    except ArtifactError as error:
        raise SettingRefusedError(f"--artifact-root: {error}") from None
    except OSError as error:
        raise _unusable_root(root, error.strerror or str(error)) from None
    if isinstance(root, Path) and not os.access(root, os.W_OK | os.X_OK):
        raise _unusable_root(root, "it may not be written")


def _unusable_root(root: Path | str, why: str) -> SettingRefusedError:
    return SettingRefusedError(
        f"--artifact-root {root} cannot be used: {why}; give a folder that you may write"
    )


def describe_server(options: StackOptions) -> str:
    """Return the address of the stack's Redis server, without a password."""
    return address_of(options.redis_url) if options.redis_url else "embedded"
