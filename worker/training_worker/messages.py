"""What a queue message may say: run this attempt. Anything else is refused, never called.

RQ calls a message's function by its name, so a process that can write to Redis could run any
function of any module. Here a message is only read: the name must be RUN_ATTEMPT, the arguments
a job id and an attempt, and the worker decides itself what to do with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from rq import Queue
from rq.job import Job

from job_store.queues import RUN_ATTEMPT, RUN_PLACE


class MessageRefusedError(ValueError):
    """A message that this worker does not act on."""


@dataclass(frozen=True, slots=True)
class AttemptOrder:
    """What a valid message asks for."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """What a valid message about a place in an attempt asks for."""

    job_id: str
    attempt: int
    claim_id: str
    place: int
    """From 1; 0 is the worker that has claimed the attempt."""
    host: str
    port: int
    """Where that worker waits for the others."""
    device: str
    """Kind of device of all workers of the attempt: cpu or cuda."""


class AttemptJob(Job):
    """RQ's record of a message; instead of calling a function by name it allows two names only."""

    def order(self) -> AttemptOrder | PlaceOrder:
        """Return what the message asks for.

        Raises:
            MessageRefusedError: A message that this worker does not act on.
        """
        try:
            name, args, kwargs = self.func_name, self.args, self.kwargs
        except Exception as error:  # no entry of the queue may end the worker
            raise MessageRefusedError(f"it cannot be read: {error}") from None
        if name == RUN_PLACE:
            return _read_place(args, kwargs)
        if name != RUN_ATTEMPT:
            raise MessageRefusedError(
                f"it names {str(name)[:100]!r}, and only {RUN_ATTEMPT!r} is allowed"
            )
        return _read_order(args, kwargs)

    def perform(self) -> NoReturn:
        """Refuse: workers act on `order()`."""
        raise MessageRefusedError("a message's function is never called by its name")


class AttemptQueue(Queue):
    """A queue whose messages are read as `AttemptJob`."""

    job_class = AttemptJob


def _read_order(args: Any, kwargs: Any) -> AttemptOrder:
    well_formed = isinstance(args, list | tuple) and len(args) == 2 and not kwargs
    if not well_formed or not isinstance(args[0], str) or type(args[1]) is not int:
        raise MessageRefusedError("its arguments must be a job id (text) and an attempt (integer)")
    return AttemptOrder(args[0], args[1])


def _read_place(args: Any, kwargs: Any) -> PlaceOrder:
    kinds = [str, int, str, int, str, int, str]
    if not isinstance(args, list | tuple) or kwargs or [type(each) for each in args] != kinds:
        raise MessageRefusedError(
            "its arguments must be those of a place: job id, attempt, claim id, place, host, port, "
            "device"
        )
    return PlaceOrder(*args)
