"""Runs scripts from given states on a real server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis
from model.recorded_calls import PREFIX, Call, start
from model.view import View, read_part
from redis_server import RedisServer

from job_store.scripts import script

_TOOL = (Path(__file__).parent / "states.lua").read_text(encoding="utf-8")
_MEMO = start()[2]
_BATCH = 200

Parts = str
"""A state of the job's keys: numbers of parts with commas between them."""


class Step(NamedTuple):
    """What a call did."""

    verdict: str
    """`ok`, `none`, or the name of an error."""
    after: Parts
    events: tuple[str, ...]
    """Kind and data of each event."""
    again: str
    """What a repetition of the call changed; empty for nothing."""


def packaged(name: str) -> str:
    """The text of a script as the product runs it."""
    return script(name).text


class ModelServer:
    """A server without a disk, of which the checker uses two databases."""

    def __init__(self, folder: Path, text_of: Callable[[str], str] = packaged) -> None:
        socket = folder / "model.sock"
        self._server = RedisServer(
            folder, extra=f"appendonly no\nunixsocket {socket}\nunixsocketperm 700\n"
        ).start()
        self._client = redis.Redis(
            unix_socket_path=str(socket), password=self._server.password, socket_timeout=60
        )
        self._text_of = text_of
        self._known: dict[str, str] = {}
        self._parts: dict[str, tuple[str, list[Any]]] = {}
        self._views: dict[Parts, View] = {}
        self._commands: dict[Call, bytes] = {}
        self._tool = str(self._client.script_load(_TOOL))
        self._link: Any = self._client.connection_pool.get_connection()

    def stop(self) -> None:
        """End the server."""
        self._client.close()
        self._server.stop()

    def use(self, text_of: Callable[[str], str]) -> None:
        """Forget all states and run other texts of the scripts from now on."""
        self._client.flushall()
        self._text_of = text_of
        for cache in (self._known, self._commands, self._parts, self._views):
            cache.clear()  # type: ignore[attr-defined]

    def cpu_seconds(self) -> float:
        """Seconds of processors that this process and the server have used so far."""
        used: Any = self._client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"]) + time.process_time()

    @property
    def scripts_run(self) -> set[str]:
        """The names of those that were run since `use`."""
        return set(self._known)

    def view(self, parts: Parts) -> View:
        """The state's keys."""
        if parts not in self._views:
            numbers = parts.split(",") if parts else []
            if missing := [n for n in numbers if n not in self._parts]:
                texts: Any = self._client.evalsha(self._tool, 0, "text", *missing)
                self._parts |= dict(zip(missing, map(read_part, texts), strict=True))
            self._views[parts] = View(dict(self._parts[n] for n in numbers))
        return self._views[parts]

    def run(self, steps: Sequence[tuple[Parts, Call]]) -> list[Step]:
        """Run each call from its state, twice, and read what it did."""
        done: list[Step] = []
        for first in range(0, len(steps), _BATCH):
            batch = steps[first : first + _BATCH]
            commands: list[bytes] = []
            for parts, call in batch:
                made, read = self._command(call), self._packed(self._tool, 0, "read", _MEMO)
                commands += [self._put(parts), made, read, made, read]
            replies = self._replies(commands)
            done += [
                _step(call, replies[5 * i + 1 : 5 * i + 5]) for i, (_, call) in enumerate(batch)
            ]
        return done

    def late(self, parts: Parts, calls: Sequence[Call]) -> list[str] | None:
        """The verdicts of the calls, one after the other; None if they change a byte of any key."""
        exact = self._packed(self._tool, 0, "exact", _MEMO)
        made = [self._command(call) for call in calls]
        _, before, *replies, after = self._replies([self._put(parts), exact, *made, exact])
        return [_verdict(reply) for reply in replies] if before == after else None

    def reply(self, parts: Parts, call: Call) -> Any:
        """What a reader gets."""
        return self._replies([self._put(parts), self._command(call)])[1]

    def _replies(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to packed commands, which are sent in one piece; errors are among them."""
        self._link.send_packed_command([b"".join(commands)])
        return [self._reply() for _ in commands]

    def _reply(self) -> Any:
        try:
            return self._link.read_response()
        except redis.ResponseError as error:
            return error

    def _packed(self, *words: Any) -> bytes:
        return b"".join(self._link.pack_command("EVALSHA", *words))

    def _put(self, parts: Parts) -> bytes:
        self.view(parts)
        named = [(self._parts[n][0], n) for n in parts.split(",")] if parts else []
        return self._packed(self._tool, 0, "put", *[word for pair in named for word in pair])

    def _command(self, call: Call) -> bytes:
        if call not in self._commands:
            self._commands[call] = self._pack_call(call)
        return self._commands[call]

    def _pack_call(self, call: Call) -> bytes:
        name, *arguments = call
        if name not in self._known:
            text = self._text_of(name)
            self._known[name] = str(self._client.script_load(text))
            digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            assert self._known[name] == digest
        encoded = [word.encode("latin-1") for word in arguments]
        return self._packed(self._known[name], 0, PREFIX, *encoded)


def _step(call: Call, replies: Sequence[Any]) -> Step:
    reply, read, repeated, read_again = replies
    verdict, verdict_again = _verdict(reply), _verdict(repeated)
    after, *events = (word.decode("latin-1") for word in read)
    again, *events_again = (word.decode("latin-1") for word in read_again)
    changed = ""
    # The reconciler is told whether it was its own call that ended the attempt.
    if verdict_again != verdict and (call[0], verdict_again) != ("declare_lost", "none"):
        changed = f"the answer from {verdict} to {verdict_again}"
    elif (again, events_again) != (after, events):
        changed = f"{after} {events} became {again} {events_again}"
    return Step(verdict, after, tuple(events), changed)


def _verdict(reply: Any) -> str:
    is_list = isinstance(reply, list)
    return str(reply[0].decode()) if is_list else f"error: it was answered {reply!r}"
