"""The Redis connections of a worker: a patient one for RQ, an impatient one for supervision."""

from __future__ import annotations

import logging
import time

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from job_store.connection import Connection
from service_runtime.logs import redact
from service_runtime.settings import mask_url

logger = logging.getLogger(__name__)

PROMPT_SECONDS = 2.0
"""Longest wait of a supervising process for one answer: it has a trainer to look after."""


def patient_client(url: str) -> redis.Redis:
    """For RQ, which quits at the first error that reaches it: rides out about ten minutes."""
    return redis.Redis.from_url(
        url, socket_connect_timeout=3, retry=Retry(ExponentialBackoff(cap=2, base=0.1), 300)
    )


def prompt_connection(url: str) -> Connection:
    """For callers that must not wait: one quick second try, for a connection that went stale."""
    client = redis.Redis.from_url(
        url,
        socket_timeout=PROMPT_SECONDS,
        socket_connect_timeout=PROMPT_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
    return Connection(client)


def wait_for_redis(url: str) -> None:
    """Return once the server answers; until then say every few seconds what is missing."""
    client = prompt_connection(url).client
    complaint_at = 0.0
    while True:
        try:
            client.ping()
            return
        except RedisError as error:
            if time.monotonic() >= complaint_at:
                complaint_at = time.monotonic() + 10.0
                logger.warning("waiting for Redis at %s: %s", mask_url(url), redact(str(error)))
            time.sleep(0.2)
        finally:
            client.close()
