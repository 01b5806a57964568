"""The metrics of a checkpoint's record, from its file and from what was validated at its step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.training.checkpoint_file import CheckpointInfo


def measured_metrics(info: CheckpointInfo, validated: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of the checkpoint's step.

    Where one of them decides which checkpoint is best, it has the value that is compared.
    """
    metrics = dict(validated)
    if info.metric is not None and info.metric_value is not None:
        metrics[info.metric] = info.metric_value
    return metrics
