"""Background work: whatever it raises, it is tried again, and the process says what is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from structlog.testing import capture_logs

from service_runtime.duties import Duties


class AwayError(Exception):
    """An outage outside the process."""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_work_goes_on_after_any_error_until_it_is_asked_to_stop() -> None:
    duties, stopping = Duties(expected=(AwayError,)), asyncio.Event()
    fails_with: Exception | None = None
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if fails_with is not None:
            raise fails_with

    with capture_logs() as logged:
        task = asyncio.create_task(duties.keep("counting", work, seconds=0.01, stopping=stopping))
        await until(lambda: rounds >= 2)
        assert duties.problem == ""
        fails_with = ZeroDivisionError("7 / 0")
        await until(lambda: duties.problem)
        assert duties.problem == "counting fails (ZeroDivisionError); see the log of the process"
        seen = rounds
        fails_with = None
        await until(lambda: rounds > seen and not duties.problem)
        fails_with = AwayError("the server is away")
        await until(lambda: duties.problem == "the server is away")
        seen = rounds
        await until(lambda: rounds >= seen + 3)
        stopping.set()
        await asyncio.wait_for(task, 60)
    defects = [entry["exc_info"] for entry in logged if entry["log_level"] == "error"]
    waits = [entry["why"] for entry in logged if entry["log_level"] == "warning"]
    assert {type(defect) for defect in defects} == {ZeroDivisionError}
    assert waits == ["the server is away"]


def test_pauses_grow_to_a_bound_and_begin_again_after_success() -> None:
    duties = Duties()
    pauses = [duties.failed("it", ValueError()) for _ in range(7)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    duties.done("it")
    assert duties.problem == ""
    assert duties.failed("it", ValueError()) == 0.2


def test_one_reason_of_several_duties_is_named_once() -> None:
    duties = Duties(expected=(AwayError,))
    for name in ("health", "reconciler"):
        duties.failed(name, AwayError("full"))
    duties.failed("counts", TypeError())
    assert duties.problem == "full; counts fails (TypeError); see the log of the process"
    duties.done("health")
    assert duties.problem.startswith("full; ")


async def test_a_stop_does_not_wait_for_the_next_round() -> None:
    duties, stopping = Duties(), asyncio.Event()
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    task = asyncio.create_task(duties.keep("y", work, seconds=3600, stopping=stopping))
    await done.wait()
    began = time.monotonic()
    stopping.set()
    await task
    assert time.monotonic() - began < 5
