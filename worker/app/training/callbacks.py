"""Callbacks of a run: any objects with any of the methods of `Callback`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app.training.checkpoint_file import CheckpointInfo
from app.training.errors import CheckpointError

if TYPE_CHECKING:
    from app.training.validation_samples import PromptSample


class Callback(Protocol):
    """Every hook that the trainer calls; implement those you need.

    All run in the training loop's thread. An exception from one of them ends the run as any error
    does, after the save in progress.
    """

    def on_train_start(self) -> None:
        """Run before the first step; the trainer's `step` is where the run resumes."""

    def on_step_end(self, step: int, metrics: Mapping[str, float]) -> None:
        """Run after a step. `metrics` are the newest logged ones, perhaps of an earlier step."""

    def on_log(self, step: int, metrics: Mapping[str, float]) -> Mapping[str, float] | None:
        """Run when a step's training metrics are measured, before its validation if that is due.

        Return metrics of your own to add them to the step's line, or None.
        `app.training.custom_metrics` has the rule for names and values.
        """

    def on_evaluate_start(self, step: int) -> None:
        """Run before an evaluation; no step follows until it ends."""

    def on_evaluate_progress(self, step: int, done: int, total: int) -> None:
        """Run when `done` of the evaluation's `total` batches are done; called first with 0."""

    def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> Mapping[str, float] | None:
        """Run when an evaluation is complete.

        The metrics are `val_loss`, `val_perplexity`, and `val_bits_per_byte` where the tokenizer is
        known. Metrics that the hook returns are added to the step's line, as with `on_log`.
        """

    def on_save_start(self, step: int) -> None:
        """Run before the state of a step is saved.

        `on_step_end` follows once the state is copied, or, after the last step, once it is durable.
        """

    def on_samples(self, step: int, samples: Sequence[PromptSample]) -> None:
        """Run when the prompts of `sample_prompts` are continued, before `on_metrics` of the step.

        Called once for each step that has samples, also across resumes.
        """

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Run when a step's line of the history is complete, with the results of its validation.

        Called once for each step that has a line, also across resumes.
        """

    def on_checkpoint(self, info: CheckpointInfo) -> None:
        """Run when a checkpoint is complete and durable, in the order of saving."""

    def on_save_failed(self, step: int, error: CheckpointError, last: bool) -> bool:
        """Return True to ignore a failed save and keep training.

        After the `last` save, which has to succeed, the trainer retries at once, so sleep first.
        Return False to end the run with `error`.
        """

    def on_rotate(self, paths: list[str]) -> None:
        """Run before these checkpoints are deleted; an exception keeps them."""

    def on_train_end(self) -> None:
        """Run when the last save is durable; `stopped` says whether steps remain."""


class CallbackList(list[Any]):
    """The callbacks of a run; a hook that none of them has costs nothing."""

    def with_hook(self, hook: str) -> list[tuple[Any, Callable[..., Any]]]:
        """Return each callback that has `hook`, with its bound method."""
        hooks = [(each, getattr(each, hook, None)) for each in self]
        return [(each, function) for each, function in hooks if callable(function)]

    def bind(self, hook: str) -> Callable[..., None]:
        """Return one function that calls `hook` of every callback that has it, in order."""
        bound = self.with_hook(hook)
        if not bound:
            return _nothing

        def call(*args: Any) -> None:
            for _, function in bound:
                function(*args)

        return call

    def bind_any(self, hook: str) -> Callable[..., bool]:
        """Return one function that calls `hook` of all that have it: True if any returns True."""
        bound = self.with_hook(hook)

        def call(*args: Any) -> bool:
            answers = [bool(function(*args)) for _, function in bound]
            return any(answers)

        return call


def _nothing(*args: Any) -> None:
    """Do nothing, where no callback has the hook."""
