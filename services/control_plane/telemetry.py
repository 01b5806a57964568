"""What the control plane measures of itself and of the jobs, for Prometheus."""

from __future__ import annotations

import asyncio

from prometheus_client import Counter, Gauge

from job_store.errors import JobStoreError
from job_store.jobs import JobStore
from job_store.records import JobStatus
from service_runtime.process import wait_for_event

CALLS = Counter(
    "training_engine_calls", "Calls answered, by method and error reason.", ["method", "reason"]
)
LOST_ATTEMPTS = Counter(
    "training_engine_lost_attempts", "Attempts declared lost, by reason.", ["reason"]
)
RESENT_MESSAGES = Counter(
    "training_engine_resent_messages", "Messages that were lost in the queue and sent again."
)
# Autoscalers sum queued and running: scaling on the queue alone takes busy workers away.
_JOBS = Gauge("training_engine_jobs", "Jobs in each state.", ["status"])
_COUNT_SECONDS = 5.0


async def count_jobs(jobs: JobStore, stopping: asyncio.Event) -> None:
    """Keep the gauge of jobs up to date until told to stop."""
    while not stopping.is_set():
        try:
            for status in JobStatus:
                _JOBS.labels(status.value).set(await jobs.count(status))
        except JobStoreError:
            _JOBS.clear()  # unknown is better than old
        await wait_for_event(stopping, _COUNT_SECONDS)
