"""Errors of a training run.

    RuntimeError
    └── TrainingError
        ├── NonFiniteLossError     a loss or gradient is NaN or infinite; nothing was applied
        ├── TrainingMemoryError    the device's memory does not suffice; says what to lower
        ├── CheckpointError        a checkpoint cannot be written or read
        │   └── NoAverageError     it has no average of the weights
        ├── ResumeError            a sound checkpoint that does not fit this run
        ├── CustomMetricError      a metric of the user's own whose name or value breaks the rule
        ├── LostPeerError          another process of the run is gone; its own error says why
        └── UnreachableNodeError   the machine where the processes of a run meet does not answer

`ConfigError` (a `ValueError`) lives in `app.transformer.errors`, free of torch like this file.
"""

from __future__ import annotations

NO_CHECKPOINT = -1
"""In place of a checkpoint's step: no checkpoint is complete."""


class TrainingError(RuntimeError):
    """A run that cannot go on."""


class NonFiniteLossError(TrainingError):
    """Raised before the optimizer step, so weights and checkpoints are still good.

    Attributes:
        step: The step that was not applied.
        position: Where in the data it was.
        saved_step: Step of the run's newest complete checkpoint; NO_CHECKPOINT (-1) where none
            was saved; None where it is unknown: outside a run, and in ranks other than 0.
    """

    def __init__(self, step: int, what: str, position: str) -> None:
        super().__init__(step, what, position)
        self.step = step
        self.position = position
        self.saved_step: int | None = None
        self._what = what

    def __str__(self) -> str:
        return (
            f"the {self._what} of step {self.step} is not finite (data position: {self.position}); "
            f"the step was not applied{self._saved()}; lower `learning_rate`, keep "
            "`max_grad_norm` at 1.0, prefer bf16 to fp16, or look for bad data at that position"
        )

    def _saved(self) -> str:
        if self.saved_step is None:
            return ", and a checkpoint that was saved before is good"
        if self.saved_step == NO_CHECKPOINT:
            return ", and no checkpoint was saved before it"
        return f", and the checkpoint of step {self.saved_step} is good"


class TrainingMemoryError(TrainingError):
    """Out of memory, on the device or on the host."""


class CheckpointError(TrainingError):
    """A checkpoint that cannot be written, or is not what its manifest says."""


class NoAverageError(CheckpointError):
    """A checkpoint has no average of the weights: its run had no `ema_decay`."""


class ResumeError(TrainingError):
    """A sound checkpoint that this run cannot continue."""


class CustomMetricError(TrainingError):
    """A metric that a callback or `metrics_tracker` adds has a wrong name or value."""


class LostPeerError(TrainingError):
    """A run of several processes has lost one; this one has nothing wrong with it."""

    def __init__(self, rank: int, step: int, why: str = "") -> None:
        super().__init__(
            f"another process of the run is gone, rank {rank} cannot go on after step {step}; "
            f"{why or 'its own error says why'}; resume from the last checkpoint"
        )


class UnreachableNodeError(TrainingError):
    """The first machine of a run over several does not answer this one."""

    def __init__(self, place: int, host: str, port: int, seconds: float) -> None:
        super().__init__(
            f"the machine with place {place} did not reach the one with place 0 at {host}:{port} "
            f"within {seconds:g} s; all must reach each other on any port; open the network "
            "between them, or name the right address (a worker's --node-address)"
        )
