"""A run's reports: logged metrics, validation, one line of the journal for each reported step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from app.training.callbacks import CallbackList
from app.training.config import TrainingConfig
from app.training.custom_metrics import CustomMetrics
from app.training.evaluation import Evaluation
from app.training.journal import NullJournal, StepJournal
from app.training.metrics import (
    MetricsTracker,
    Stopwatch,
    compute_perplexity,
    peak_flops,
    take_gpu_peak_gb,
)
from app.training.model_summary import flops_per_token
from app.training.trackers.trackers import Trackers

Evaluate = Callable[[int, Callable[[int, int], object]], Evaluation | None]
"""Called with a step and a function of batches done and batches in total."""


class Reporter:
    """Measures when it is due and reports to the journal, the tracker and the callbacks.

    Args:
        evaluate: evaluates the model after a step and reports its progress to `on_progress`;
            None if there is no validation data. Its result is None when a stop was requested
            before the end.
        devices: how many train together; rates are of all of them.
    """

    def __init__(
        self,
        config: TrainingConfig,
        device: torch.device,
        metrics_tracker: MetricsTracker,
        evaluate: Evaluate | None,
        trackers: Trackers,
        devices: int = 1,
    ) -> None:
        self._config = config
        self._device = device
        self._metrics_tracker = metrics_tracker
        self._evaluate = evaluate
        self.trackers = trackers
        self.watch = Stopwatch()
        self.latest: dict[str, float] = {}
        """The newest value of each metric."""
        self.unfinished_line: dict[str, float] | None = None
        """What was logged at the last step when a stop cut its validation short; the resumed run
        validates first and completes the line, so that the history is the same."""
        self._validated: tuple[int, dict[str, float]] = (-1, {})
        self._custom = CustomMetrics()
        self._journal: StepJournal = NullJournal(Path())
        self._samples: StepJournal = NullJournal(Path())
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        peak = peak_flops(name, config.mixed_precision)
        self._peak_flops = peak and peak * devices
        length = config.get_sequence_length()
        self._flops_per_token = flops_per_token(config.model_config, length, config.lora)

    def open(
        self, journal: StepJournal, samples: StepJournal, step: int, callbacks: CallbackList
    ) -> None:
        """Begin to report, after `step`: metrics to one journal, sampled texts to the other."""
        # A step whose validation was cut short gets its line now, perhaps for the second time.
        last = step if self.unfinished_line is None else step - 1
        self._journal, self._samples = journal, samples
        journal.open(last)
        samples.open(last)
        self.trackers.open(last)
        self._on_log = self._custom.ask(callbacks, "on_log")
        self._on_evaluate_start = callbacks.bind("on_evaluate_start")
        self._on_evaluate_progress = callbacks.bind("on_evaluate_progress")
        self._on_evaluate = self._custom.ask(callbacks, "on_evaluate")
        self._on_samples = callbacks.bind("on_samples")
        self._on_metrics = callbacks.bind("on_metrics")
        self.watch.start()

    def close(self) -> None:
        """Make the journal durable and end the tracked run."""
        self.watch.pause()
        self._journal.close()
        self._samples.close()
        self.trackers.close()

    def sync(self) -> None:
        """Make durable what was reported, as far as each tracker can."""
        self._journal.sync()
        self._samples.sync()
        self.trackers.sync()

    def complete_unfinished_line(self, step: int) -> bool:
        """Do the validation that a stop cut short; return whether there was one."""
        if self.unfinished_line is None:
            return False
        line, self.unfinished_line = self.unfinished_line, None
        self._validate_into(line, step)
        return True

    def report(
        self, step: int, loss: Tensor, grad_norm: Tensor, lr: float, tokens_seen: int
    ) -> None:
        """Log and validate if they are due; both go into one line of the journal."""
        config = self._config
        last = step == config.max_steps
        line: dict[str, float] = {}
        if last or step % config.logging_steps == 0:
            line = self._log(step, loss.item(), grad_norm.item(), lr, tokens_seen)
        if self._evaluate and (last or step % config.eval_steps == 0):
            self._validate_into(line, step)
        elif line:
            self._write(step, line)

    def is_due(self, step: int) -> bool:
        """Whether anything is measured at this step."""
        config = self._config
        if step == config.max_steps or step % config.logging_steps == 0:
            return True
        return self._evaluate is not None and step % config.eval_steps == 0

    def metric_at(self, step: int, name: str, loss: float) -> tuple[str, float] | None:
        """Return the value of a metric at a step, if it was measured there.

        It is compared with others of the run.
        """
        measured = {"loss": loss, "perplexity": compute_perplexity(loss)}
        if self._validated[0] == step:
            measured |= self._validated[1]
        return (name, measured[name]) if name in measured else None

    def _log(
        self, step: int, loss: float, grad_norm: float, lr: float, tokens_seen: int
    ) -> dict[str, float]:
        metrics = {
            "loss": loss,
            "perplexity": compute_perplexity(loss),
            "lr": lr,
            "grad_norm": grad_norm,
            **self.watch.lap(),
            "tokens_seen": float(tokens_seen),
            **self._of_device(),
        }
        self._metrics_tracker.update(metrics, steps=self._config.logging_steps)
        line = {**metrics, **self._on_log(step, metrics)}
        self.latest = {**self.latest, **line}
        return line

    def _of_device(self) -> dict[str, float]:
        if self._device.type != "cuda":
            return {}
        metrics = {"gpu_memory_allocated_gb": take_gpu_peak_gb(self._device)}
        if self._peak_flops:
            rate = self.watch.total()["tokens_per_second"]
            metrics["mfu"] = rate * self._flops_per_token / self._peak_flops
        return metrics

    def _validate_into(self, line: dict[str, float], step: int) -> None:
        assert self._evaluate is not None
        self.watch.pause()  # a rate is of training
        self._on_evaluate_start(step)
        evaluation = self._evaluate(
            step, lambda done, total: self._on_evaluate_progress(step, done, total)
        )
        self.watch.start()
        if evaluation is None:
            self.unfinished_line = line
            return
        self._validated = (step, evaluation.compared)
        measured = {**evaluation.metrics, **self._on_evaluate(step, evaluation.metrics)}
        self.latest = {**self.latest, **measured}
        if evaluation.samples:
            self._samples.write(step, {"samples": [asdict(each) for each in evaluation.samples]})
            self._on_samples(step, evaluation.samples)
        self._write(step, {**line, **measured})

    def _write(self, step: int, line: dict[str, float]) -> None:
        line |= self._custom.of_tracker(self._metrics_tracker.take_means())
        self.latest = {**self.latest, **line}
        self._journal.write(step, line)
        self.trackers.log(step, line)
        self._on_metrics(step, line)
