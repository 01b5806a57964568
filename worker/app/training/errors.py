"""What can go wrong in a run.

    RuntimeError
    └── TrainingError
        ├── NonFiniteLossError     a loss or gradient is NaN or infinite; nothing was applied
        ├── TrainingMemoryError    the device's memory does not suffice; says what to lower
        ├── CheckpointError        a checkpoint cannot be written or read
        ├── ResumeError            a sound checkpoint that does not fit this run
        └── LostPeerError          another process of the run is gone; its own error says why

`ConfigError` (a `ValueError`) lives in `app.transformer.errors`, free of torch like this file.
"""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A run that cannot go on."""


class NonFiniteLossError(TrainingError):
    """Raised before the optimizer step, so weights and checkpoints are still good."""

    def __init__(self, step: int, what: str, position: str) -> None:
        self.step = step
        self.position = position
        super().__init__(
            f"the {what} of step {step} is not finite (data position: {position}); the step was "
            "not applied and the last checkpoint is good; lower `learning_rate`, keep "
            "`max_grad_norm` at 1.0, prefer bf16 to fp16, or look for bad data at that position"
        )


class TrainingMemoryError(TrainingError):
    """Out of memory, on the device or on the host."""


class CheckpointError(TrainingError):
    """A checkpoint that cannot be written, or is not what its manifest says."""


class ResumeError(TrainingError):
    """The checkpoint is sound, but this run cannot continue it."""


class LostPeerError(TrainingError):
    """A run of several processes has lost one; this one has nothing wrong with it."""

    def __init__(self, rank: int, step: int) -> None:
        super().__init__(
            f"another process of the run is gone, rank {rank} cannot go on after step {step}; its "
            "own error says why; resume from the last checkpoint"
        )
