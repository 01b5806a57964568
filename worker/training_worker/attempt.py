"""One attempt of a job, in the process that trains it: data, trainer, reports, and its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.training import progress
from app.training.data_warnings import warnings_to
from app.training.preparation import Preparation, WorkDone
from app.training.run_folder import TRACKERS_FOLDER
from artifact_store import ArtifactStoreAwayError, GuardedStore, attempt_prefix
from job_store.attempts import AttemptStore
from job_store.durability import DiskWatch
from job_store.errors import (
    FencedError,
    NotFoundError,
    StoreUnavailableError,
    TransitionRefusedError,
)
from job_store.ids import new_id
from job_store.records import (
    CheckpointRecord,
    Claimed,
    Outcome,
    OutcomeKind,
    Phase,
    PhaseProgress,
)
from job_store.workers import WorkerRegistry
from training_worker.board import Board
from training_worker.checkpoint_metrics import measured_metrics
from training_worker.copies import drop_copy
from training_worker.datasets import find_data, find_weights, restrict_reading
from training_worker.exits import End
from training_worker.failed_saves import FailedSaves
from training_worker.failures import describe_failure, print_failure
from training_worker.journal import JobJournal
from training_worker.output import OutputReader, output_tail
from training_worker.own_callbacks import own_callbacks
from training_worker.publisher import Publisher, StartReport
from training_worker.ranks import FailureNotes, agree_on_files
from training_worker.resume import ResumePoint, choose_resume_point
from training_worker.set_up import resolve_configuration
from training_worker.settings import WorkerSettings
from training_worker.spool import SpoolReader, SpoolWriter
from training_worker.stop_request import StopRequest
from training_worker.stored_files import StoredFiles

if TYPE_CHECKING:
    from app.training.checkpoint_file import CheckpointInfo
    from app.training.errors import CheckpointError
    from app.training.trainer import Trainer
    from app.training.validation_samples import PromptSample
    from app.transformer.errors import FieldProblem

logger = logging.getLogger(__name__)

_UNBOUNDED = 1 << 60
"""Checkpoints that the library's own rotation keeps: all, see `retention`."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What an attempt talks to, on connections of its own."""

    attempts: AttemptStore
    publishing: AttemptStore
    """For one thread at a time; says so before it uses a new connection."""
    disk: DiskWatch
    """Of the publishing thread, on a connection of its own."""
    workers: WorkerRegistry
    artifacts: GuardedStore


