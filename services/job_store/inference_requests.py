"""Requests to the process that a worker keeps for inference, and its replies on their way back.

    control plane                     Redis                           worker
    RequestClient.ask() ──▶ NAME:requests (list) ──▶ RequestInbox.take()
              ▲───────── NAME:ID (stream of replies) ◀────────── .send(), .fail()
              └── NAME:ID:reader, alive while a reader listens ───▶ .send() says False

Nothing here is kept: a request that no worker took, or whose worker died, ends in a timeout and may
simply be asked again, and keys expire by themselves.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any, Generic, Self, TypeVar

from job_store.connection import AsyncConnection, Connection
from job_store.errors import JobStoreError
from job_store.records import CheckpointRecord

_BLOCK_MS = 500
_READER_MS = 10_000
"""How long a listener may be silent before the worker stops working for it."""
_ANSWER_MS = 60_000
"""How long an answer outlives its last reply."""
_LONGEST_WAIT_MS = 120_000
"""When a list of requests that no worker took is deleted, unless somebody waits for one of them."""
_SERVED_MS = 5_000
"""How long a worker that looked for requests counts as one that will look again."""


class InferenceFailedError(JobStoreError):
    """The worker could not do it; `code` is a reason from the protos' enum.

    Attributes:
        field: of the request that is at fault; empty for none.
    """

    def __init__(self, code: str, message: str, field: str = "") -> None:
        self.code, self.field = code, field
        super().__init__(message)


class InferenceTimeoutError(JobStoreError):
    """No worker took the request, or its worker sent nothing for too long."""

    code = "WORKER_UNAVAILABLE"

    def __init__(self, kind: RequestKind, seconds: float) -> None:
        super().__init__(
            f"no worker sent {kind.reply} within {seconds:g} s; see that a worker runs and answers "
            f"requests for {kind.wanted}, or try again"
        )


@dataclass(frozen=True, slots=True)
class RequestKind:
    """What is asked for, and how long its parties may be silent."""

    name: str
    """Of its keys."""
    wanted: str
    """What a request is for, in words."""
    reply: str
    """What a worker sends, in words."""
    taken_ms: int
    """A worker that has taken a request and sends nothing for so long is taken to be dead."""
    waits: bool = False
    """Whether a request waits for as long as workers are busy with others."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What each request names: a checkpoint and its file."""

    artifact: str
    """Name of the checkpoint in the artifact store."""
    size_bytes: int
    sha256: str
    checkpoint_id: str
    averaged: bool = field(default=False, kw_only=True)
    """Whether the average of the checkpoint's weights is meant."""
    request_id: str = field(default="", kw_only=True)
    """Made by the client."""

    @classmethod
    def of(cls, checkpoint: CheckpointRecord, subject: str, **options: Any) -> Self:
        """Return a request about a registered checkpoint.

        `subject` is the next field (a prompt, or the path of data), `options` are the others.
        """
        names = ("artifact", "size_bytes", "sha256", "checkpoint_id")
        values = [*(getattr(checkpoint, name) for name in names), subject]
        return cls(*values, **options)


Q = TypeVar("Q", bound=InferenceRequest)


