"""Real sentinels over a real primary and replica, for tests: all of them gone with their parent."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import redis
from free_ports import free_port
from redis_server import DIE_WITH_PARENT, RedisServer, server_binary

NAME = "jobs"
DOWN_AFTER_MS = 500


class Sentinels:
    """A primary and a replica that refuse writes without each other, and three sentinels.

    `least_replicas`: `min-replicas-to-write` of both servers.
    """

    def __init__(self, folder: Path, least_replicas: int = 1) -> None:
        self.folder = folder
        self._ports = [free_port() for _ in range(3)]
        self._processes: list[subprocess.Popen[bytes]] = []
        extra = f"min-replicas-to-write {least_replicas}\nrepl-diskless-sync-delay 0"
        first = RedisServer(folder / "server-1", extra=extra)
        second = RedisServer(
            folder / "server-2",
            extra=f"{extra}\nreplicaof 127.0.0.1 {first.port}",
            password=first.password,
        )
        self.servers = [first, second]

    def url(self) -> str:
        """What the services are given."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        password = self.servers[0].password
        return f"redis+sentinel://:{password}@{hosts}/{NAME}"

    def start(self) -> Sentinels:
        """Start all, and wait until each sentinel knows the others and the replica."""
        for server in self.servers:
            server.start()
        for port in self._ports:
            self._processes.append(self._start_sentinel(port))
        self._wait_until_known()
        return self

    def primary(self) -> RedisServer:
        """The server that the sentinels name."""
        address = self.ask("get-master-addr-by-name", NAME)
        return next(server for server in self.servers if str(server.port) == address[1])

    def fail_over(self) -> RedisServer:
        """Order a failover of healthy servers, and return the new primary once it is named."""
        before = self.primary()
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("failover", NAME)
                break
            except redis.ResponseError as error:  # the one before is not over yet
                if time.monotonic() > deadline:
                    raise AssertionError(f"no failover: {error}") from error
                time.sleep(0.05)
        return self.wait_for_other(before)

    def wait_for_other(self, than: RedisServer, seconds: float = 60) -> RedisServer:
        """Return the new primary once another one is named."""
        deadline = time.monotonic() + seconds
        while (primary := self.primary()) is than:
            assert time.monotonic() < deadline, "no sentinel names another primary"
            time.sleep(0.02)
        return primary

    def ask(self, *words: str) -> list[str]:
        """Ask the first sentinel."""
        return self._ask(self._ports[0], *words)

    def kill(self) -> None:
        """SIGKILL to all, the sentinels first: they take no server's place then."""
        for process in self._processes:
            process.kill()
            process.wait()
        for server in self.servers:
            server.resume()
            server.kill()

    @staticmethod
    def _ask(port: int, *words: str) -> Any:
        options = {"protocol": 2, "decode_responses": True, "socket_timeout": 5}
        with redis.Redis(port=port, **options) as sentinel:  # type: ignore[arg-type]
            # Not `execute_command`: that makes other objects of the replies.
            sentinel.set_response_callback("SENTINEL", lambda reply, **_: reply)
            return sentinel.execute_command("SENTINEL", *words)

    def _start_sentinel(self, port: int) -> subprocess.Popen[bytes]:
        folder = self.folder / f"sentinel-{port}"
        folder.mkdir()
        config = folder / "sentinel.conf"
        config.touch(mode=0o600)
        first = self.servers[0]
        config.write_text(
            f"bind 127.0.0.1\nport {port}\ndir {folder}\nlogfile {folder / 'log'}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {first.port} 2\n"
            f"sentinel auth-pass {NAME} {first.password}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {NAME} 2000\n"
        )
        return subprocess.Popen(
            [*DIE_WITH_PARENT, server_binary(), str(config), "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _wait_until_known(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                state = self._states()
                if state == [("2", "1")] * 3:
                    return
            except redis.RedisError as error:
                state = [(str(error), "")]
            assert time.monotonic() < deadline, f"the sentinels do not know each other: {state}"
            time.sleep(0.05)

    def _states(self) -> list[tuple[str, str]]:
        """For each sentinel: how many others, and how many replicas, it knows."""
        states = []
        for port in self._ports:
            flat = self._ask(port, "master", NAME)
            state = dict(zip(flat[::2], flat[1::2], strict=True))
            states.append((state["num-other-sentinels"], state["num-slaves"]))
        return states
