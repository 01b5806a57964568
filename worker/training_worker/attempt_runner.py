"""Runs what a message asks for: claims the attempt, forks its trainer, and stays until that ends.

What the parent does while a trainer runs is in `supervisor`; for a part of an attempt over several
workers, in `place_watch`.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.training.node import Node
from artifact_store import GuardedStore, attempt_prefix
from job_store.attempts import AttemptStore
from job_store.connection import Connection
from job_store.queues import own_queue, queue_name
from job_store.records import Claimed, FencingToken, Outcome
from training_worker.board import Board
from training_worker.claiming import Claims
from training_worker.copies import remove_copies
from training_worker.failures import describe_failure
from training_worker.gathering import Gathering, node_of, own_address
from training_worker.horse import run_horse
from training_worker.journal import JobJournal
from training_worker.messages import AttemptOrder, PlaceOrder
from training_worker.place_watch import PlaceWatch
from training_worker.settings import WorkerSettings
from training_worker.supervisor import Kill, Supervisor
from training_worker.temporary_files import TemporaryFiles
from training_worker.witness import Witness

logger = logging.getLogger(__name__)

_FORK_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class AttemptRunner:
    """Runs one attempt at a time, each in a forked process.

    Args:
        settings: of the worker.
        prompt: a connection that gives up within seconds.
        artifacts: where the attempts' files are.
        device: of the worker, as `ListWorkers` shows it.
        claims: claims attempts for the worker.
        witness: sees the death of this process.
        report_alive: called now and then, also while a trainer runs.
        is_leaving: whether a signal has asked the worker to leave.
        leave: does what that signal does; called where the signal came before the fork.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        prompt: Connection,
        artifacts: GuardedStore,
        device: str,
        claims: Claims,
        witness: Witness,
        *,
        report_alive: Callable[[], None],
        is_leaving: Callable[[], bool],
        leave: Callable[[], None],
    ) -> None:
        self._settings, self._prompt, self._artifacts = settings, prompt, artifacts
        self._attempts = AttemptStore(prompt)
        self._device = "cuda" if device.startswith("cuda") else "cpu"
        self._claims, self._witness = claims, witness
        self._report_alive, self._is_leaving, self._leave = report_alive, is_leaving, leave
        self._temporary_files = TemporaryFiles()
        self._watch: Supervisor | PlaceWatch | None = None
        self.current: AttemptOrder | None = None
        """The attempt that it runs now."""

    def run(self, order: AttemptOrder | PlaceOrder, forget: Callable[[], None]) -> None:
        """Train what a message asks for, up to the end of its trainer. Never raises.

        Args:
            forget: deletes the message; called once its attempt is claimed or needs no worker.
        """
        claimed = None
        try:
            if isinstance(order, PlaceOrder):
                forget()
                self._run_place(order)
                return
            claimed = self._claims.take(order)
            forget()
            if claimed is None:
                logger.info("attempt %d of job %s needs no worker", order.attempt, order.job_id)
                return
            self._run_attempt(claimed)
        except Exception as error:  # RQ's loop would end at it, in silence
            logger.exception("attempt %d of job %s: %s", order.attempt, order.job_id, error)
            if claimed is not None:
                self._give_up(claimed, error)
        finally:
            self._witness.page.release()
            self.current = self._watch = None

    def hand_back(self) -> None:
        """Have the attempt saved and handed back within the worker's grace, if there is one."""
        if self._watch is not None:
            self._watch.hand_back(self._settings.grace_seconds)

    def kill(self) -> None:
        """Kill the trainer, if there is one; its job falls back to the last checkpoint."""
        if self._watch is not None:
            self._watch.kill(Kill.FORCED)

    def close(self) -> None:
        """Remove the folder for the trainers' temporary files."""
        self._temporary_files.close()

    def _run_attempt(self, claimed: Claimed) -> None:
        """Train a claimed attempt; one over several nodes once all its workers are there."""
        token, node = claimed.token, None
        self.current = AttemptOrder(token.job_id, token.attempt)
        if claimed.record.execution.nodes > 1:
            self._report_alive()
            found = self._gather(claimed)
            if isinstance(found, Outcome):
                self._attempts.finish(token, found)
                return
            node = found
        board = Board()
        prefix = attempt_prefix(token.job_id, token.attempt, token.claim_id)
        watch = Supervisor(
            claimed,
            self._attempts,
            board,
            self._artifacts.folder(prefix),  # the trainer makes it: a store may take long
            self._artifacts,
            place_lease_seconds=self._settings.place_lease_seconds,
            renewal_seconds=self._settings.lease_renewal_seconds,
            heartbeat=self._report_alive,
        )
        logger.info("training attempt %d of job %s", token.attempt, token.job_id)
        self._run_trainer(watch, claimed, board, node)

    def _gather(self, claimed: Claimed) -> Node | Outcome:
        """Return this worker's part of a run over several nodes, or why there is none."""
        only_job, priority = self._settings.only_job, claimed.record.execution.priority
        return Gathering(
            claimed,
            self._attempts,
            self._prompt.client,
            own_address(self._settings.node_address, self._prompt.client),
            device=self._device,
            queue=own_queue(only_job) if only_job else queue_name(priority, self._device),
            patience_seconds=self._settings.gathering_seconds,
            renewal_seconds=self._settings.lease_renewal_seconds,
            heartbeat=self._report_alive,
            is_leaving=self._is_leaving,
        ).run()

    def _run_place(self, order: PlaceOrder) -> None:
        """Train a part of an attempt that another worker has claimed."""
        token = FencingToken(order.job_id, order.attempt, order.claim_id)
        claimed = self._attempts.take_place(token, order.place, secrets.token_hex(8))
        if claimed is None:
            logger.info("place %d in job %s needs no worker", order.place, order.job_id)
            return
        execution = replace(claimed.record.execution, device=order.device)
        claimed = replace(claimed, record=replace(claimed.record, execution=execution))
        self._witness.page.hold(token)
        self.current = AttemptOrder(order.job_id, order.attempt)
        own = own_address(self._settings.node_address, self._prompt.client)
        node = node_of(order, claimed.record.execution.nodes, own)
        board = Board()
        watch = PlaceWatch(
            token,
            order.place,
            self._attempts,
            board,
            renewal_seconds=self._settings.lease_renewal_seconds,
            heartbeat=self._report_alive,
        )
        logger.info("training place %d of job %s", order.place, order.job_id)
        self._run_trainer(watch, claimed, board, node)

    def _run_trainer(
        self, watch: Supervisor | PlaceWatch, claimed: Claimed, board: Board, node: Node | None
    ) -> None:
        self._watch = watch
        with self._temporary_files.for_trainer() as temporary:
            pid = self._fork(watch, claimed, board, temporary, node)
            self._report_alive()
            watch.watch(pid)
        board.close()
        remove_copies(self._artifacts, claimed.token.job_id)

    def _fork(
        self,
        watch: Supervisor | PlaceWatch,
        claimed: Claimed,
        board: Board,
        temporary: Path | None,
        node: Node | None,
    ) -> int:
        """Fork the trainer; block signals until both processes can handle them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORK_SIGNALS)
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            os.setpgrp()  # Ctrl-C in a terminal reaches the parent alone, which sends SIGTERM
            self._witness.page.name_trainer()
            run_horse(claimed, self._settings, board, self._artifacts, parent, temporary, node)
        if node is not None and node.listener is not None:
            node.listener.close()  # the trainer has it
        watch.attach(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORK_SIGNALS)
        if self._is_leaving():  # the signal came between the pop and the fork
            self._leave()
        return pid

    def _give_up(self, claimed: Claimed, error: Exception) -> None:
        """Report that the trainer could not be started; where Redis is away, the lease runs out."""
        try:
            self._attempts.finish(claimed.token, describe_failure(error, ""))
            JobJournal(self._attempts, self._artifacts, claimed.token.job_id).record_end()
        except Exception as refusal:
            logger.warning("the failure of job %s waits: %s", claimed.token.job_id, refusal)