class RequestClient:
    """The control plane's side; a subclass is for one kind of requests."""

    kind: RequestKind

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def ask(self, request: InferenceRequest, timeout_seconds: float) -> AsyncIterator[Any]:
        """Yield replies as they come; leaving the iterator ends the work within seconds.

        Raises:
            InferenceTimeoutError: After `timeout_seconds` without one, `InferenceFailedError`,
                `StoreUnavailableError`.
        """
        request_id = secrets.token_hex(16)
        body = json.dumps({**asdict(request), "request_id": request_id})
        keys = _Keys(self._db.prefix, self.kind, request_id)
        await self._db.transaction(
            ("SET", keys.reader, "1", "PX", _READER_MS),
            ("LPUSH", keys.queue, body),
            ("PEXPIRE", keys.queue, _LONGEST_WAIT_MS),
        )
        try:
            async for reply in self._follow(keys, body, timeout_seconds):
                yield reply
        finally:
            await self._db.command("DEL", keys.answer, keys.reader, keys.taken)

    async def _follow(self, keys: _Keys, body: str, timeout_seconds: float) -> AsyncIterator[Any]:
        after, heard_at = b"0-0", time.monotonic()
        while True:
            replies = await self._db.blocking_command(
                "XREAD", "COUNT", 256, "BLOCK", _BLOCK_MS, "STREAMS", keys.answer, after
            )
            await self._db.command("SET", keys.reader, "1", "PX", _READER_MS)
            for _, entries in replies or ():
                heard_at, after = time.monotonic(), entries[-1][0]
                for _, fields in entries:
                    yield _read_reply(fields)
            if not replies and await self._waits(keys, body):
                heard_at = time.monotonic()
            if time.monotonic() - heard_at > timeout_seconds:
                raise InferenceTimeoutError(self.kind, timeout_seconds)

    async def _waits(self, keys: _Keys, body: str) -> bool:
        """Return whether the request waits for a worker that is busy with another one.

        Send it again if the worker that popped it has died: it is in no list then.
        """
        taken, place, served, _ = await self._db.transaction(
            ("EXISTS", keys.taken),
            ("LPOS", keys.queue, body),
            ("EXISTS", keys.served),
            ("PEXPIRE", keys.queue, _LONGEST_WAIT_MS),
        )
        if not taken and place is None:
            await self._db.transaction(
                ("LPUSH", keys.queue, body), ("PEXPIRE", keys.queue, _LONGEST_WAIT_MS)
            )
        return bool(self.kind.waits and served and not taken)


class RequestInbox(Generic[Q]):
    """A worker's side (synchronous); a subclass is for one kind of requests."""

    kind: RequestKind
    request: type[Q]

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def take(self, seconds: int = 1) -> Q | None:
        """Return the oldest waiting request whose reader still listens; None after `seconds`.

        Entries that cannot be read, such as those of another release, are dropped: they cannot be
        answered.
        """
        keys = self._keys("")
        self._db.command("SET", keys.served, "1", "PX", _SERVED_MS)
        reply = self._db.blocking_command("BRPOP", keys.queue, seconds)
        if not reply:
            return None
        try:
            fields = json.loads(reply[1])
            return self.request(**fields) if self._is_ours(str(fields["request_id"])) else None
        except (ValueError, TypeError, KeyError):
            return None

    def send(self, request: Q, replies: Sequence[Any]) -> bool:
        """Deliver dataclasses, in order; return False where the reader is gone: stop working then.

        The reader gets the fields of each as a list.
        """
        keys = self._keys(request.request_id)
        added = [("XADD", keys.answer, "*", "p", json.dumps(astuple(reply))) for reply in replies]
        *_, listening = self._db.transaction(
            *added,
            ("PEXPIRE", keys.answer, _ANSWER_MS),
            # Long work may take longer than the key lives: it would be asked for again.
            ("SET", keys.taken, "1", "PX", self.kind.taken_ms),
            ("SET", keys.served, "1", "PX", _SERVED_MS),
            ("EXISTS", keys.reader),
        )
        return bool(listening)

    def fail(self, request: Q, code: str, message: str, field: str = "") -> None:
        """End the answer with an error about a field of the request, or about none."""
        keys = self._keys(request.request_id)
        self._db.transaction(
            ("XADD", keys.answer, "*", "e", json.dumps([code, message, field])),
            ("PEXPIRE", keys.answer, _ANSWER_MS),
        )

    def _is_ours(self, request_id: str) -> bool:
        """Whether the reader still listens, and no other copy of the request was taken."""
        keys = self._keys(request_id)
        listening, first = self._db.transaction(
            ("EXISTS", keys.reader), ("SET", keys.taken, "1", "NX", "PX", self.kind.taken_ms)
        )
        return bool(listening and first)

    def _keys(self, request_id: str) -> _Keys:
        return _Keys(self._db.prefix, self.kind, request_id)


class _Keys:
    """The list of requests, the workers' sign of life, and the keys of one request."""

    def __init__(self, prefix: str, kind: RequestKind, request_id: str) -> None:
        self.queue = f"{prefix}{kind.name}:requests"
        self.served = f"{prefix}{kind.name}:served"
        self.answer = f"{prefix}{kind.name}:{request_id}"
        self.reader = f"{self.answer}:reader"
        self.taken = f"{self.answer}:taken"


def _read_reply(fields: dict[bytes, bytes]) -> Any:
    if b"e" in fields:
        code, message, *field = json.loads(fields[b"e"])
        raise InferenceFailedError(code, message, *field)
    return json.loads(fields[b"p"])
