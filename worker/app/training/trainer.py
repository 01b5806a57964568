"""The trainer: from a configuration and a dataset to a trained model that no crash can lose."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.training import rng, run_folder
from app.training.agreement import require_agreement
from app.training.callbacks import CallbackList
from app.training.checkpoint import CheckpointManager
from app.training.config import TrainingConfig
from app.training.cores import ContentionWatch, usable_cores
from app.training.distributed import is_lost_peer, join
from app.training.early_stopping import EarlyStopping
from app.training.errors import NO_CHECKPOINT, LostPeerError, NonFiniteLossError
from app.training.evaluation import Evaluation, Evaluator
from app.training.fit import require_validation
from app.training.forecast import Forecast
from app.training.initial_model import build_model, take_given_model
from app.training.initial_weights import complete_from_weights
from app.training.journal import NullJournal, StepJournal
from app.training.metrics import MetricsTracker
from app.training.model_summary import model_summary
from app.training.nodes import find_failure
from app.training.out_of_memory import is_out_of_memory, memory_error
from app.training.precision import process_switches
from app.training.reporting import Reporter
from app.training.required_memory import require_memory
from app.training.resume import (
    check_fits,
    checkpoint_to_resume,
    environment,
    precision_notes,
    report_changes,
    restore_environment,
)
from app.training.run_data import RunData
from app.training.run_model import RunModel
from app.training.sampler import seed_for
from app.training.saving import FollowerSaver, RunSaver
from app.training.trackers.trackers import Trackers
from app.training.validation_samples import PromptSampler
from app.transformer import GPTModel

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)

_STEPS_BEFORE_ESTIMATE = 20
"""The log says once how long the run will take: after so many steps it is known well enough."""


class Trainer:
    """Trains a GPT-style model, exactly resumable at any step.

    Args:
        config: what to train and how; validated here.
        train_dataset: map-style, yielding 1-D integer tensors of tokens.
        val_dataset: the same for validation, of which `eval_batches` are passed every `eval_steps`.
        callbacks: objects with any of the methods of `app.training.callbacks.Callback`.
        model: trained in place of a new one; `config.model_config` is its own, or left out.
        is_fork: whether the checkpoint that it resumes from is of another run, of which this one is
            a fork: best value and tracker's id are its own, other data begin at their start, and
            early stopping with other settings counts afresh.

    Where several processes train together, each has a trainer of its own, made with the same
    arguments; the one of rank 0 writes, reports and calls its callbacks for all.

    Raises `ConfigError`, `ResumeError`, `CheckpointError`, or `ValueError` for unusable data.
    """

    # Set by each call of `train`, in `_open`.
    _saver: RunSaver
    _contention: ContentionWatch
    _on_step_end: Callable[..., None]
    _on_save_start: Callable[..., None]
    _on_train_end: Callable[..., None]

    def __init__(
        self,
        config: TrainingConfig,
        train_dataset: Any,
        val_dataset: Any = None,
        callbacks: Iterable[Any] = (),
        model: GPTModel | None = None,
        *,
        is_fork: bool = False,
    ) -> None:
        config.validate()
        complete_from_weights(config)
        if model is not None:
            take_given_model(config, model)
        self._ranks = join(config)
        for warning in config.warnings():
            logger.warning("%s", warning.message)
        logger.info("the model has %s", model_summary(config))
        self.config = config
        self.device = self._ranks.device
        self.callbacks = CallbackList(callbacks)
        self.metrics_tracker = MetricsTracker()
        self.manager = CheckpointManager(config.checkpoint_dir, config.max_checkpoints_to_keep)
        self.step = 0
        """Optimizer steps done, those before a resume included."""
        self.tokens_seen = 0
        """Tokens that counted in the loss, those before a resume included."""
        self.stopped = False
        """Whether `train` returned because of `request_stop`, with steps left to do."""
        self.exactness_notes: list[str] = []
        """Why a resumed run is no longer bitwise what it would have been; empty while it is."""
        self._is_fork = is_fork
        self._stop_requested = False
        self._pause_at: int | None = None
        self._loss = torch.full((), float("nan"))
        self._best: tuple[str, float] | None = None
        self._early_stopping = EarlyStopping(config.early_stopping)
        self._saved_step: int | None = NO_CHECKPOINT
        """Step of the newest complete checkpoint when `train` begins or ends. NO_CHECKPOINT before
        the first; None in ranks from 1 on, which do not know whether a save succeeded."""
        self._rng_state: Mapping[str, Any] | None = None
        require_validation(config, has_validation=val_dataset is not None)
        require_memory(config, self._ranks)
        self._data = RunData(config, self._ranks, train_dataset, val_dataset)
        require_agreement(config, train_dataset, self._ranks)
        checkpoint = self._checkpoint_to_resume()
        model = build_model(config, model, resumes=bool(checkpoint))
        self._run_model = RunModel(config, self._ranks, model)
        self.model, self.optimizer = self._run_model.model, self._run_model.optimizer
        self.scheduler = self._run_model.scheduler
        self._stepper, self._average = self._run_model.stepper, self._run_model.average
        self._prompts = PromptSampler(self.model, self._data.tokenizer, config, self._ranks)
        self._evaluator = self._build_evaluator()
        self._reporter = Reporter(
            config,
            self.device,
            self.metrics_tracker,
            self._evaluate if self._evaluator else None,
            Trackers(config, active=self.is_main),
            self._ranks.world_size,
        )
        self._forecast = Forecast(config, self._batches_to_evaluate())
        if checkpoint:
            self._resume(checkpoint)

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports: True for rank 0."""
        return self._ranks.is_main

    def train(self, until: int | None = None) -> None:
        """Train up to `max_steps`, or until `request_stop`; return when the last save is durable.

        Early stopping ends the run before `max_steps`; `ended_early` says so then. With `until` it
        pauses after that step, as `request_stop` would: nothing else about the run changes.

        Raises:
            NonFiniteLossError: A loss or gradient is NaN or infinite.
            TrainingMemoryError: The memory of the device or the host is full.
            CheckpointError: A checkpoint cannot be written.
            LostPeerError: Another process of the run has ended.
            Exception: Any error of a callback or dataset, unchanged.
        """
        self.stopped = False
        self._pause_at = until
        if self._is_done():
            end = self.ended_early or f"reached max_steps={self.step}"
            logger.warning("nothing to do: the run has %s", end)
            return
        if self._has_paused():
            self.stopped = True
            return
        with ExitStack() as stack:
            self._open(stack)
            try:
                self._loop()
                self._finish()
            except NonFiniteLossError as error:
                self._end_saving()
                error.saved_step = self._saved_step
                raise
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise memory_error(error, self.config, self.device) from error
                if self._ranks.world_size > 1 and is_lost_peer(error):
                    raise LostPeerError(self._ranks.rank, self.step, find_failure()) from error
                raise

    def _loop(self) -> None:
        """Repeat until `max_steps` or a stop: fetch, backward, clip, step, report, save."""
        while not (self._has_ended() or self._is_at_pause() or self._is_stopping()):
            batches, position = self._data.fetch()
            self._loss = self._stepper.backward(batches)
            grad_norm = self._stepper.clip()
            self._stepper.apply(self.step + 1, position, self._loss, grad_norm)
            if self._average is not None:
                self._average.update(self.step + 1)
            self.scheduler.step()
            self._count()
            self._report(grad_norm)
            self._save_if_due()
            self._contention.check()
            self._on_step_end(self.step, self._reporter.latest)

    def _is_done(self) -> bool:
        """Whether nothing is left to do, a validation that a stop cut short included."""
        return self._has_ended() and self._reporter.unfinished_line is None

    def _has_ended(self) -> bool:
        """Whether no step is left to do."""
        return self.step >= self.config.max_steps or self.ended_early is not None

    def _is_at_pause(self) -> bool:
        """Whether the step is reached up to which `train` was called."""
        return self._pause_at is not None and self.step >= self._pause_at

    @property
    def is_paused(self) -> bool:
        """Whether `train(until)` has returned where it should, that step's validation included."""
        return self.stopped and self._has_paused()

    def _has_paused(self) -> bool:
        return self._is_at_pause() and self._reporter.unfinished_line is None

    @property
    def ended_early(self) -> str | None:
        """Why the run ended before `max_steps`, where early stopping decided so; else None."""
        return self._early_stopping.reason

    def _is_stopping(self) -> bool:
        """Whether a stop was requested in any process; all leave at the same step."""
        return self._ranks.any(self._stop_requested)

    def request_stop(self) -> None:
        """Ask the run to save at the next step boundary and return.

        Safe from another thread, a callback or a signal handler. Before `train` it makes that
        return at once.
        """
        self._stop_requested = True

    def track_as(self, run_id: str, folder: Path) -> None:
        """Track this run under an id of yours, with its trackers' files in a folder of its own.

        A checkpoint that it resumes from keeps the id that it has. Call it before `train`.
        """
        trackers = self._reporter.trackers
        trackers.run_id, trackers.folder = trackers.run_id or run_id, folder

    def get_throughput(self) -> dict[str, float]:
        """`steps_per_second` and `tokens_per_second` of this process's training time."""
        return self._reporter.watch.total()

    def get_eta(self) -> float | None:
        """Seconds until `train` returns, the evaluations and saves to come included.

        None before the first step. Safe from another thread.
        """
        return self._forecast.seconds_left()

    # -- steps of the loop ------------------------------------------------------------------

    def _count(self) -> None:
        self.step += 1
        self.tokens_seen += self._stepper.tokens
        self._reporter.watch.count(self._stepper.read)
        self._forecast.step_done(self.step)
        is_last = self.step >= self.config.max_steps
        if self._forecast.steps_measured == _STEPS_BEFORE_ESTIMATE and not is_last:
            left = timedelta(seconds=round(self.get_eta() or 0))
            logger.info("step %d: about %s until the run ends", self.step, left)

    def _report(self, grad_norm: Tensor) -> None:
        if self._reporter.is_due(self.step):
            self._stepper.finish_checks()
            lr = self.scheduler.base_lrs[0] * self.scheduler.factor(self.step - 1)
            self._reporter.report(self.step, self._loss, grad_norm, lr, self.tokens_seen)
            self._observe()

    def _observe(self) -> None:
        """Show early stopping what was measured at this step."""
        if (name := self._early_stopping.metric) is not None:
            metric = self._reporter.metric_at(self.step, name, self._loss.item())
            self._early_stopping.observe(self.step, metric and metric[1])

    def _build_evaluator(self) -> Evaluator | None:
        if self._data.val_reader is None:
            return None
        return Evaluator(
            self._run_model.forward,
            self.model,
            self._data.val_reader,
            self.config,
            self._ranks,
            self._data.tokenizer,
            self._average,
        )

    def _batches_to_evaluate(self) -> tuple[int, int]:
        """Return the number of batches of an evaluation, and of the run's last one."""
        if self._evaluator is None:
            return 0, 0
        batches, prompts = self._evaluator.batch_count, self._prompts.rounds
        return batches(last=False) + prompts, batches(last=True) + prompts

    def _evaluate(self, step: int, on_progress: Callable[[int, int], object]) -> Evaluation | None:
        """Evaluate, then continue the prompts; their rounds count as batches of the evaluation."""
        assert self._evaluator is not None
        last = step == self.config.max_steps
        batches = self._evaluator.batch_count(last=last)
        total = batches + self._prompts.rounds

        def report(done: int, _: int = 0) -> None:
            if done:
                self._forecast.batches_left(total - done)
            on_progress(done, total)

        evaluation = self._evaluator.run(
            last=last, interrupted=self._is_stopping, on_progress=report
        )
        if evaluation is None or not self._prompts.rounds:
            return evaluation
        samples = self._prompts.run(self._is_stopping, lambda done: report(batches + done))
        return None if samples is None else replace(evaluation, samples=samples)

    def _save_if_due(self) -> None:
        self._saver.poll()
        self._forecast.last_save = self._saver.write_seconds
        if self.step % self.config.save_steps == 0:
            self._save()

    def _save(self) -> None:
        self._stepper.finish_checks()
        self._on_save_start(self.step)
        loss = self._loss.item()
        metric = self._reporter.metric_at(self.step, self.config.best_metric, loss)
        self._best = self._saver.update_best(metric)
        self._saver.save(self._state(loss), metric)
        self._forecast.save_done()

    # -- the beginning and the end of a run --------------------------------------------------

    def _open(self, stack: ExitStack) -> None:
        """Lock the folder, set torch's switches and bind the callbacks; `stack` undoes it all."""
        folder = self.manager.checkpoint_dir
        self._ranks.barrier()  # rank 0 moves files below, which other ranks may still read
        if self.is_main:
            stack.enter_context(run_folder.exclusive(folder))
            run_folder.prepare(folder, self.manager, self.config, self.step)
        stack.enter_context(process_switches(self.config, self.device))
        metrics, samples = folder / run_folder.METRICS_FILE, folder / run_folder.SAMPLES_FILE
        has_samples = bool(self.config.sample_prompts) or samples.exists()
        journals = (
            StepJournal(metrics) if self.is_main else NullJournal(metrics),
            StepJournal(samples) if self.is_main and has_samples else NullJournal(samples),
        )
        listeners = self.callbacks if self.is_main else CallbackList()
        stack.callback(self._reporter.close)
        self._reporter.open(*journals, self.step, listeners)
        saver = RunSaver if self.is_main else FollowerSaver
        self._saver = saver(
            self.manager, self._reporter.sync, listeners, self._best, self._saved_step
        )
        stack.callback(self._end_saving)
        stack.callback(self._data.stream.close)
        self._on_step_end = listeners.bind("on_step_end")
        self._on_save_start = listeners.bind("on_save_start")
        self._on_train_end = listeners.bind("on_train_end")
        listeners.bind("on_train_start")()
        if self._rng_state is None:
            rng.seed_everything(self._fresh_seed())
        else:
            rng.restore(self._rng_state)
        self.model.train()
        self.metrics_tracker.reset()
        self._forecast.start(self.step)
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self._contention = ContentionWatch(threads, usable_cores())
        if self._reporter.complete_unfinished_line(self.step):
            self._observe()

    def _finish(self) -> None:
        """Save the last step unless it is saved already, and wait until all saves are durable."""
        self._stepper.finish_checks()
        self._reporter.watch.pause()
        if self.step > 0 and self._saver.last_step != self.step:
            self._save()
        self._saver.complete()
        self._ranks.barrier()  # now all ranks see what rank 0 has written
        self._rng_state = rng.capture()
        self.stopped = not self._is_done()
        self._stop_requested = False
        if self._stepper.skipped_steps:
            logger.warning("fp16 skipped %d steps that overflowed", self._stepper.skipped_steps)
        self._on_train_end()

    def _end_saving(self) -> None:
        self._saver.close()
        self._saved_step = self._saver.saved_step

    def _fresh_seed(self) -> int:
        """Return the seed of dropout for a run without a saved state; each rank has its own."""
        place = (self._ranks.rank, self.step) if self._ranks.rank else ()
        return seed_for("training", self.config.seed, *place)

    # -- the state of a run ------------------------------------------------------------------

    def _state(self, loss: float) -> dict[str, Any]:
        """Return everything that a resume needs; tensors are the live ones, not copies."""
        generators = self._ranks.gather(rng.capture())
        progress = {
            "rng_state": generators[0] if generators else None,
            "rng_states_of_others": generators[1:],
            "tokens_seen": self.tokens_seen,
            "tracker_run_id": self._reporter.trackers.run_id,
            "unfinished_line": self._reporter.unfinished_line,
            "best": list(self._best) if self._best else None,
            "early_stopping": self._early_stopping.state_dict(),
            "environment": environment(self.device, self._ranks.description),
        }
        return self._run_model.state(self.step, loss, {**self._data.state_dict(), **progress})

    def _checkpoint_to_resume(self) -> str:
        """Return the file that the run continues; empty for a run that begins at step 0."""
        if not (where := self.config.resume_from_checkpoint):
            return ""
        path = checkpoint_to_resume(where, self.manager, self._ranks)
        if not path:
            folder = self.config.checkpoint_dir
            logger.warning(
                "No checkpoint found to resume from in %s; the run begins at step 0", folder
            )
        return path

    def _resume(self, path: str) -> None:
        state = self.manager.load_state(path)
        check_fits(state, self.config, self._data.tokenizer, path)
        report_changes(state["config"], self.config)
        self._restore(state, Path(path))
        self.manager.protect(path)
        logger.info("resuming from %s at step %d", path, self.step)

    def _restore(self, state: Mapping[str, Any], path: Path) -> None:
        notes = self._data.restore(state, path, is_fork=self._is_fork)
        self._run_model.restore(state, path)
        self.step = self._saved_step = state["step"]
        self.tokens_seen = state["tokens_seen"]
        self._loss = torch.full((), state["loss"])
        if not self._is_fork:
            self._best = tuple(state["best"]) if state["best"] else None
            self._reporter.trackers.run_id = state["tracker_run_id"]
        if "early_stopping" in state and not (self._is_fork and self._stops_otherwise(state)):
            self._early_stopping.load_state_dict(state["early_stopping"])
        self._rng_state = rng.of_rank(state, self._ranks.rank)
        self._reporter.unfinished_line = state["unfinished_line"]
        self.exactness_notes += restore_environment(
            state["environment"], self.device, self._ranks.description
        )
        self.exactness_notes += precision_notes(state["config"], self.config) + notes

    def _stops_otherwise(self, state: Mapping[str, Any]) -> bool:
        """Whether early stopping has other settings than the run of the checkpoint."""
        ours = self.config.to_dict()["early_stopping"]
        return bool(state["config"].get("early_stopping") != ours)
