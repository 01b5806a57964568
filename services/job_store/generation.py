"""Requests for generated text, and the text on its way back; see `inference_requests`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from job_store.inference_requests import InferenceRequest, RequestClient, RequestInbox, RequestKind

_KIND = RequestKind("generation", wanted="text", reply="a token", taken_ms=120_000)


@dataclass(frozen=True, slots=True)
class GenerationRequest(InferenceRequest):
    """What to sample, and from which file."""

    prompt: str
    max_tokens: int = 256
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    messages: Sequence[tuple[str, str]] = ()
    """Role and content of the turns of a conversation to answer, in place of a prompt."""
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    min_p: float | None = None
    repetition_penalty: float | None = None
    num_samples: int = 1
    logprobs: int | None = None
    prompts: Sequence[str] = ()
    """Texts to continue, in place of one prompt."""
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    prompt_ids: Sequence[int] = ()
    """Tokens to continue, in place of a prompt."""
    prompt_logprobs: int | None = None

    @property
    def texts(self) -> int:
        """How many texts are sampled."""
        return max(len(self.prompts), 1) * self.num_samples


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
    prompt_logprobs: Sequence[tuple[int, str, float | None, Sequence[tuple[int, str, float]]]] = ()
    """Id, text, log-probability and likeliest tokens of each token of the prompt."""
    prompt_text: str | None = None


class GenerationClient(RequestClient):
    """The control plane's side."""

    kind = _KIND

    async def generate(
        self, request: GenerationRequest, timeout_seconds: float = 30.0
    ) -> AsyncIterator[GeneratedPiece]:
        """Yield pieces as they are sampled; leaving the iterator stops the sampling within seconds.

        Raises what `ask` raises.
        """
        ended = 0
        replies = self.ask(request, timeout_seconds)
        async with aclosing(replies):  # type: ignore[type-var]
            async for reply in replies:
                piece = GeneratedPiece(*reply)
                yield piece
                ended += bool(piece.finish_reason)
                if ended == request.texts:
                    return


class GenerationInbox(RequestInbox[GenerationRequest]):
    """A worker's side (synchronous); its replies are `GeneratedPiece`s."""

    kind, request = _KIND, GenerationRequest
