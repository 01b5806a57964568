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
    execution = claimed.record.execution
    if execution.processes > 1 or execution.nodes > 1:
        distributed = config.distributed
        # Checked, since the configuration is not validated yet.
        if not isinstance(distributed, DistributedConfig):
            distributed = DistributedConfig()
        of_node = distributed.processes if execution.processes == 1 else execution.processes
        total = of_node and of_node * execution.nodes
        config.distributed = DistributedConfig(distributed.strategy, total)
    return config


def processes_of_node(config: TrainingConfig, nodes: int) -> int:
    """Return how many processes each node has; 1 for a bad configuration, which one reports."""
    if config.problems():
        return 1
    from app.training.distributed import expected_processes

    asked_for = config.distributed is not None and config.distributed.processes is not None
    return expected_processes(config) // (nodes if asked_for else 1)
