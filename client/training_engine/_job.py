# Generated from _aio_job.py by client/generate_sync.py; run: make sync
"""The blocking `Job` handle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from training_engine.records import (
    Checkpoint,
    JobEvent,
    JobRecord,
    LogLine,
    MetricPoint,
    SampledStep,
    Throughput,
)

if TYPE_CHECKING:
    from training_engine.engine import TrainingEngine


@dataclass(frozen=True, kw_only=True)
class Job(JobRecord):
    """A job as it was when it was fetched, and what can be done with it.

    The fields never change; `refresh`, `wait`, `stop`, `resume` and `update` return a newer
    `Job`.
    """

    _engine: TrainingEngine = field(repr=False, compare=False)

    def refresh(self) -> Job:
        """Return the job as it is now."""
        return self._engine.jobs.get(self.job_id)

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until the job ends and return it, whether it succeeded, failed or was stopped.

        Raises:
            DeadlineExceededError: (a TimeoutError) It has not ended within `timeout` seconds.
        """
        return self._engine.jobs.wait(self.job_id, timeout)

    def stop(self) -> Job:
        """Ask the job to save a checkpoint at the next step and stop."""
        return self._engine.jobs.stop(self.job_id)

    def resume(
        self,
        checkpoint_id: str | None = None,
        *,
        max_steps: int | None = None,
        from_start: bool = False,
    ) -> Job:
        """Continue the job; see `Jobs.resume`."""
        return self._engine.jobs.resume(
            self.job_id, checkpoint_id, max_steps=max_steps, from_start=from_start
        )

    def update(
        self,
        *,
        add_tags: Sequence[str] | None = None,
        remove_tags: Sequence[str] | None = None,
        notes: str | None = None,
    ) -> Job:
        """Change the job's tags and notes; see `Jobs.update`."""
        return self._engine.jobs.update(
            self.job_id, add_tags=add_tags, remove_tags=remove_tags, notes=notes
        )

    def delete(self) -> None:
        """Delete the job with its history, logs and checkpoints."""
        self._engine.jobs.delete(self.job_id)

    def checkpoints(self) -> list[Checkpoint]:
        """Return the job's checkpoints, ascending by step."""
        return list(self._engine.checkpoints.list(self.job_id))

    def metrics(self) -> MetricPoint:
        """Return the latest value of each metric."""
        return self._engine.metrics.get(self.job_id)

    def history(
        self, *, after_step: int | None = None, max_points: int | None = None
    ) -> Iterator[MetricPoint]:
        """Iterate over logged steps, ascending; see `Metrics.history`."""
        return self._engine.metrics.history(
            self.job_id, after_step=after_step, max_points=max_points
        )

    def samples(
        self, *, from_step: int | None = None, to_step: int | None = None
    ) -> Iterator[SampledStep]:
        """Iterate over what the model made of `sample_prompts` at each evaluation, ascending."""
        return self._engine.metrics.samples(self.job_id, from_step=from_step, to_step=to_step)

    def throughput(self) -> Throughput:
        """Return how fast the job trains."""
        return self._engine.metrics.throughput(self.job_id)

    def stream_metrics(
        self,
        *,
        after_step: int | None = None,
        on_rewind: Callable[[int], object] | None = None,
    ) -> Iterator[MetricPoint]:
        """Replay logged steps, then follow them live; see `Metrics.stream`."""
        return self._engine.metrics.stream(self.job_id, after_step=after_step, on_rewind=on_rewind)

    def logs(self) -> Iterator[LogLine]:
        """Iterate over what the trainer printed, oldest first."""
        return self._engine.jobs.logs(self.job_id)

    def watch(self, *, after: str = "") -> Iterator[JobEvent]:
        """Follow everything that happens to the job; see `Jobs.watch`."""
        return self._engine.jobs.watch(self.job_id, after=after)
