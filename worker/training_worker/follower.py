"""Ranks from 1 on: they train, and neither report to the store nor save."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from training_worker.failures import describe_failure, print_failure
from training_worker.ranks import agree_on_files, write_failure
from training_worker.settings import WorkerSettings


def follow(config: Any, settings: WorkerSettings, folder: Path) -> None:
    """Train until all processes end together; write a failure to a file for rank 0."""
    logging.getLogger().setLevel(logging.ERROR)  # rank 0 logs warnings for all
    from app.training.distributed import is_lost_peer
    from app.training.errors import LostPeerError

    try:
        _train(config, settings)
    except Exception as error:
        if isinstance(error, LostPeerError) or is_lost_peer(error):
            # The rank that is gone has the error that counts. The agent is about to end this
            # process, and must not take it for the one that failed first.
            while True:
                signal.pause()
        rank = int(os.environ["RANK"])
        print(f"rank {rank}:", file=sys.stderr)
        print_failure(error)
        write_failure(folder, rank, describe_failure(error, ""))
        raise SystemExit(1) from None


def _train(config: Any, settings: WorkerSettings) -> None:
    import torch

    from app.training.data import load_dataset
    from app.training.distributed import join
    from app.training.trainer import Trainer

    ranks = join(config)
    torch.set_num_threads(settings.threads_of_rank(ranks.world_size))
    agree_on_files(ranks, config)
    train, validation = load_dataset(config.dataset_path, config)
    Trainer(config, train, validation).train()
