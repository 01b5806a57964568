"""Requests for generated text, and the text on its way back.

    control plane                        Redis                          worker
    GenerationClient.generate() ──▶ generation:requests (list) ──▶ GenerationInbox.take()
              ▲───────── generation:ID (stream of pieces) ◀────────── .send(), .fail()
              └── generation:ID:reader, alive while a reader listens ───▶ .send() says False

Nothing here is kept: a request that no worker took, or whose worker died, ends in a timeout and may
simply be asked again, and keys expire by themselves.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from job_store.connection import AsyncConnection, Connection
from job_store.errors import JobStoreError
from job_store.records import CheckpointRecord

_BLOCK_MS = 500
_READER_MS = 10_000
"""How long a listener may be silent before the worker stops sampling for it."""
_ANSWER_MS = 60_000
"""How long an answer outlives its last piece."""
_LONGEST_WAIT_MS = 120_000
"""When a list of requests that no worker took is deleted; their callers have given up by then."""


class GenerationFailedError(JobStoreError):
    """The worker could not sample; `code` is a reason from the protos' enum."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class GenerationTimeoutError(JobStoreError):
    """No worker took the request, or its worker sent nothing for too long."""

    code = "WORKER_UNAVAILABLE"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"no worker sent a token within {seconds:g} s; see that a worker runs and answers "
            "requests for text, or try again"
        )


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to sample, and from which file."""

    artifact: str
    """Name of the checkpoint in the artifact store."""
    size_bytes: int
    sha256: str
    checkpoint_id: str
    prompt: str
    max_tokens: int = 256
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    request_id: str = ""
    """Made by the client."""
    messages: Sequence[tuple[str, str]] = ()
    """Role and content of the turns of a conversation to answer, in place of a prompt."""
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    min_p: float | None = None
    repetition_penalty: float | None = None
    num_samples: int = 1
    logprobs: int | None = None
    averaged: bool = False
    prompts: Sequence[str] = ()
    """Texts to continue, in place of one prompt."""

    @property
    def texts(self) -> int:
        """How many texts are sampled."""
        return max(len(self.prompts), 1) * self.num_samples

    @staticmethod
    def of(checkpoint: CheckpointRecord, prompt: str, **options: Any) -> GenerationRequest:
        """Return a request for text from a registered checkpoint.

        `options` are the fields that have a default, such as `max_tokens` and `messages`.
        """
        names = ("artifact", "size_bytes", "sha256", "checkpoint_id")
        of_checkpoint = {name: getattr(checkpoint, name) for name in names}
        return GenerationRequest(**of_checkpoint, prompt=prompt, **options)


@dataclass(frozen=True, slots=True)
class GeneratedPiece:
    """What one sampled token adds."""

    index: int
    """Counts from 0."""
    token_id: int
    text: str
    """May be empty inside a character."""
    finish_reason: str = ""
    """On the last piece of a sample: "length" or "stop"."""
    sample: int = 0
    prompt_tokens: int | None = None
    dropped_prompt_tokens: int | None = None
    logprob: float | None = None
    token_text: str = ""
    top_logprobs: Sequence[tuple[int, str, float]] = ()
    """Id, text and log-probability of the likeliest tokens."""
    prompt_index: int = 0


class GenerationClient:
    """The control plane's side."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._db = connection

    async def generate(
        self, request: GenerationRequest, timeout_seconds: float = 30.0
    ) -> AsyncIterator[GeneratedPiece]:
        """Yield pieces as they are sampled; leaving the iterator stops the sampling within seconds.

        Raises:
            GenerationTimeoutError: After `timeout_seconds` without one, `GenerationFailedError`,
                `StoreUnavailableError`.
        """
        request = dataclasses.replace(request, request_id=secrets.token_hex(16))
        body = json.dumps(dataclasses.asdict(request))
        queue, answer, reader, taken_key = _keys(self._db.prefix, request.request_id)
        await self._db.transaction(
            ("SET", reader, "1", "PX", _READER_MS),
            ("LPUSH", queue, body),
            ("PEXPIRE", queue, _LONGEST_WAIT_MS),
        )
        try:
            async for piece in self._follow(request, body, timeout_seconds):
                yield piece
        finally:
            await self._db.command("DEL", answer, reader, taken_key)

    async def _follow(
        self, request: GenerationRequest, body: str, timeout_seconds: float
    ) -> AsyncIterator[GeneratedPiece]:
        queue, answer, reader, taken_key = _keys(self._db.prefix, request.request_id)
        after, heard_at, ended = b"0-0", time.monotonic(), 0
        while True:
            reply = await self._db.blocking_command(
                "XREAD", "COUNT", 256, "BLOCK", _BLOCK_MS, "STREAMS", answer, after
            )
            await self._db.command("SET", reader, "1", "PX", _READER_MS)
            for _, entries in reply or ():
                heard_at, after = time.monotonic(), entries[-1][0]
                for _, fields in entries:
                    piece = _read_piece(fields)
                    yield piece
                    ended += bool(piece.finish_reason)
                    if ended == request.texts:
                        return
            if time.monotonic() - heard_at > timeout_seconds:
                raise GenerationTimeoutError(timeout_seconds)
            if not reply:
                await self._send_again_if_lost(queue, taken_key, body)

    async def _send_again_if_lost(self, queue: str, taken_key: str, body: str) -> None:
        """Send the request again if the worker that popped it has died: it is in no list then."""
        is_taken, place = await self._db.transaction(("EXISTS", taken_key), ("LPOS", queue, body))
        if not is_taken and place is None:
            await self._db.transaction(("LPUSH", queue, body), ("PEXPIRE", queue, _LONGEST_WAIT_MS))


