"""Evaluations: a body that chooses between events and one JSON, and that JSON."""

from __future__ import annotations

from pydantic import Field

from gateway.schemas.shapes import answer, body
from training_engine.v1.checkpoint_pb2 import EvaluateCheckpointRequest, Evaluation


class EvaluateBody(body(EvaluateCheckpointRequest.DESCRIPTOR, ("checkpoint_id",))):  # type: ignore[misc]
    """What to measure."""

    stream: bool = Field(
        True, description="true for server-sent events `progress`; false for one JSON."
    )


class MeasuredCheckpoint(answer(Evaluation.DESCRIPTOR)):  # type: ignore[misc]
    """How well a checkpoint's model predicts data."""

    checkpoint_id: str = Field(description="The checkpoint that was measured.")
