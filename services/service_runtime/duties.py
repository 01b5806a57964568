"""Work that a process repeats in the background; a failure is logged and tried again.

    duties = Duties(expected=(StoreUnavailableError,))
    task = asyncio.create_task(duties.keep("reconciler", look, seconds=1.0, stopping=stopping))
    duties.problem  # "" while all is well, else why the process is not ready

Until the work succeeds the process is not ready. After an expected error it is tried again within a
second, after any other error the pauses grow. A loop in a thread does the same with `failed` and
`done`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service_runtime.backoff import pause_seconds
from service_runtime.logs import get_logger
from service_runtime.process import wait_for_event

_log = get_logger("duties")
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_OUTAGE_PAUSE = 1.0  # seconds, as the two above; an outage may end soon, and a try costs little

NOT_READY_METADATA = "training-engine-not-ready-bin"
"""Key of gRPC metadata: a health check that says NOT_SERVING has `problem` there, in UTF-8."""


@dataclass(slots=True)
class _Failure:
    why: str
    count: int


class Duties:
    """Runs a process's duties, each under a name, and knows which of them fail now.

    May be used from any thread.

    Args:
        expected: errors of an outage outside this process. They are logged once, in one line;
            every other error is a defect and is logged with its traceback each time.
    """

    def __init__(self, expected: tuple[type[Exception], ...] = ()) -> None:
        self._expected = expected
        self._failures: dict[str, _Failure] = {}

    @property
    def problem(self) -> str:
        """Why the process is not ready; empty while every duty is done."""
        failures = list(self._failures.values())  # a copy: other threads may add some
        reasons = [failure.why for failure in failures]
        return "; ".join(dict.fromkeys(reasons))

    def done(self, name: str) -> None:
        """Record that the duty was done."""
        if self._failures.pop(name, None) is not None:
            _log.info("a background task works again", task=name)

    def failed(self, name: str, error: Exception) -> float:
        """Record that the duty failed, and return the seconds to wait, more with each failure."""
        before = self._failures.get(name)
        count = 1 if before is None else before.count + 1
        if isinstance(error, self._expected):
            why = str(error)
            if before is None or before.why != why:
                _log.warning("a background task waits", task=name, why=why)
        else:
            why = f"{name} fails ({type(error).__name__}); see the log of the process"
            _log.error("a background task failed; trying again", task=name, exc_info=error)
        self._failures[name] = _Failure(why, count)
        return pause_seconds(count, _FIRST_PAUSE, _LONGEST_PAUSE)

    async def keep(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        seconds: float,
        stopping: asyncio.Event,
    ) -> None:
        """Call `work`, and again `seconds` after each call, until `stopping` is set.

        Its errors are recorded by `failed`, never raised. The pause after an expected error is at
        most a second, after another one at least what `failed` returns.

        A call that has begun is finished, never cancelled.
        """
        while not stopping.is_set():
            wait = seconds
            try:
                await work()
            except Exception as error:
                pause = self.failed(name, error)
                is_outage = isinstance(error, self._expected)
                wait = min(seconds, _OUTAGE_PAUSE) if is_outage else max(seconds, pause)
            else:
                self.done(name)
            await wait_for_event(stopping, wait)
