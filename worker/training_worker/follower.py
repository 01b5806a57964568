"""Ranks from 1 on: they train, and neither report to Redis nor save."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from app.training import progress
from artifact_store import ArtifactError, GuardedStore
from job_store.records import Claimed
from training_worker.board import Board
from training_worker.datasets import restrict_reading
from training_worker.failures import describe_failure, print_failure
from training_worker.ranks import FailureNotes, StopPipe, agree_on_files
from training_worker.settings import WorkerSettings
from training_worker.stored_files import StoredFiles

_LOST_PEER_SECONDS = 2.0
"""In which this node's agent ends all its processes, should it have been one of them."""


def follow(
    claimed: Claimed,
    config: Any,
    settings: WorkerSettings,
    artifacts: GuardedStore,
    stop: StopPipe,
    board: Board,
) -> None:
    """Train until all processes end together; write a failure to a file for rank 0.

    Args:
        stop: on a node without rank 0 its first process heeds the requests to stop.
        board: shows the parent that data is read; rank 0 waits for that, and is not stuck.
    """
    logging.getLogger().setLevel(logging.ERROR)  # rank 0 logs warnings for all
    from app.training.distributed import is_lost_peer
    from app.training.errors import LostPeerError
    from app.training.nodes import node_count, report_failure

    try:
        with (
            progress.reporting_to(lambda size: board.pulse()),
            progress.encoding_shown_to(board.show_encoding),
        ):
            _train(claimed, config, settings, StoredFiles(artifacts), stop)
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
        notes = FailureNotes(artifacts, claimed.token, node_count())
        notes.write(rank, describe_failure(error, ""))
        report_failure(str(error))
        raise SystemExit(1) from None


def _train(
    claimed: Claimed, config: Any, settings: WorkerSettings, files: StoredFiles, stop: StopPipe
) -> None:
    import torch

    from app.training.data import load_dataset
    from app.training.distributed import join
    from app.training.trainer import Trainer

    ranks = join(config)
    torch.set_num_threads(settings.threads_of_rank(ranks.local_size))
    restrict_reading(claimed.record, files.artifacts)
    if is_first_of_other_node():
        _bring_early(claimed, files)
    agree_on_files(ranks, config, files)
    train, validation = load_dataset(config.dataset_path, config)
    trainer = Trainer(config, train, validation)
    if is_first_of_other_node():
        stop.forward_to(lambda outcome: trainer.request_stop())
    trainer.train(claimed.record.stop_at_step)


def _bring_early(claimed: Claimed, files: StoredFiles) -> None:
    """Begin to bring the newest checkpoint while rank 0 does so; which one it is rank 0 decides."""
    newest = claimed.resume_from
    if newest is not None and files.artifacts.local_path(newest.artifact) is None:
        with suppress(ArtifactError):
            files.take(newest)


def is_first_of_other_node() -> bool:
    """Whether this process is the first one of a node that does not have rank 0."""
    return os.environ["LOCAL_RANK"] == "0" and os.environ["RANK"] != "0"
