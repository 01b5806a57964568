"""The asyncio `AsyncJob` handle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
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
    from training_engine.aio import AsyncTrainingEngine


@dataclass(frozen=True, kw_only=True)
class AsyncJob(JobRecord):
    """A job as it was when it was fetched, and what can be done with it.

    The fields never change; `refresh`, `wait`, `stop`, `resume` and `update` return a newer
    `AsyncJob`.
    """

    _engine: AsyncTrainingEngine = field(repr=False, compare=False)

    async def refresh(self) -> AsyncJob:
        """Return the job as it is now."""
        return await self._engine.jobs.get(self.job_id)

    async def wait(self, timeout: float | None = None) -> AsyncJob:
        """Wait until the job ends and return it, whether it succeeded, failed or was stopped.

        Raises:
            DeadlineExceededError: (a TimeoutError) It has not ended within `timeout` seconds.
        """
        return await self._engine.jobs.wait(self.job_id, timeout)

    async def stop(self) -> AsyncJob:
        """Ask the job to save a checkpoint at the next step and stop."""
        return await self._engine.jobs.stop(self.job_id)

    async def resume(
        self,
        checkpoint_id: str | None = None,
        *,
        max_steps: int | None = None,
        from_start: bool = False,
    ) -> AsyncJob:
        """Continue the job; see `AsyncJobs.resume`."""
        return await self._engine.jobs.resume(
            self.job_id, checkpoint_id, max_steps=max_steps, from_start=from_start
        )

    async def update(
        self,
        *,
        add_tags: Sequence[str] | None = None,
        remove_tags: Sequence[str] | None = None,
        notes: str | None = None,
    ) -> AsyncJob:
        """Change the job's tags and notes; see `AsyncJobs.update`."""
        return await self._engine.jobs.update(
            self.job_id, add_tags=add_tags, remove_tags=remove_tags, notes=notes
        )

    async def delete(self) -> None:
        """Delete the job with its history, logs and checkpoints."""
        await self._engine.jobs.delete(self.job_id)

    async def checkpoints(self) -> list[Checkpoint]:
        """Return the job's checkpoints, ascending by step."""
        return [item async for item in self._engine.checkpoints.list(self.job_id)]

    async def metrics(self) -> MetricPoint:
        """Return the latest value of each metric."""
        return await self._engine.metrics.get(self.job_id)

    def history(
        self, *, after_step: int | None = None, max_points: int | None = None
    ) -> AsyncIterator[MetricPoint]:
        """Iterate over logged steps, ascending; see `AsyncMetrics.history`."""
        return self._engine.metrics.history(
            self.job_id, after_step=after_step, max_points=max_points
        )

    def samples(
        self, *, from_step: int | None = None, to_step: int | None = None
    ) -> AsyncIterator[SampledStep]:
        """Iterate over what the model made of `sample_prompts` at each evaluation, ascending."""
        return self._engine.metrics.samples(self.job_id, from_step=from_step, to_step=to_step)

    async def throughput(self) -> Throughput:
        """Return how fast the job trains."""
        return await self._engine.metrics.throughput(self.job_id)

    def stream_metrics(
        self,
        *,
        after_step: int | None = None,
        on_rewind: Callable[[int], object] | None = None,
    ) -> AsyncIterator[MetricPoint]:
        """Replay logged steps, then follow them live; see `AsyncMetrics.stream`."""
        return self._engine.metrics.stream(self.job_id, after_step=after_step, on_rewind=on_rewind)

    def logs(self) -> AsyncIterator[LogLine]:
        """Iterate over what the trainer printed, oldest first."""
        return self._engine.jobs.logs(self.job_id)

    def watch(self, *, after: str = "") -> AsyncIterator[JobEvent]:
        """Follow everything that happens to the job; see `AsyncJobs.watch`."""
        return self._engine.jobs.watch(self.job_id, after=after)
