"""The control plane's Prometheus metrics: of its calls, its reconciler and the jobs."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from job_store.jobs import JobStore
from job_store.records import JobStatus

CALLS = Counter(
    "training_engine_calls", "Calls answered, by method and error reason.", ["method", "reason"]
)
LOST_ATTEMPTS = Counter(
    "training_engine_lost_attempts", "Attempts declared lost, by reason.", ["reason"]
)
RESENT_MESSAGES = Counter(
    "training_engine_resent_messages", "Messages that were lost in the queue and sent again."
)
ALERT_DELIVERIES = Counter(
    "training_engine_alert_deliveries", "Requests to webhooks, by outcome.", ["outcome"]
)
# Autoscalers sum queued and running: scaling on the queue alone takes busy workers away.
_JOBS = Gauge("training_engine_jobs", "Jobs in each state.", ["status"])


async def count_jobs(jobs: JobStore) -> None:
    """Bring the gauge of jobs up to date.

    Raises:
        StoreUnavailableError: Redis does not answer, or refuses.
    """
    try:
        for status in JobStatus:
            _JOBS.labels(status.value).set(await jobs.count(status))
    except Exception:
        _JOBS.clear()  # no value is better than an old one
        raise
