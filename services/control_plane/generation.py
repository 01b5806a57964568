"""GenerationService: has a worker sample text from a checkpoint, and passes it through."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from control_plane.errors import invalid_argument, shutting_down
from control_plane.state import Context, Servicer
from job_store.generation import GeneratedPiece, GenerationRequest
from job_store.records import CheckpointRecord
from training_engine.v1 import generation_pb2, generation_pb2_grpc

_MAX_PROMPT = 100_000
_MAX_TOKENS = 100_000
_MAX_STOPS, _MAX_STOP, _MAX_STOP_IDS = 16, 200, 100
_MAX_SAMPLES = _MAX_PROMPTS = 64
_MAX_LOGPROBS = 20
_OPTIONS = (
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "num_samples",
    "logprobs",
    "prompt_logprobs",
    "averaged",
)
_LOGPROBS = f"0 to {_MAX_LOGPROBS}; leave it out for none"
_PENALTIES = "-2 to 2; try 0.5, or leave it out"
_FINISH_REASONS: dict[str, Any] = {
    "length": generation_pb2.FINISH_REASON_LENGTH,
    "stop": generation_pb2.FINISH_REASON_STOP,
}


class GenerationServicer(Servicer, generation_pb2_grpc.GenerationServiceServicer):
    """See `generation.proto`."""

    async def Generate(
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[generation_pb2.GenerateResponse]:
        _check(request)
        checkpoint = await self._state.jobs.get_checkpoint(request.checkpoint_id)
        pieces = self._state.generation.generate(
            _request_of(request, checkpoint), self._state.settings.generate_timeout_seconds
        )
        # Closed as soon as the client leaves, so that the worker stops sampling.
        async with aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                yield _response_of(piece)
                if self._state.shutting_down and not piece.finish_reason:
                    raise shutting_down()


def _check(request: generation_pb2.GenerateRequest) -> None:
    said = sum(len(message.content) for message in request.messages)
    prompts = sum(map(len, request.prompts))
    lengths = (("prompt", len(request.prompt)), ("prompts", prompts), ("messages", said))
    for field, length in lengths:
        if length > _MAX_PROMPT:
            message = f"`{field}` has {length} characters; it must have at most"
            raise invalid_argument(field, f"{message} {_MAX_PROMPT}; shorten it")
    _check_texts(request)
    for field, holds, rule in (
        ("max_tokens", 1 <= request.max_tokens <= _MAX_TOKENS, f"1 to {_MAX_TOKENS}; try 256"),
        ("temperature", 0 <= request.temperature < math.inf, "at least 0 and finite; try 1"),
        ("top_k", request.top_k >= 1, "at least 1; leave it out for all tokens"),
        ("seed", request.seed >= 0, "at least 0; leave it out for another text each time"),
        ("top_p", 0 < request.top_p <= 1, "above 0 and at most 1; leave it out for all tokens"),
        ("min_p", 0 <= request.min_p <= 1, "at least 0 and at most 1; leave it out for all tokens"),
        (
            "repetition_penalty",
            0 < request.repetition_penalty < math.inf,
            "above 0 and finite; try 1.1, or leave it out",
        ),
        ("frequency_penalty", -2 <= request.frequency_penalty <= 2, _PENALTIES),
        ("presence_penalty", -2 <= request.presence_penalty <= 2, _PENALTIES),
        ("num_samples", 1 <= request.num_samples <= _MAX_SAMPLES, f"1 to {_MAX_SAMPLES}"),
        ("logprobs", 0 <= request.logprobs <= _MAX_LOGPROBS, _LOGPROBS),
        ("prompt_logprobs", 0 <= request.prompt_logprobs <= _MAX_LOGPROBS, _LOGPROBS),
    ):
        if request.HasField(field) and not holds:
            value = getattr(request, field)
            raise invalid_argument(field, f"`{field}` is {value}; it must be {rule}")
    _check_stops(request)


def _check_texts(request: generation_pb2.GenerateRequest) -> None:
    names = ("prompt", "prompts", "messages", "prompt_ids")
    given = [name for name in names if getattr(request, name)]
    if len(given) > 1:
        rule = "there must be one of the two; leave one out"
        raise invalid_argument(given[1], f"`{given[1]}` and `{given[0]}` are both given; {rule}")
    if len(request.prompt_ids) > _MAX_PROMPT:
        message = f"`prompt_ids` has {len(request.prompt_ids)} entries; it must have at most"
        raise invalid_argument("prompt_ids", f"{message} {_MAX_PROMPT}; shorten it")
    if len(request.prompts) > _MAX_PROMPTS:
        rule = f"there must be at most {_MAX_PROMPTS}; send the others in another call"
        raise invalid_argument("prompts", f"`prompts` has {len(request.prompts)} entries; {rule}")


def _check_stops(request: generation_pb2.GenerateRequest) -> None:
    for field, most in (("stop", _MAX_STOPS), ("stop_token_ids", _MAX_STOP_IDS)):
        count = len(getattr(request, field))
        if count > most:
            rule = f"there must be at most {most}; leave some out"
            raise invalid_argument(field, f"`{field}` has {count} entries; {rule}")
    for text in request.stop:
        if not 1 <= len(text) <= _MAX_STOP:
            rule = f"each must have 1 to {_MAX_STOP}; shorten it, or leave it out"
            raise invalid_argument("stop", f"`stop` has a text of {len(text)} characters; {rule}")


def _request_of(
    request: generation_pb2.GenerateRequest, checkpoint: CheckpointRecord
) -> GenerationRequest:
    options: dict[str, Any] = {
        name: getattr(request, name) for name in _OPTIONS if request.HasField(name)
    }
    return GenerationRequest.of(
        checkpoint,
        request.prompt,
        messages=[(message.role, message.content) for message in request.messages],
        stop=[*request.stop],
        prompts=[*request.prompts],
        stop_token_ids=[*request.stop_token_ids],
        prompt_ids=[*request.prompt_ids],
        **options,
    )


def _response_of(piece: GeneratedPiece) -> generation_pb2.GenerateResponse:
    return generation_pb2.GenerateResponse(
        index=piece.index,
        token_id=piece.token_id,
        text=piece.text,
        finish_reason=_FINISH_REASONS.get(piece.finish_reason),
        sample=piece.sample,
        prompt_tokens=piece.prompt_tokens,
        dropped_prompt_tokens=piece.dropped_prompt_tokens,
        logprob=piece.logprob,
        token_text=piece.token_text,
        top_logprobs=_likeliest(piece.top_logprobs),
        prompt_index=piece.prompt_index,
        prompt_logprobs=[
            generation_pb2.PromptToken(
                token_id=token_id, text=text, logprob=logprob, top_logprobs=_likeliest(likeliest)
            )
            for token_id, text, logprob, likeliest in piece.prompt_logprobs
        ],
        prompt_text=piece.prompt_text,
    )


def _likeliest(tokens: Iterable[tuple[int, str, float]]) -> list[generation_pb2.TokenLogprob]:
    return [
        generation_pb2.TokenLogprob(token_id=token_id, text=text, logprob=logprob)
        for token_id, text, logprob in tokens
    ]