class GenerationInbox:
    """A worker's side (synchronous)."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def take(self, seconds: int = 1) -> GenerationRequest | None:
        """Return the oldest waiting request whose reader still listens; None after `seconds`.

        Entries that cannot be read are dropped, since they cannot be answered.
        """
        queue, *_ = _keys(self._db.prefix, "")
        reply = self._db.blocking_command("BRPOP", queue, seconds)
        if not reply:
            return None
        try:
            request = GenerationRequest(**json.loads(reply[1]))
        except (ValueError, TypeError):
            return None
        return request if self._is_ours(request) else None

    def send(self, request: GenerationRequest, pieces: Sequence[GeneratedPiece]) -> bool:
        """Deliver pieces, in order; return False where the reader is gone: stop sampling then."""
        _, answer, reader, taken_key = _keys(self._db.prefix, request.request_id)
        added = [("XADD", answer, "*", "p", json.dumps(dataclasses.astuple(p))) for p in pieces]
        *_, listening = self._db.transaction(
            *added,
            ("PEXPIRE", answer, _ANSWER_MS),
            # A slow text may take longer than the key lives: it would be asked for again.
            ("PEXPIRE", taken_key, _LONGEST_WAIT_MS),
            ("EXISTS", reader),
        )
        return bool(listening)

    def fail(self, request: GenerationRequest, code: str, message: str) -> None:
        """End the answer with an error."""
        _, answer, *_ = _keys(self._db.prefix, request.request_id)
        self._db.transaction(
            ("XADD", answer, "*", "e", json.dumps([code, message])),
            ("PEXPIRE", answer, _ANSWER_MS),
        )

    def _is_ours(self, request: GenerationRequest) -> bool:
        """Whether the reader still listens, and no other copy of the request was taken."""
        *_, reader, taken_key = _keys(self._db.prefix, request.request_id)
        listening, first = self._db.transaction(
            ("EXISTS", reader), ("SET", taken_key, "1", "NX", "PX", _LONGEST_WAIT_MS)
        )
        return bool(listening and first)


def _keys(prefix: str, request_id: str) -> tuple[str, str, str, str]:
    """Return the list of requests.

    Of this one: its answer, its listener's sign of life, its taker's.
    """
    answer = f"{prefix}generation:{request_id}"
    return f"{prefix}generation:requests", answer, f"{answer}:reader", f"{answer}:taken"


def _read_piece(fields: dict[bytes, bytes]) -> GeneratedPiece:
    if b"e" in fields:
        code, message = json.loads(fields[b"e"])
        raise GenerationFailedError(code, message)
    return GeneratedPiece(*json.loads(fields[b"p"]))
