"""What an attempt needs before its trainer is built: its folder and its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from artifact_store import GuardedStore, attempt_prefix, make_folder
from job_store.records import Claimed
from training_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from app.training.config import TrainingConfig


def attempt_folder(artifacts: GuardedStore, claimed: Claimed) -> Path:
    """Make and return the folder of this claim; no other process ever writes there.

    Raises:
        ArtifactStoreAwayError: The store is away, and the folder would be made in its place.
    """
    artifacts.require()
    token = claimed.token
    folder = artifacts.folder(attempt_prefix(token.job_id, token.attempt, token.claim_id))
    make_folder(folder)
    return folder


def resolve_configuration(
    claimed: Claimed, folder: Path, settings: WorkerSettings
) -> TrainingConfig:
    """Return the job's configuration, with what the service decides filled in."""
    from app.training.config import DistributedConfig, TrainingConfig

    config, _ = TrainingConfig.read(json.loads(claimed.record.config_document))
    config.checkpoint_dir = str(folder)
    config.resume_from_checkpoint = False
    device = claimed.record.execution.device
    if device != "auto":
        config.device = device
    elif config.device == "auto":
        config.device = settings.device
    if (processes := claimed.record.execution.processes) > 1:
        distributed = config.distributed
        # Checked, since the configuration is not validated yet.
        if not isinstance(distributed, DistributedConfig):
            distributed = DistributedConfig()
        config.distributed = DistributedConfig(distributed.strategy, processes)
    return config


def refuse_several_nodes(claimed: Claimed) -> None:
    """Raise `UnsupportedExecutionError` for a job that is to run on several machines."""
    if (nodes := claimed.record.execution.nodes) > 1:
        raise UnsupportedExecutionError(
            f"`execution.nodes` is {nodes}; this worker trains on its own machine alone; leave it "
            "out"
        )


class UnsupportedExecutionError(ValueError):
    """The job asks for something that this worker cannot do."""
