"""The Redis connections of a worker: one that retries for RQ, one with deadlines for the rest."""

from __future__ import annotations

import logging
import time

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from job_store.clients import open_client, replicas_of, require_safe_failover
from job_store.connection import Connection
from service_runtime.logs import redact
from service_runtime.settings import mask_url

logger = logging.getLogger(__name__)

PROMPT_SECONDS = 5.0
"""Longest wait of a supervising process for one answer: it has a trainer to look after. A network
that takes 4 s for the way there and back must not cost it the lease."""


def patient_client(url: str) -> redis.Redis:
    """Return a client for RQ, which ends at the first error: it retries for about ten minutes."""
    return open_client(
        url, socket_connect_timeout=3, retry=Retry(ExponentialBackoff(cap=2, base=0.1), 300)
    )


def prompt_connection(url: str) -> Connection:
    """Return a connection for callers that must not wait; it tries a stale one twice."""
    server = open_client(
        url,
        socket_timeout=PROMPT_SECONDS,
        socket_connect_timeout=PROMPT_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    return Connection(server, replicas=replicas_of(url))


def wait_for_redis(url: str) -> None:
    """Return once the server answers; until then say every few seconds what is missing.

    Raises:
        UnsafeFailoverError: See `require_safe_failover`.
    """
    server = prompt_connection(url).client
    next_warning = 0.0
    while True:
        try:
            server.ping()
            return require_safe_failover(url)
        except RedisError as error:
            if time.monotonic() >= next_warning:
                next_warning = time.monotonic() + 10.0
                logger.warning("waiting for Redis at %s: %s", mask_url(url), redact(str(error)))
            time.sleep(0.2)
        finally:
            server.close()
