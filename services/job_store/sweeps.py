"""Sweeps: what is searched, what was decided, and which jobs are the children."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from job_store.catalog import CatalogStore
from job_store.codec import decode_sweep, json_fields
from job_store.connection import AsyncConnection, memo_arguments, recall
from job_store.ids import check_id, new_id
from job_store.journal import JournalWriter
from job_store.records import Request, SweepRecord, SweepStatus


class SweepStore(CatalogStore[SweepRecord]):
    """Records of sweeps, as hashes; the jobs of a sweep are a hash beside it."""

    kind = "sweep"
    most_on_page = 100  # a sweep may have a thousand children
    _decode = staticmethod(decode_sweep)

    def __init__(self, connection: AsyncConnection, journal: JournalWriter | None = None) -> None:
        super().__init__(connection, journal)
        self._open = f"{self._keys.items('sweep')}:open"

    async def create(self, name: str, document: str, request: Request | None = None) -> SweepRecord:
        """Store a running sweep; `document` is its plan (JSON text).

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        fields = {
            "name": name,
            "document": document,
            "status": SweepStatus.RUNNING.value,
            "message": "",
            "rungs_decided": "0",
            "rungs": "[]",
        }
        id, _ = await self._create(new_id("sweep"), fields, request)
        return await self.get(id)

    async def move(
        self,
        sweep_id: str,
        action: str,
        to: SweepStatus,
        expected: Sequence[SweepStatus],
        *,
        message: str = "",
        request: Request | None = None,
    ) -> SweepRecord:
        """Change the state of a sweep that is in an expected one; durably, and in the journal.

        Raises:
            NotFoundError: There is no such sweep.
            TransitionRefusedError: It is in another state.
        """
        changes = {"status": to.value, "message": message}
        changed = await self._change(sweep_id, action, expected, changes, request=request)
        assert changed is not None
        return changed

    async def give_up(
        self, sweep_id: str, message: str, job_id: str = "", attempt: int = 0
    ) -> SweepRecord | None:
        """Stop a running sweep, where this attempt of a child has failed and none has followed it.

        None where one has: a person has cured the cause and resumed the sweep. Without a child the
        sweep is stopped in any case.

        Raises:
            TransitionRefusedError: The sweep does not run any more.
        """
        changes = {"status": SweepStatus.STOPPED.value, "message": message}
        failed = (job_id, attempt)
        return await self._change(sweep_id, "stop", (SweepStatus.RUNNING,), changes, failed=failed)

    async def decide(
        self,
        sweep_id: str,
        rungs: Sequence[Mapping[str, Any]],
        *,
        is_last: bool,
        message: str = "",
    ) -> SweepRecord | None:
        """Add the decision about a rung, the last of `rungs`; None where it was decided before.

        `message`: what a person should know of it.

        Raises:
            TransitionRefusedError: The sweep does not run any more.
        """
        changes = {
            "rungs": json.dumps(list(rungs)),
            "rungs_decided": str(len(rungs)),
            "message": message,
        }
        if is_last:
            changes["status"] = SweepStatus.SUCCEEDED.value
        expected = (SweepStatus.RUNNING,)
        before = str(len(rungs) - 1)
        return await self._change(sweep_id, "decide a rung of", expected, changes, before)

    async def _change(
        self,
        sweep_id: str,
        action: str,
        expected: Sequence[SweepStatus],
        changes: Mapping[str, str],
        rungs: str = "",
        failed: tuple[str, int] = ("", 0),
        request: Request | None = None,
    ) -> SweepRecord | None:
        check_id("sweep", sweep_id)
        memo = memo_arguments(self._db.prefix, request)
        words = [word for pair in changes.items() for word in pair]
        # Whatever is left to do (children to stop, say) is done by the one that drives it.
        reply = await self._db.run(
            "change_sweep", sweep_id, *memo, ",".join(expected), rungs, action, 1, *failed,
            *words, request=request,
        )  # fmt: skip
        if reply is None:
            return None
        await self._journal.acknowledge(memo[0], "sweep", sweep_id)
        return self._decode(sweep_id, json_fields(reply[0]))

    async def children(self, sweep_id: str) -> dict[int, str]:
        """Return the ids of the jobs that were started, by their number."""
        key = f"{self._keys.item('sweep', check_id('sweep', sweep_id))}:children"
        stored = await self._db.command("HGETALL", key)
        return {int(number): job_id.decode() for number, job_id in stored.items()}

    async def open(self) -> list[str]:
        """Return the ids of the sweeps that something may have to be done for."""
        return sorted(id.decode() for id in await self._db.command("SMEMBERS", self._open))

    async def settle(self, sweep_id: str, status: SweepStatus | None) -> None:
        """Take a sweep off the list of open ones, unless it is in another state by now.

        `status`: that in which nothing is left to do; None for a sweep that is gone.
        """
        await self._db.run("settle_sweep", sweep_id, status or "")

    async def status_of(self, sweep_id: str) -> SweepStatus | None:
        """Return the state of a sweep; None where there is none."""
        key = self._keys.item("sweep", check_id("sweep", sweep_id))
        stored = await self._db.command("HGET", key, "status")
        return SweepStatus(stored.decode()) if stored else None

    async def was_deleted(self, request: Request | None) -> bool:
        """Whether this deletion is a repetition of one that was carried out.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        return await recall(self._db, request) is not None
