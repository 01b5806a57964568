"""Sees a worker's death at once, and reports it from a small process beside the worker.

It takes the worker out of the list of workers, so that no job over several of them waits for it.

No silence is taken for a death: a worker that is frozen, or cut off from Redis, lives. The witness
waits for the kernel to say that the worker's process has ended. Then it ends what is left of the
trainer, and tells the reconciler which claim has lost its worker. Where the witness dies as well,
with a whole container or machine, the lease runs out as it does without it.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import select
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from redis.exceptions import RedisError

from job_store.attempts import AttemptStore
from job_store.errors import StoreUnavailableError
from job_store.records import FencingToken
from job_store.workers import WorkerRegistry
from service_runtime.process import dies_with_parent
from training_worker.connections import prompt_connection
from training_worker.side_process import SideProcess

logger = logging.getLogger(__name__)

_HEAD = struct.Struct("=qq")  # the trainer's process id, the length of the claim
_NAME_AT = mmap.PAGESIZE // 2
_LEFT_TO_THE_WORKER = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_KILL_AGAIN_SECONDS = 0.01
_REPORT_AGAIN_SECONDS = 0.2
_PATIENCE_SECONDS = 120.0
"""How long the server may be away for the report still to be of use."""


class ClaimPage:
    """What the worker holds, in a page of memory shared with its trainer and its witness.

    Behind it is the worker's id, in the second half of the page.
    """

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def worker_id(self) -> str:
        """Of the worker; empty until `name_worker`."""
        return self._page[_NAME_AT:].rstrip(b"\0").decode()

    def name_worker(self, worker_id: str) -> None:
        """Note the worker's id, once."""
        self._page[_NAME_AT : _NAME_AT + len(worker_id)] = worker_id.encode()

    def hold(self, token: FencingToken) -> None:
        """Note a claim, before it is made: the worker may die while it is."""
        text = json.dumps([token.job_id, token.attempt, token.claim_id]).encode()
        # The length comes last: a claim that is half written is not there.
        self._page[_HEAD.size : _HEAD.size + len(text)] = text
        _HEAD.pack_into(self._page, 0, 0, len(text))

    def name_trainer(self) -> None:
        """Note that this process, the leader of its process group, trains the attempt."""
        _, length = _HEAD.unpack_from(self._page)
        _HEAD.pack_into(self._page, 0, os.getpid(), length)

    def release(self) -> None:
        """Note that the worker holds no claim any more, and that its trainer is gone."""
        _HEAD.pack_into(self._page, 0, 0, 0)

    def read(self) -> tuple[FencingToken | None, int]:
        """Return the claim, if there is one, and its trainer's process id, else 0."""
        trainer, length = _HEAD.unpack_from(self._page)
        if not length:
            return None, 0
        return FencingToken(*json.loads(self._page[_HEAD.size : _HEAD.size + length])), trainer


def process_of_stack() -> int:
    """Return the id of the process with which this one and Redis end, `up`; 0 for none."""
    return os.getppid() if dies_with_parent() else 0


class Witness(SideProcess):
    """The process, as its worker uses it.

    Args:
        redis_url: where it reports.
        stack: of `process_of_stack`, without whose process a report has no use.
    """

    def __init__(self, redis_url: str, stack: int) -> None:
        self.page = ClaimPage()
        self._redis_url = redis_url
        self._stack = stack
        super().__init__("witness", self._watch)

    def _watch(self, worker: int) -> None:
        for number in _LEFT_TO_THE_WORKER:
            signal.signal(number, signal.SIG_IGN)
        session = os.getsid(0)
        # Files and connections of the worker: to keep them open would hide that it is gone.
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 2:
                with suppress(OSError):
                    os.close(descriptor)
        _wait_for_the_end_of(worker)
        token, trainer = self.page.read()
        if token is not None:
            _end_group(trainer, session)
            self._report(token)
        if self.page.worker_id:
            with (
                suppress(StoreUnavailableError, RedisError),
                closing(prompt_connection(self._redis_url)) as connection,
            ):
                WorkerRegistry(connection).leave(self.page.worker_id)

    def _report(self, token: FencingToken) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline and not (self._stack and _is_gone(self._stack)):
            with closing(prompt_connection(self._redis_url)) as connection:
                try:
                    AttemptStore(connection).report_ended_worker(token)
                except (StoreUnavailableError, RedisError):
                    time.sleep(_REPORT_AGAIN_SECONDS)
                else:
                    logger.warning(
                        "the worker's process has ended; attempt %d of job %s goes to another",
                        *(token.attempt, token.job_id),
                    )
                    return


def _wait_for_the_end_of(worker: int) -> None:
    """Return once the parent has ended; it may be gone already."""
    try:
        handle = os.pidfd_open(worker)
    except ProcessLookupError:
        return
    if os.getppid() == worker:  # else another process may have got the number
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        poller.poll()


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _end_group(group: int, session: int) -> None:
    """Kill a trainer with its ranks and loader workers, and return when they are gone.

    The kernel kills the trainer with its worker; this is for what it may leave, and for the time
    that takes. The session tells the group from one of other processes with a number used again.
    """
    while group and (members := list(_members(group, session))):
        for member in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)
        time.sleep(_KILL_AGAIN_SECONDS)


def _members(group: int, session: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, in_group, in_session = path.read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX" and (int(in_group), int(in_session)) == (group, session):
                yield int(path.parent.name)
