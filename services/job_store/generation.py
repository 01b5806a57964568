"""Requests for generated text, and the text on its way back; see `inference_requests`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from job_store.connection import AsyncConnection, Connection
from job_store.inference_requests import RequestClient, RequestInbox, RequestKind
from job_store.records import CheckpointRecord

_KIND = RequestKind("generation", wanted="text", reply="a token", taken_ms=120_000)


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
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    prompt_ids: Sequence[int] = ()
    """Tokens to continue, in place of a prompt."""

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
        self._requests = RequestClient(connection, _KIND)

    async def generate(
        self, request: GenerationRequest, timeout_seconds: float = 30.0
    ) -> AsyncIterator[GeneratedPiece]:
        """Yield pieces as they are sampled; leaving the iterator stops the sampling within seconds.

        Raises what `RequestClient.ask` raises.
        """
        ended = 0
        replies = self._requests.ask(dataclasses.asdict(request), timeout_seconds)
        async with aclosing(replies):  # type: ignore[type-var]
            async for reply in replies:
                piece = GeneratedPiece(*reply)
                yield piece
                ended += bool(piece.finish_reason)
                if ended == request.texts:
                    return


class GenerationInbox:
    """A worker's side (synchronous)."""

    def __init__(self, connection: Connection) -> None:
        self._inbox = RequestInbox(connection, _KIND)

    def take(self, seconds: int = 1) -> GenerationRequest | None:
        """Return the oldest waiting request, see `RequestInbox.take`."""
        try:
            fields = self._inbox.take(seconds)
            return None if fields is None else GenerationRequest(**fields)
        except TypeError:  # of another release
            return None

    def send(self, request: GenerationRequest, pieces: Sequence[GeneratedPiece]) -> bool:
        """Deliver pieces, in order; return False where the reader is gone: stop sampling then."""
        return self._inbox.send(request.request_id, [dataclasses.astuple(p) for p in pieces])

    def fail(self, request: GenerationRequest, code: str, message: str, field: str = "") -> None:
        """End the answer with an error about a field of the request, or about none."""
        self._inbox.fail(request.request_id, code, message, field)
