"""Sampling: a body that chooses between events and one JSON, and that JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.schemas.base import Answer
from gateway.schemas.shapes import answer, body
from training_engine.descriptions import description
from training_engine.v1.generation_pb2 import GenerateRequest, PromptToken, TokenLogprob

_PROMPT = description(GenerateRequest.DESCRIPTOR.fields_by_name["prompt"])


class GenerateBody(body(GenerateRequest.DESCRIPTOR, ("checkpoint_id",))):  # type: ignore[misc]
    """What to sample, and how."""

    prompt: str = Field("", description=_PROMPT)
    stream: bool = Field(
        True, description="true for server-sent events `token`; false for one JSON."
    )


class SampledToken(answer(TokenLogprob.DESCRIPTOR)):  # type: ignore[misc]
    """A sampled token, and the tokens that were likeliest at its place."""

    top_logprobs: list[answer(TokenLogprob.DESCRIPTOR)] = Field(  # type: ignore[valid-type]
        description="The likeliest tokens, the likeliest first."
    )


class GeneratedSample(Answer):
    """One continuation of the prompt."""

    text: str = Field(description="What continues the prompt.")
    token_ids: list[int] = Field(description="The sampled tokens.")
    finish_reason: Literal["length", "stop"] | None = Field(
        description="Why it ended: `length` after max_tokens, `stop` at an end token or text."
    )
    logprobs: list[SampledToken] | None = Field(
        description="Log-probabilities of its tokens; absent where they were not asked for."
    )


class PromptAnswer(Answer):
    """What continues one prompt."""

    prompt: str = Field(description="The prompt, as it was sent.")
    text: str = Field(description="What continues the prompt; of the first sample.")
    token_ids: list[int] = Field(description="The sampled tokens; of the first sample.")
    finish_reason: Literal["length", "stop"] | None = Field(
        description="Why it ended; of the first sample."
    )
    prompt_tokens: int | None = Field(
        description="Tokens of the prompt, those that were left out included."
    )
    dropped_prompt_tokens: int | None = Field(
        description="Tokens at the beginning of the prompt that the model did not see, since its "
        "context is shorter."
    )
    prompt_logprobs: list[answer(PromptToken.DESCRIPTOR)] | None = Field(  # type: ignore[valid-type]
        description="All tokens of the prompt; absent where they were not asked for."
    )
    prompt_text: str | None = Field(
        description="Then also: the prompt's text, as its tokens give it; of `messages`, as the "
        "chat template wrote them.",
    )
    samples: list[GeneratedSample] = Field(description="All samples, the first one included.")


class GeneratedText(PromptAnswer):
    """The whole text at once."""

    checkpoint_id: str = Field(description="The checkpoint that was sampled.")
    answers: list[PromptAnswer] | None = Field(
        None, description="Of each of `prompts`, in their order; absent for one prompt."
    )
