"""Checkpoints and text sampled from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas import examples
from gateway.schemas.base import INT32_MAX, INT64_MAX, Answer, Body, PageToken, with_example


class Checkpoint(Answer):
    """A registered checkpoint."""

    model_config = with_example(examples.CHECKPOINT)

    checkpoint_id: str = Field(description="Its id.")
    job_id: str = Field(description="The job that saved it.")
    step: int = Field(description="The optimizer step that it was saved after.")
    loss: float | None = Field(description="The loss of that step; null where none was measured.")
    val_loss: float | None = Field(
        description="The validation loss at that step; null where none was measured."
    )
    size_bytes: int = Field(description="Size of the file.")
    sha256: str = Field(description="SHA-256 of the file, lower-case hex.")
    created_at: str | None = Field(description="When it was registered, RFC 3339, UTC.")
    is_best: bool = Field(description="True for the one with the best `best_metric` so far.")
    attempt: int = Field(description="The attempt that saved it.")


class CheckpointPage(Answer):
    """Checkpoints, ascending by step."""

    model_config = with_example({"checkpoints": [examples.CHECKPOINT], "next_page_token": None})

    checkpoints: list[Checkpoint] = Field(description="The rows.")
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
    seed: Annotated[int, Field(ge=0, le=INT64_MAX)] | None = Field(
        None, description="Equal seeds give equal text; null for another text each time."
    )
    stream: bool = Field(
        True, description="true for server-sent events `token`; false for one JSON."
    )


class GeneratedToken(Answer):
    """The data of one `token` event; the last one names its finish_reason."""

    model_config = with_example({"index": 0, "token_id": 84, "text": "T", "finish_reason": None})

    index: int = Field(description="Counts from 0.")
    token_id: int = Field(description="Id of the token in the vocabulary.")
    text: str = Field(description="Text that became whole with this token; may be empty.")
    finish_reason: Literal["length", "stop"] | None = Field(
        description="On the last token: `length` or `stop`; null before."
    )


class GeneratedText(Answer):
    """The whole text at once."""

    model_config = with_example(
        {
            "checkpoint_id": examples.CHECKPOINT_ID,
            "prompt": "ROMEO:",
            "text": " Tis",
            "token_ids": [32, 84, 105, 115],
            "finish_reason": "length",
        }
    )

    checkpoint_id: str = Field(description="The checkpoint that was sampled.")
    prompt: str = Field(description="The prompt, as it was sent.")
    text: str = Field(description="What continues the prompt.")
    token_ids: list[int] = Field(description="The sampled tokens.")
    finish_reason: Literal["length", "stop"] | None = Field(
        description="Why it ended: `length` after max_tokens, `stop` at an end token."
    )