class Attempt:
    """Trains one claimed attempt to its end and reports it.

    Args:
        claimed: the job, the fencing token and the checkpoint to continue; its folder is there.
        stores: connections of this process.
        board: shown to the parent process.
        stop: asked from outside.
        on_fenced: called from the publisher when another attempt has taken over; must not return.
    """

    def __init__(
        self,
        claimed: Claimed,
        stores: Stores,
        settings: WorkerSettings,
        board: Board,
        stop: StopRequest,
        on_fenced: Any,
    ) -> None:
        self._claimed, self._stores, self._settings = claimed, stores, settings
        self._board, self._stop = board, stop
        self.prefix = attempt_prefix(
            claimed.token.job_id, claimed.token.attempt, claimed.token.claim_id
        )
        self.folder = stores.artifacts.folder(self.prefix)
        self._config = resolve_configuration(claimed, self.folder, settings)
        self._spool = SpoolWriter(self.folder)
        self._points = SpoolReader(self.folder)
        self._resume = ResumePoint(None, 0, None)
        self._pause_at = claimed.record.stop_at_step
        self._validated: dict[int, Mapping[str, float]] = {}
        """Validation metrics by step, for checkpoints that are still to be registered."""
        self._samples: Sequence[PromptSample] = ()
        """Of the step whose metrics come next."""
        self._warnings: dict[str, None] = {}
        """About the data, each once and in order."""
        self._end = End.FAILED_HERE
        self._preparation = Preparation(self._show_work)
        self._failed_saves = FailedSaves(board, settings.full_disk_patience_seconds)
        self._publisher = Publisher(
            claimed,
            stores.publishing,
            stores.artifacts,
            self._spool,
            self._points,
            OutputReader(self.folder, max_bytes=int(settings.max_output_mib * (1 << 20))),
            board,
            disk=stores.disk,
            keep_checkpoints=self._config.max_checkpoints_to_keep,
            progress_seconds=settings.progress_seconds,
            on_stop=lambda: stop.request(OutcomeKind.STOPPED),
            on_fenced=on_fenced,
        )

    def run(self) -> End:
        """Train, deliver everything, and only then end the attempt in the job's record.

        Return what that means for the other processes of the run, if it has any.
        """
        self._publisher.start()
        outcome = self._train_to_outcome()
        self._publisher.drain()
        self._finish(outcome)
        self._spool.close()
        self._points.close()
        return self._end

    def _train_to_outcome(self) -> Outcome:
        try:
            self._config.validate()
            show_text = self._board.show_encoding
            with (
                progress.reporting_to(self._advance),
                progress.encoding_shown_to(show_text),
                warnings_to(self._keep_warning),
            ):
                trainer = self._build_trainer()
            if self._stop.outcome is None:
                trainer.train(self._pause_at)
                self._end = End.TOGETHER
                if not trainer.stopped:
                    return Outcome(OutcomeKind.SUCCEEDED, message=trainer.ended_early or "")
                if trainer.is_paused:
                    return Outcome(OutcomeKind.STOPPED, message=self._pause_message())
            return Outcome(self._stop.outcome or self._stopped_elsewhere())
        except Exception as error:
            print_failure(error)
            return self._failure(error)

    def _pause_message(self) -> str:
        record = self._claimed.record
        return f"paused at step {self._pause_at} of {record.max_steps}, as its sweep wants it"

    def _stopped_elsewhere(self) -> OutcomeKind:
        """Return what a stop means that was asked of another process: its worker leaves."""
        several = self._claimed.record.execution.nodes > 1
        return OutcomeKind.HANDED_BACK if several else OutcomeKind.CRASHED

    def _failure(self, error: Exception) -> Outcome:
        """Return how the attempt ends; where another process was lost, with that one's error."""
        from app.training.distributed import is_lost_peer
        from app.training.errors import LostPeerError

        tail = output_tail(self.folder)
        if not isinstance(error, LostPeerError) and is_lost_peer(error):
            error = LostPeerError(0, self._resume.step)
        if not isinstance(error, LostPeerError):
            return describe_failure(error, tail)
        self._end = End.PEER_FAILED
        token, nodes = self._claimed.token, self._claimed.record.execution.nodes
        notes = FailureNotes(self._stores.artifacts, token, nodes)
        return notes.read(tail) or describe_failure(error, tail)

    def _build_trainer(self) -> Trainer:
        import torch

        from app.training.data import load_dataset
        from app.training.data.summary import data_summary
        from app.training.distributed import join
        from app.training.trainer import Trainer

        ranks = join(self._config)
        torch.set_num_threads(self._settings.threads_of_rank(ranks.local_size))
        config, record = self._config, self._claimed.record
        workers, files = self._stores.workers, StoredFiles(self._stores.artifacts)
        restrict_reading(record, files.artifacts)
        find_data(record, config, workers, files)
        self._resume = choose_resume_point(self._stores.attempts, files, self._claimed)
        if self._resume.record is not None:  # its step may be saved again, and validated once
            self._validated = {self._resume.step: self._resume.record.metrics}
        if self._resume.path is not None:
            config.resume_from_checkpoint = str(self._resume.path)
        else:
            find_weights(config, workers, files)
        train, validation = load_dataset(config.dataset_path, config)
        self._board.write(self._board.read().step, Phase.STARTING, 0)
        agree_on_files(ranks, config, files)
        trainer = Trainer(
            config, train, validation, callbacks=[self], is_fork=self._resume.is_of_parent
        )
        trainer.callbacks += [make(trainer) for make in own_callbacks(self._settings.callbacks)]
        # Not in the attempt's folder: the next attempt continues these files.
        trainer.track_as(record.job_id, self.folder.parents[1] / TRACKERS_FOLDER)
        trainer.manager.max_checkpoints = _UNBOUNDED
        trainer.manager.before_write = self._before_save
        self._trainer = trainer
        self._begin(trainer, data_summary(train, validation, config))
        self._stop.watch(trainer)
        return trainer

    def _advance(self, size: int) -> None:
        """Show that data is read or a checkpoint verified; silence would be taken for a stall."""
        self._board.pulse()
        self._preparation.advance(size)

    def _show_work(self, work: WorkDone) -> None:
        """Show how far the preparation of the data is."""
        counted = PhaseProgress(work.done, work.total, work.per_second)
        self._board.write(self._board.read().step, Phase(work.name), 0, counted)

    def _before_save(self) -> None:
        """Fail a save while the store is away, and write the points to disk first.

        Waits while the checkpoint before is sent to the store.

        While the store is away, the save would make its folder in another place. A complete
        checkpoint has its points on disk, whichever process registers it.
        """
        from app.training.errors import CheckpointError

        try:
            self._stores.artifacts.require()
            while not self._publisher.sender.wait_for_room(1.0):
                self._stores.artifacts.require()
            self._spool.sync()
        except (ArtifactStoreAwayError, OSError) as error:
            raise CheckpointError(f"a checkpoint was not saved: {error}") from error

    def _keep_warning(self, warning: FieldProblem) -> None:
        self._warnings[f"{warning.field}: {warning.message}"] = None

    def _begin(self, trainer: Trainer, data: str) -> None:
        from app.training.resume import environment_summary

        notes = tuple(trainer.exactness_notes)
        self._board.write(trainer.step, Phase.STARTING, trainer.tokens_seen)
        message, warnings = self._resume.message, tuple(self._warnings)
        self._publisher.begin(
            StartReport(
                step=trainer.step,
                notes=notes,
                eta=trainer.get_eta,
                message=message,
                data_summary=data,
                environment=environment_summary(trainer.device),
                data_warnings=warnings,
            )
        )

    def _finish(self, outcome: Outcome) -> None:
        """Change the job's state, however long the store is away. A repeat changes nothing.

        A store that was away may have forgotten what was delivered last, so that is delivered
        first. One that dies now may forget the end and the last checkpoint, so this waits until
        both are on its disk.
        """
        while True:
            try:
                record = self._stores.publishing.finish(self._claimed.token, outcome)
                if not self._stores.publishing.wait_for_disk():
                    logger.warning(
                        "the job store does not confirm the attempt's end; its disk is slow"
                    )
            except StoreUnavailableError as error:
                logger.warning("ending the attempt waits: %s", error)
                time.sleep(0.5)
                self._publisher.deliver_again()
            except (FencedError, NotFoundError, TransitionRefusedError) as error:
                logger.warning("the attempt's end was not needed any more: %s", error)
                return
            else:
                logger.info("attempt ended as %s; the job is %s", outcome.kind, record.status)
                stores = self._stores
                JobJournal(stores.attempts, stores.artifacts, record.job_id).record_end()
                return

    # -- called by the trainer; see app.training.callbacks.Callback --------------------------

    def on_step_end(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the step to the parent. The last save is made after the last step."""
        phase = Phase.SAVING if self._is_last(step) else Phase.TRAINING
        self._board.write(step, phase, self._trainer.tokens_seen)
        if step == self._resume.step + 1:
            self._publisher.wake()
            if self._resume.record is not None:  # all processes of this machine have read it
                drop_copy(self._stores.artifacts, self._resume.record.artifact)

    def on_save_start(self, step: int) -> None:
        """Write the points first: a stop within a resumed validation comes here without a step."""
        if self._is_last(step):
            self._board.write(step, Phase.SAVING, self._trainer.tokens_seen)

    def _is_last(self, step: int) -> bool:
        last = self._pause_at or self._config.max_steps
        return step >= min(last, self._config.max_steps) or self._stop.outcome is not None

    def on_samples(self, step: int, samples: Sequence[PromptSample]) -> None:
        """Keep what was sampled for the point of the step, which comes next."""
        self._samples = samples

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a point to the spool, with the step's samples, then send it to the watchers."""
        self._spool.append(step, _now_ms(), metrics, [each.text for each in self._samples])
        self._samples = ()
        self._publisher.wake()

    def on_evaluate_progress(self, step: int, done: int, total: int) -> None:
        """Show how far the validation is; no step comes before its last batch."""
        progress_of_phase = PhaseProgress(done, total)
        self._board.write(step, Phase.VALIDATING, self._trainer.tokens_seen, progress_of_phase)

    def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show that steps come again, and keep the metrics for the step's checkpoint."""
        self._board.write(step, Phase.TRAINING, self._trainer.tokens_seen)
        self._validated[step] = dict(metrics)

    def on_save_failed(self, step: int, error: CheckpointError, last: bool) -> bool:
        """Return True for a full disk or a store that is away: they fail the save, not the run."""
        return self._failed_saves.tolerates(step, error, last=last)

    def on_checkpoint(self, info: CheckpointInfo) -> None:
        """Register a durable checkpoint; it exists for the service from then on."""
        self._failed_saves.saved()
        score = info.metric_value if info.metric == self._config.best_metric else None
        self._publisher.register(
            CheckpointRecord(
                checkpoint_id=new_id("checkpoint"),
                job_id=self._claimed.token.job_id,
                attempt=self._claimed.token.attempt,
                step=info.step,
                loss=info.loss,
                size_bytes=info.size_bytes,
                sha256=info.sha256,
                artifact=f"{self.prefix}/{Path(info.path).name}",
                created_at=0,
                best_score=score,
                metrics=measured_metrics(info, self._validated.get(info.step, {})),
            )
        )
        # A save is announced after later steps, and perhaps after their validation.
        self._validated = {s: values for s, values in self._validated.items() if s >= info.step}


def _now_ms() -> int:
    return int(time.time() * 1000)
