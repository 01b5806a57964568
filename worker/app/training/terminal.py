"""What `train.py` shows on a terminal: bars for the preparation of the data and for the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from app.training import progress
from app.training.preparation import Preparation, WorkDone

if TYPE_CHECKING:
    from app.training.trainer import Trainer

logger = logging.getLogger("train")


@contextmanager
def preparation_shown(console: Console, *, shown: bool) -> Iterator[None]:
    """Until the end of the block, show on a terminal how far the data is read and tokenized.

    Elsewhere, and in the log, lines say so now and then.
    """
    hidden = not (console.is_terminal and shown)
    columns = BarColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", visible=False)

        def show(work: WorkDone) -> None:
            text, (_, done, total, _) = str(work), work
            bar.update(task, description=text, total=total or None, completed=done, visible=True)

        with progress.reporting_to(Preparation(show).advance):
            yield


def run_progress(console: Console, *, shown: bool) -> Progress:
    """Return the bar of a run; a `RunDisplay` moves it."""
    return Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        _Eta(),
        console=console,
        disable=not (console.is_terminal and shown),
    )


class _Eta(ProgressColumn):
    """When the run will end, by the trainer's own account."""

    def render(self, task: Task) -> Text:
        seconds = task.fields["eta"]()
        if seconds is None:
            return Text("ETA -:--:--")
        minutes, seconds = divmod(round(seconds), 60)
        return Text(f"ETA {minutes // 60}:{minutes % 60:02}:{seconds:02}")


class RunDisplay:
    """Shows a run as a progress bar, and writes its metrics to the log."""

    def __init__(self, progress: Progress, trainer: Trainer) -> None:
        self._progress = progress
        self._values: dict[str, float] = {}
        self._last = trainer.config.max_steps
        self._phase = ""
        self._task = progress.add_task(
            "", total=self._last, completed=trainer.step, status="starting", eta=trainer.get_eta
        )

    def on_step_end(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._phase and step < self._last:
            self._show_phase("")
        self._progress.update(self._task, completed=step)

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._show(step, metrics)

    def on_evaluate_progress(self, step: int, done: int, total: int) -> None:
        self._progress.update(self._task, completed=step)
        self._show_phase(f"validating {done}/{total}")

    def on_save_start(self, step: int) -> None:
        self._show_phase("saving")

    def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        self._show(step, metrics)

    def on_checkpoint(self, info: Any) -> None:
        best = ", the best so far" if info.is_best else ""
        logger.info("step %d saved to %s%s", info.step, info.path, best)

    def _show(self, step: int, metrics: Mapping[str, float]) -> None:
        self._values.update(metrics)
        self._show_phase("")
        texts = [f"{name}={value:.6g}" for name, value in metrics.items()]
        logger.info("step %d: %s", step, " ".join(texts))

    def _show_phase(self, phase: str) -> None:
        self._phase = phase
        shown = [
            f"{label} {self._values[name]:{form}}"
            for name, label, form in _SHOWN
            if name in self._values
        ]
        shown += [phase] if phase else []
        self._progress.update(self._task, status="  ".join(shown))


_SHOWN = (
    ("loss", "loss", ".4f"),
    ("val_loss", "val", ".4f"),
    ("lr", "lr", ".2e"),
    ("tokens_per_second", "tokens/s", ",.0f"),
)
