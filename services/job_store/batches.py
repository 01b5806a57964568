"""Does the work of concurrent calls together: most of a trip's cost does not depend on its load."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batches(Generic[T, R]):
    """Handles the items of all callers that wait at the same time in one run of an action.

    One batch is under way at a time; items that come meanwhile are in the next.

    Args:
        action: returns the results of a batch in its order; one that is an exception is raised to
            its caller. What the action itself raises is raised to all.
        most: items in a batch.
    """

    def __init__(
        self, action: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], most: int
    ) -> None:
        self._action = action
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """Return the item's result, of a run that began after this call."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="batches")
        return await result

    async def close(self) -> None:
        """End the batch under way. Callers that are left are cancelled."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                results = await self._results([item for item, _ in batch])
                for (_, waiter), result in zip(batch, results, strict=True):
                    _deliver(waiter, result)
        finally:
            for _, waiter in (*batch, *self._waiting):
                waiter.cancel()  # does nothing to those that have their result
            self._waiting, self._task = [], None

    async def _results(self, items: Sequence[T]) -> Sequence[R | Exception]:
        try:
            return await self._action(items)
        except Exception as error:
            return [error] * len(items)


def _deliver(waiter: asyncio.Future[R], result: R | Exception) -> None:
    if waiter.done():
        return  # its caller has left
    if isinstance(result, Exception):
        waiter.set_exception(result)
    else:
        waiter.set_result(result)
