"""Sampling: a body that chooses between events and one JSON, and that JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.schemas.base import Answer
from gateway.schemas.shapes import body
from training_engine.descriptions import description
from training_engine.v1.generation_pb2 import GenerateRequest

_PROMPT = description(GenerateRequest.DESCRIPTOR.fields_by_name["prompt"])


class GenerateBody(body(GenerateRequest.DESCRIPTOR, ("checkpoint_id",))):  # type: ignore[misc]
    """What to sample, and how."""

    prompt: str = Field("", description=_PROMPT)
    stream: bool = Field(
        True, description="true for server-sent events `token`; false for one JSON."
    )


class GeneratedText(Answer):
    """The whole text at once."""

    checkpoint_id: str = Field(description="The checkpoint that was sampled.")
    prompt: str = Field(description="The prompt, as it was sent.")
    text: str = Field(description="What continues the prompt.")
    token_ids: list[int] = Field(description="The sampled tokens.")
    finish_reason: Literal["length", "stop"] | None = Field(
        description="Why it ended: `length` after max_tokens, `stop` at an end token."
    )
