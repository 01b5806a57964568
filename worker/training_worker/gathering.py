"""Brings the workers of a job over several nodes together: all of them, or none.

The worker that has claimed the attempt has place 0. It writes a message for each other place, in
front of all that waits, and workers that have nothing to do take them. Where places are left the
attempt is handed back, without counting as a failure, and begins again later.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Collection
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from app.training.node import Node
from job_store.attempts import AttemptStore
from job_store.errors import StoreUnavailableError
from job_store.queues import RUN_PLACE
from job_store.records import Claimed, JobError, Outcome, OutcomeKind
from training_worker.messages import PlaceOrder

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_ASK_AGAIN_PARTS = 4
"""Of the patience: a worker may have died between reading a message and taking its place."""
_GET_INTERFACE_ADDRESS = 0x8915  # SIOCGIFADDR


class Gathering:
    """Gathers the workers of one claimed attempt.

    Args:
        client: where messages are written.
        address: of this machine, for the others.
        device: kind of this worker's, cpu or cuda; the others are to train on the same.
        queue: where the other workers look.
        patience_seconds: in which all places are to be taken.
        renewal_seconds: between two renewals of the lease meanwhile.
        is_leaving: whether this worker has been asked to leave.
    """

    def __init__(
        self,
        claimed: Claimed,
        store: AttemptStore,
        client: Redis,
        address: str,
        *,
        device: str,
        queue: str,
        patience_seconds: float,
        renewal_seconds: float,
        heartbeat: Callable[[], None],
        is_leaving: Callable[[], bool],
    ) -> None:
        self._claimed, self._store, self._client = claimed, store, client
        self._address, self._device, self._queue = address, device, queue
        self._patience_seconds = patience_seconds
        self._renewal_seconds, self._heartbeat = renewal_seconds, heartbeat
        self._is_leaving = is_leaving
        self._stop_requested = False

    def run(self) -> Node | Outcome:
        """Return this machine's part in the run, or how the attempt ends without having begun.

        Raises:
            FencedError: Another attempt has taken over.
        """
        nodes = self._claimed.record.execution.nodes
        listener = socket.create_server((self._address, 0))
        port: int = listener.getsockname()[1]
        try:
            taken = self._wait_for(range(1, nodes), port)
        except RedisError as error:
            logger.warning("the places of job %s wait: %s", self._claimed.token.job_id, error)
            taken = 0
        except BaseException:
            listener.close()
            raise
        if taken == nodes - 1:
            own = interface_of(self._address)
            run_id = self._claimed.token.claim_id
            return Node(0, nodes, run_id, self._address, port, own, listener)
        listener.close()
        return self._given_back(1 + taken, nodes)

    def _ask_for(self, place: int, port: int, number: int) -> None:
        """Write a message of a place, in front of all that waits; each has another `number`."""
        token, client = self._claimed.token, self._client
        queue: Any = Queue(self._queue, connection=client, serializer=JSONSerializer)
        where = (self._address, port, self._device)
        message = Job.create(
            RUN_PLACE,
            args=(token.job_id, token.attempt, token.claim_id, place, *where),
            id=f"{token.job_id}-{token.attempt}-{place}-{token.claim_id}-{number}",
            connection=client,
            serializer=JSONSerializer,
            timeout=-1,
            ttl=math.ceil(self._patience_seconds),
        )
        queue.enqueue_job(message, at_front=True)

    def _wait_for(self, places: Collection[int], port: int) -> int:
        """Return how many of these places are taken, once all are or time is up."""
        began = renewed_at = time.monotonic()
        asked = 0
        while True:
            now = time.monotonic()
            taken = self._taken()
            missing = [place for place in places if place not in taken]
            if now - renewed_at >= self._renewal_seconds:
                renewed_at = now
                self._renew()
            is_over = self._stop_requested or self._is_leaving()
            if not missing or is_over or now - began >= self._patience_seconds:
                return len(places) - len(missing)
            if now - began >= asked * self._patience_seconds / _ASK_AGAIN_PARTS:
                asked += 1
                for place in missing:
                    self._ask_for(place, port, asked)
            time.sleep(_POLL_SECONDS)

    def _taken(self) -> Collection[int]:
        try:
            return self._store.places(self._claimed.token.job_id)
        except StoreUnavailableError:
            return ()

    def _renew(self) -> None:
        try:
            self._stop_requested = self._store.renew_lease(self._claimed.token).stop_requested
        except StoreUnavailableError as error:
            logger.warning("the lease of job %s waits: %s", self._claimed.token.job_id, error)
        else:
            self._heartbeat()

    def _given_back(self, came: int, nodes: int) -> Outcome:
        if self._stop_requested:
            return Outcome(OutcomeKind.STOPPED)
        if self._is_leaving():
            return Outcome(OutcomeKind.HANDED_BACK)
        seconds = self._patience_seconds
        message = f"{came} of {nodes} workers came within {seconds:g} s; it waits for a pause"
        logger.warning("job %s: %s", self._claimed.token.job_id, message)
        # With an error the next attempt waits: the others are to have time.
        return Outcome(OutcomeKind.HANDED_BACK, JobError("WORKER_LOST", message))


def node_of(order: PlaceOrder, nodes: int, address: str) -> Node:
    """Return the part of a machine that has taken a place; `address`: its own."""
    own = interface_of(address)
    return Node(order.place, nodes, order.claim_id, order.host, order.port, own)


def own_address(named: str, client: Redis) -> str:
    """Return `named`, or this machine's address on the way to Redis."""
    if named:
        return named
    server = client.connection_pool.connection_kwargs
    if "host" not in server:  # a socket file, or Sentinel
        return socket.gethostbyname(socket.gethostname())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server["host"], int(server.get("port", 6379))))  # sends nothing
        address: str = probe.getsockname()[0]
        return address


def interface_of(address: str) -> str:
    """Return the name of the network interface with this address; empty where none has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", os.fsencode(name)[:15])
            try:
                reply = fcntl.ioctl(any_socket.fileno(), _GET_INTERFACE_ADDRESS, request)
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(reply[20:24]) == address:
                return name
    return ""
