"""The children of a sweep as jobs: which there are, what they measured, whether they wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.state import ServiceState
from job_store.errors import NotFoundError
from job_store.records import JobRecord, JobStatus

OF_THE_VALUES = frozenset({"NON_FINITE_LOSS", "OUT_OF_MEMORY", "INVALID_CONFIG"})
"""Reasons of a failure that lie in a child's values: it would fail again, and ranks last."""
_OF_DATA = (
    "data", "dataset_path", "val_dataset_path", "val_fraction", "text_column", "token_dtype",
    "tokenizer", "sequence_length", "model_config.max_position_embeddings",
    "model_config.vocab_size",
)  # fmt: skip
"""Fields on which it depends whether data can be trained on. INVALID_DATA lies in a child's values
where one of them is a parameter; else the data that all share have changed, or are away."""
_ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.STOPPING)


@dataclass(frozen=True, slots=True)
class Child:
    """A child and its job."""

    number: int
    job_id: str = ""
    """Empty until it was started."""
    job: JobRecord | None = None
    """None where it was deleted, too."""

    @property
    def is_started(self) -> bool:
        """Whether it ever had a job."""
        return bool(self.job_id)

    @property
    def is_active(self) -> bool:
        """Whether its job waits for a worker, or has one."""
        return self.job is not None and self.job.status in _ACTIVE

    def has_ended(self, pause: int | None) -> bool:
        """Whether it has done what it can in the rung that ends at `pause` (None: with the run).

        It may have come further, where the loss of Redis took back the decision about this rung.
        """
        if self.job is None:
            return self.is_started
        if self.job.status is JobStatus.STOPPED:
            return pause is not None and (self.job.stop_at_step or 0) >= pause
        return self.job.status is JobStatus.SUCCEEDED or self.failed_by_values

    @property
    def failed_by_values(self) -> bool:
        """Whether it failed, and another try would fail again."""
        by_data = self._reason == "INVALID_DATA" and self._varies_data
        return self.has_failed and (by_data or self._reason in OF_THE_VALUES)

    @property
    def _varies_data(self) -> bool:
        names = json.loads(self.job.sweep_values or "{}") if self.job else {}
        return any(
            f"{field}.".startswith(f"{name}.") or name.startswith(f"{field}.")
            for name in names
            for field in _OF_DATA
        )

    @property
    def has_failed(self) -> bool:
        """Whether its job has failed."""
        return self.job is not None and self.job.status is JobStatus.FAILED

    @property
    def _reason(self) -> str:
        return self.job.error.reason if self.job and self.job.error else ""


async def children_of(
    sweep_id: str, numbers: Iterable[int], state: ServiceState
) -> dict[int, Child]:
    """Return these children of a sweep, by number."""
    started = await state.sweeps.children(sweep_id)

    async def read(number: int) -> Child:
        job_id = started.get(number, "")
        if not job_id:
            return Child(number)
        try:
            return Child(number, job_id, await state.jobs.get(job_id, with_config=False))
        except NotFoundError:
            return Child(number, job_id)

    return {each.number: each for each in await asyncio.gather(*map(read, numbers))}


async def scores(
    children: Mapping[int, Child], metric: str, pause: int | None, state: ServiceState
) -> dict[int, float | None]:
    """Return the metric of each child at `pause`, or where it ended before; None without one."""

    async def score(child: Child) -> float | None:
        if child.job is None or child.has_failed:
            return None
        step = min(child.job.current_step, pause or child.job.current_step)
        page = await state.history.page(child.job_id, from_step=step, to_step=step, page_size=1)
        return page.points[0].values.get(metric) if page.points else None

    found = await asyncio.gather(*map(score, children.values()))
    return dict(zip(children, found, strict=True))
