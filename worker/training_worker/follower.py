"""Ranks from 1 on: they train, and neither report to the store nor save."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from training_worker.failures import describe_failure, print_failure
from training_worker.ranks import StopPipe, agree_on_files, write_failure
from training_worker.settings import WorkerSettings

_LOST_PEER_SECONDS = 2.0
"""In which this node's agent ends all its processes, should it have been one of them."""


def follow(
    config: Any, settings: WorkerSettings, folder: Path, stop: StopPipe, until: int | None
) -> None:
    """Train until all processes end together; write a failure to a file for rank 0.

    Args:
        stop: on a node without rank 0 its first process heeds the requests to stop.
        until: the step at which all pause, where a sweep wants that.
    """
    logging.getLogger().setLevel(logging.ERROR)  # rank 0 logs warnings for all
    from app.training.distributed import is_lost_peer
    from app.training.errors import LostPeerError
    from app.training.nodes import node_count, report_failure

    try:
        _train(config, settings, stop, until)
    except Exception as error:
        if isinstance(error, LostPeerError) or is_lost_peer(error):
            if node_count() > 1:  # the one that is gone may be on another machine
                time.sleep(_LOST_PEER_SECONDS)
                raise SystemExit(1) from None
            # The rank that is gone has the error that counts. The agent is about to end this
            # process, and must not take it for the one that failed first.
            while True:
                signal.pause()
        rank = int(os.environ["RANK"])
        print(f"rank {rank}:", file=sys.stderr)
        print_failure(error)
        write_failure(folder, rank, describe_failure(error, ""))
        report_failure(str(error))
        raise SystemExit(1) from None


def _train(config: Any, settings: WorkerSettings, stop: StopPipe, until: int | None) -> None:
    import torch

    from app.training.data import load_dataset
    from app.training.distributed import join
    from app.training.trainer import Trainer

    ranks = join(config)
    torch.set_num_threads(settings.threads_of_rank(ranks.local_size))
    agree_on_files(ranks, config)
    train, validation = load_dataset(config.dataset_path, config)
    trainer = Trainer(config, train, validation)
    if is_first_of_other_node():
        stop.forward_to(lambda outcome: trainer.request_stop())
    trainer.train(until)


def is_first_of_other_node() -> bool:
    """Whether this process is the first one of a node that does not have rank 0."""
    return os.environ["LOCAL_RANK"] == "0" and os.environ["RANK"] != "0"
