"""Calls that wait at the same time are handled together, and each gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from job_store.batches import Batches


class Action:
    """Doubles numbers, when it is let; a negative one is an error."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        await self.go_on.wait()
        if 0 in items:
            raise RuntimeError("all of them")
        return [2 * item if item > 0 else ValueError(f"{item}") for item in items]


async def test_who_comes_while_a_batch_is_under_way_is_in_the_next() -> None:
    action = Action()
    batches = Batches(action, most=3)
    first = [asyncio.create_task(batches.add(number)) for number in (1, 2)]
    while not action.batches:
        await asyncio.sleep(0)
    later = [asyncio.create_task(batches.add(number)) for number in (3, 4, 5, 6)]
    await asyncio.sleep(0)
    action.go_on.set()
    assert await asyncio.gather(*first, *later) == [2, 4, 6, 8, 10, 12]
    assert action.batches == [[1, 2], [3, 4, 5], [6]]
    assert await batches.add(7) == 14  # after a rest


async def test_an_error_of_one_is_its_own_and_one_of_the_action_is_everyones() -> None:
    action = Action()
    action.go_on.set()
    batches = Batches(action, most=10)
    good, bad = await asyncio.gather(batches.add(1), batches.add(-1), return_exceptions=True)
    assert (good, type(bad)) == (2, ValueError)
    both = await asyncio.gather(batches.add(1), batches.add(0), return_exceptions=True)
    assert [str(error) for error in both] == ["all of them"] * 2


async def test_no_batch_is_under_way_once_they_are_closed() -> None:
    action = Action()
    batches = Batches(action, most=1)
    callers = [asyncio.create_task(batches.add(number)) for number in (1, 2)]
    while not action.batches:
        await asyncio.sleep(0)
    await batches.close()
    await asyncio.wait(callers)
    assert [caller.cancelled() for caller in callers] == [True, True]
    action.go_on.set()
    assert await batches.add(3) == 6


async def test_a_caller_that_leaves_takes_nothing_from_the_others() -> None:
    action = Action()
    batches = Batches(action, most=10)
    leaving, staying = (asyncio.create_task(batches.add(number)) for number in (1, 2))
    while not action.batches:
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    action.go_on.set()
    assert await staying == 4
