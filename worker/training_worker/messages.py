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

from job_store.queues import RUN_ATTEMPT


class MessageRefusedError(ValueError):
    """A message that this worker does not act on."""


@dataclass(frozen=True, slots=True)
class AttemptOrder:
    """What a valid message asks for."""

    job_id: str
    attempt: int


class AttemptJob(Job):
    """RQ's record of a message; instead of calling a function by name it allows one name only."""

    def order(self) -> AttemptOrder:
        """Return what the message asks for.

        Raises:
            MessageRefusedError: A message that this worker does not act on.
        """
        try:
            name, args, kwargs = self.func_name, self.args, self.kwargs
        except Exception as error:  # no entry of the queue may end the worker
            raise MessageRefusedError(f"it cannot be read: {error}") from None
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
