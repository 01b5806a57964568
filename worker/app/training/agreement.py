"""Whether all processes of a run have the same configuration and the same data."""

from __future__ import annotations

import json
from typing import Any

from app.training.batches import sample_count
from app.training.config import TrainingConfig, flatten
from app.training.distributed import Ranks
from app.training.errors import TrainingError

_OF_THE_NODE = frozenset(
    {
        "checkpoint_dir",
        "dataset_path",
        "device",
        "initial_adapter",
        "initial_weights",
        "num_workers",
        "resume_from_checkpoint",
        "tokenizer",
        "val_dataset_path",
    }
)
"""Fields that may differ: paths, and a device by name; what they lead to is compared."""
_SAMPLES, _CONTENT = "the number of samples", "the content of the data"
_DEVICE = "the kind of device"


def require_agreement(config: TrainingConfig, dataset: Any, ranks: Ranks) -> None:
    """Compare this process with rank 0: on several nodes each reads files of its own.

    Raises:
        TrainingError: Something that the run depends on differs. It lists everything.
    """
    ours = _facts(config, dataset) | {_DEVICE: ranks.device.type}
    theirs = json.loads(ranks.broadcast(json.dumps(ours)))
    differing = [
        f"{name} is {ours.get(name)} and there {theirs.get(name)}"
        for name in dict.fromkeys([*theirs, *ours])
        if ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise TrainingError(
            f"rank {ranks.rank} would not train what rank 0 does: {'; '.join(differing)}; all "
            "processes need the same configuration and the same data; copy both to every node"
        )


def _facts(config: TrainingConfig, dataset: Any) -> dict[str, str]:
    fields = {
        name: repr(value)
        for name, value in flatten(config.to_dict()).items()
        if name not in _OF_THE_NODE and not name.startswith("data.sources")
    }
    content = str(getattr(dataset, "fingerprint", None))
    return {**fields, _SAMPLES: str(sample_count(dataset, "train_dataset")), _CONTENT: content}
