"""Checkpoints and text sampled from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import INT32_MAX, INT64_MAX, Answer, Body, PageToken, with_example


class Checkpoint(Answer):
    """A registered checkpoint."""

    checkpoint_id: str
    job_id: str
    step: int
    loss: float | None
    size_bytes: int
    sha256: str
    created_at: str | None
    is_best: bool = Field(description="True for the one with the best `best_metric` so far.")
    attempt: int


class CheckpointPage(Answer):
    """Checkpoints, newest first."""

    checkpoints: list[Checkpoint]
    next_page_token: PageToken


class GenerateBody(Body):
    """What to sample, and how."""

    model_config = with_example(
        {"prompt": "ROMEO:", "max_tokens": 100, "temperature": 0.8, "seed": 1},
        extra="forbid",
        strict=True,
    )

    prompt: str = Field("", description="The text to continue.")
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Tokens to sample. Default 256."
    )
    temperature: Annotated[float, Field(ge=0)] | None = Field(
        None, description="0 always takes the likeliest token. Default 1."
    )
    top_k: Annotated[int, Field(ge=1, le=INT32_MAX)] | None = Field(
        None, description="Sample among the k likeliest; null for all."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Sample among the likeliest that hold this much probability."
    )
    seed: Annotated[int, Field(ge=-(2**63), le=INT64_MAX)] | None = Field(
        None, description="Equal seeds give equal text; null for another text each time."
    )
    stream: bool = Field(
        True, description="true for server-sent events `token`; false for one JSON."
    )


class GeneratedToken(Answer):
    """The data of one `token` event; the last one names its finish_reason."""

    index: int
    token_id: int
    text: str = Field(description="Text that became whole with this token; may be empty.")
    finish_reason: Literal["length", "stop"] | None


class GeneratedText(Answer):
    """The whole text at once."""

    checkpoint_id: str
    prompt: str
    text: str
    token_ids: list[int]
    finish_reason: Literal["length", "stop"] | None
