"""Jobs as the control plane sees them: create, read, list, stop, resume, delete."""

from __future__ import annotations

import builtins
import json
from collections.abc import Sequence, Set
from typing import Any

from job_store.codec import (
    decode_checkpoint,
    decode_job,
    encode_checkpoint,
    folded,
    json_fields,
    new_job_fields,
)
from job_store.connection import AsyncConnection, memo_arguments, recall
from job_store.errors import JobStoreError, NotFoundError, RecordVersionError
from job_store.ids import check_id, new_id
from job_store.journal import Journal, JournalWriter
from job_store.keys import Keys
from job_store.listing import MAX_PAGE, page_of_jobs
from job_store.paging import TokenKey, page_bounds
from job_store.records import (
    EVERY_JOB,
    RECORD_VERSION,
    CheckpointPage,
    CheckpointRecord,
    JobFilter,
    JobRecord,
    JobStatus,
    NewJob,
    Page,
    Priority,
    QueuedAttempt,
    Request,
)
from job_store.segments import claimed_ranges
from job_store.unreadable import left_out, readable


class JobStore:
    """Job records in Redis; every mutation is one atomic script and idempotent by its Request.

    A mutation that clients ask for returns once it is in the server's append-only file and in the
    journal. It raises NotOnDiskError or NotJournaledError where one of the two does not hold it.
    """

    def __init__(self, connection: AsyncConnection, journal: JournalWriter | None = None) -> None:
        self._db = connection
        self._journal = Journal(connection, journal)
        self._keys = Keys(connection.prefix)
        self._tokens = TokenKey(connection)

    async def create(
        self,
        new: NewJob,
        request: Request | None = None,
        *,
        begins_with: CheckpointRecord | None = None,
    ) -> JobRecord:
        """Store a QUEUED job with attempt 1, lacking its queue message.

        `begins_with` is registered as its first checkpoint, and gives its id.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        memo = memo_arguments(self._db.prefix, request)
        job_id, base = new_id("job"), ("", "", "")
        if begins_with is not None:
            document = encode_checkpoint(begins_with)
            job_id = begins_with.job_id
            base = (begins_with.checkpoint_id, str(begins_with.step), document)
        # [T01]
        reply = await self._db.run(
            "create_job",
            job_id,
            *memo,
            new.config_document,
            *base,
            *new_job_fields(new),
            request=request,
        )
        job = self._answer(reply, new.config_document)
        await self._journal.acknowledge(memo[0], "job", job.job_id)
        return job

    async def answered(self, request: Request | None) -> JobRecord | None:
        """Return the first answer to a repeated mutation; None for a new one.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        answer = await recall(self._db, request)
        if answer is None:
            return None
        job_id = json.loads(answer)["job_id"]
        await self._journal.record("job", job_id)
        config = await self._db.command("GET", self._keys.job(job_id, "config"))
        return self._answer([answer], (config or b"").decode())

    async def checkpoint_was_deleted(self, request: Request | None) -> bool:
        """Whether this deletion of a checkpoint is a repetition of one that was carried out.

        Raises:
            RequestIdReusedError: The request id was used for another call.
        """
        answer = await recall(self._db, request)
        if answer is None:
            return False
        if job_id := json.loads(answer).get("job_id"):
            await self._journal.record("job", job_id)
        return True

    async def get(self, job_id: str, *, with_config: bool = True) -> JobRecord:
        """Return the record.

        Raises:
            NotFoundError: There is no such record.
            RecordVersionError: This program cannot read the record.
        """
        check_id("job", job_id)
        reply = await self._db.run("read_job", job_id, int(with_config))
        stored, config = reply or (b"", b"")
        if not stored:
            raise NotFoundError("job", job_id)
        return decode_job(job_id, json_fields(stored), config.decode() if config else "")

    async def list(
        self, chosen: JobFilter = EVERY_JOB, page_size: int = 50, page_token: str = ""
    ) -> Page[JobRecord]:
        """Return a page, newest first, without config documents.

        A state, a name or a tag costs O(page). Several of them, and a search, look at up to 20,000
        jobs for a page, which then may hold fewer jobs than asked for, or none, and still have a
        next one. A record that cannot be read (another version) is left out and logged; `get` names
        it.

        Raises:
            InvalidPageTokenError: The token is damaged or of another list.
        """
        return await page_of_jobs(self._db, self._tokens, chosen, page_size, page_token)

    async def count(self, status: JobStatus | None = None) -> int:
        """Return how many jobs are in this state, or how many there are in all."""
        index = self._keys.index(status.value if status else "all")
        return int(await self._db.command("ZCARD", index))

    async def update(
        self,
        job_id: str,
        *,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        most_tags: int,
        notes: str | None = None,
        request: Request | None = None,
    ) -> JobRecord:
        """Change tags and notes; None keeps the notes.

        Raises:
            TooManyTagsError: It would have more than `most_tags`.
        """
        tags = json.dumps([*add_tags]), json.dumps([*remove_tags])
        written = () if notes is None else (notes, folded(notes))
        return await self._mutate("update_job", job_id, request, *tags, most_tags, *written)

    async def request_stop(self, job_id: str, request: Request | None = None) -> JobRecord:
        """Stop a job: QUEUED becomes STOPPED, RUNNING becomes STOPPING, STOPPING stays.

        Raises:
            TransitionRefusedError: The job's state forbids it.
        """
        # [T03] [T05] [T20] [T22]
        return await self._mutate("stop_job", job_id, request)

    async def resume(
        self,
        job_id: str,
        *,
        checkpoint_id: str | None = None,
        max_steps: int | None = None,
        from_start: bool = False,
        config_document: str | None = None,
        stop_at_step: int | None = None,
        sweep_id: str = "",
        request: Request | None = None,
    ) -> JobRecord:
        """Queue attempt + 1 from a checkpoint or from step 0.

        Either choice cuts the history there and supersedes later checkpoints in the same
        transaction. Without one, the claim does that: at the newest registered checkpoint, or at a
        later one up to `max_steps` that the last claimed attempt saved and did not register.
        `config_document` replaces the stored one (it holds `max_steps` too). `stop_at_step`: where
        it stops by itself before that. `sweep_id`: of a sweep; refuse where that does not run.
        TransitionRefusedError, NotFoundError (job, checkpoint), RequestIdReusedError.
        """
        if checkpoint_id:
            check_id("checkpoint", checkpoint_id)
        larger = "" if max_steps is None else max_steps
        # [T14] [T15] [T19] [T21]
        return await self._mutate(
            "resume_job",
            job_id,
            request,
            checkpoint_id or "",
            larger,
            config_document or "",
            int(from_start),
            "" if stop_at_step is None else stop_at_step,
            sweep_id,
        )

    async def delete(self, job_id: str, request: Request | None = None) -> None:
        """Remove a job that is not RUNNING or STOPPING and all its keys."""
        check_id("job", job_id)
        memo = memo_arguments(self._db.prefix, request)
        # [T04] [T16] [T18]
        await self._db.run("delete_job", job_id, *memo, request=request)
        await self._journal.acknowledge_removal(memo[0], "job", job_id)

    async def record_in_journal(self, job_id: str) -> None:
        """Write the job as it is now into the journal; do nothing where there is no such job.

        Raises:
            NotJournaledError: The entry could not be written.
        """
        await self._journal.record("job", check_id("job", job_id))

    async def jobs_lacking_message(self, limit: int = 100) -> Sequence[QueuedAttempt]:
        """Return queued attempts whose message is not in the queue yet, oldest first."""
        return await queued_attempts(self._db, "unsent", limit)

    async def mark_enqueued(self, job_id: str, attempt: int) -> None:
        """Record that this attempt's message is in the queue. A stale attempt changes nothing."""
        await self._db.run("message", check_id("job", job_id), attempt, "sent")

    async def request_message(self, job_id: str, attempt: int) -> bool:
        """Ask for the message again (it was lost); False if the attempt no longer waits."""
        reply = await self._db.run("message", check_id("job", job_id), attempt, "lost")
        return bool(reply and reply[0])

    async def list_checkpoints(
        self, job_id: str, page_size: int = 100, page_token: str = ""
    ) -> CheckpointPage:
        """Return the registered checkpoints, ascending by step, without retired and deleted ones.

        A record that cannot be read is left out and logged; `get_checkpoint` names it.
        """
        start = "-inf"
        if page_token:
            start = "(" + await self._tokens.position(page_token, "checkpoints", job_id)
        await self._require(job_id)
        size = page_bounds(page_size, MAX_PAGE)
        # Steps are unique: a later attempt registers a step again only after it was superseded.
        key = self._keys.job(job_id, "checkpoints")
        ids = await self._db.command("ZRANGE", key, start, "+inf", "BYSCORE", "LIMIT", 0, size + 1)
        records = await self._checkpoints(job_id, ids[:size])
        token = ""
        if len(ids) > size:
            step = await self._db.command("ZSCORE", key, ids[size - 1])
            if step is None:  # retired since then: nothing says where the next page begins
                return await self.list_checkpoints(job_id, page_size, page_token)
            token = (await self._tokens.codec()).encode("checkpoints", job_id, int(float(step)))
        read = {record.checkpoint_id for record in records}
        unreadable = [id for id in map(bytes.decode, ids[:size]) if id not in read]
        return CheckpointPage(tuple(records), token, tuple(unreadable))

    async def chosen_checkpoint(self, job_id: str) -> CheckpointRecord | None:
        """Return the job's best checkpoint, or its newest where none was judged; None without any.

        Raises:
            NotFoundError: There is no such job.
        """
        best = (await self.get(job_id, with_config=False)).best_checkpoint_id
        key = self._keys.job(job_id, "checkpoints")
        ids = [best.encode()] if best else await self._db.command("ZRANGE", key, -1, -1)
        return next(iter(await self._checkpoints(job_id, ids)), None)

    async def get_checkpoint(self, checkpoint_id: str) -> CheckpointRecord:
        """Return one checkpoint.

        Raises:
            NotFoundError: There is no such record.
        """
        job_id = await self._job_of(checkpoint_id)
        data, best = await self._db.pipeline(
            ("HGET", self._keys.job(job_id, "checkpoint_data"), checkpoint_id),
            ("HGET", self._keys.job(job_id), "best_checkpoint_id"),
        )
        if data is None:
            raise NotFoundError("checkpoint", checkpoint_id)
        return decode_checkpoint(checkpoint_id, data, (best or b"").decode())

    async def delete_checkpoint(self, checkpoint_id: str, request: Request | None = None) -> None:
        """Remove it from the registry of a job that is not RUNNING or STOPPING.

        Its files may be removed then; it is among `retired_checkpoints` until they are.
        """
        if await self.checkpoint_was_deleted(request):
            return
        memo = memo_arguments(self._db.prefix, request)
        job_id = await self._job_of(checkpoint_id)
        await self._db.run(
            "remove_checkpoint", job_id, checkpoint_id, "", "", *memo, request=request
        )
        await self._journal.acknowledge(memo[0], "job", job_id)

    async def retired_checkpoints(self, job_id: str) -> Sequence[CheckpointRecord]:
        """Return retired checkpoints, whose files may be removed; see `forget_checkpoint`."""
        check_id("job", job_id)
        ids = await self._db.command("SMEMBERS", self._keys.job(job_id, "retired_checkpoints"))
        return await self._checkpoints(job_id, sorted(ids))

    async def forget_checkpoint(self, job_id: str, checkpoint_id: str) -> None:
        """Drop the record of a retired checkpoint, whose files are gone."""
        check_id("checkpoint", checkpoint_id)
        await self._db.run("forget_checkpoint", check_id("job", job_id), checkpoint_id)

    async def sweep_of(self, job_id: str) -> str:
        """Return the id of the sweep that a job is a child of; empty where it is none."""
        stored = await self._db.command("HGET", self._keys.job(check_id("job", job_id)), "sweep_id")
        return (stored or b"").decode()

    async def expect_files(self, job_id: str) -> None:
        """Enter the job for a sweep, before files of it are written and its record is stored.

        The sweep removes them if the record never comes.
        """
        seconds, microseconds = await self._db.command("TIME")
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        sweeps = self._keys.index("sweep")
        await self._db.command("ZADD", sweeps, "NX", now_ms, check_id("job", job_id))

    async def stays_deleted(self, job_id: str) -> bool:
        """Whether the job is gone, and no restart of the server could bring it back."""
        return await self._db.stays_gone(self._keys.job(check_id("job", job_id)))

    async def stays_retired(self, checkpoint_id: str) -> bool:
        """Whether the checkpoint is gone, and no restart of the server could bring it back."""
        key = self._keys.item("checkpoint", check_id("checkpoint", checkpoint_id))
        return await self._db.stays_gone(key)

    async def last_claimed(self, job_id: str) -> int:
        """Return the newest attempt that a worker has claimed; 0 where none was."""
        index = await self._db.command(
            "HGETALL", self._keys.job(check_id("job", job_id), "attempts")
        )
        return max((n for n, one in claimed_ranges(index).items() if one.claim_id), default=0)

    async def stays_as(self, record: JobRecord, checkpoint_ids: Set[str]) -> bool:
        """Return whether the job has this state, attempt and claim, and only these checkpoints.

        True only where a death of the server could not change that.
        """
        fields, registered = await self._db.facts(
            ("HMGET", self._keys.job(record.job_id), "status", "attempt", "claim_id"),
            ("ZRANGE", self._keys.job(record.job_id, "checkpoints"), 0, -1),
        )
        held = (record.status.value, str(record.attempt), record.claim_id)
        return (
            fields == [value.encode() for value in held]
            and {id.decode() for id in registered} == checkpoint_ids
        )

    async def _mutate(
        self, script: str, job_id: str, request: Request | None, *arguments: Any
    ) -> JobRecord:
        check_id("job", job_id)
        memo = memo_arguments(self._db.prefix, request)
        reply = await self._db.run(script, job_id, *memo, *arguments, request=request)
        await self._journal.acknowledge(memo[0], "job", job_id)
        config = await self._db.command("GET", self._keys.job(job_id, "config"))
        return self._answer(reply, (config or b"").decode())

    @staticmethod
    def _answer(reply: builtins.list[Any] | None, config_document: str) -> JobRecord:
        if reply is None:
            raise JobStoreError("a script that answers with a job answered with none")
        fields = json.loads(reply[0])
        return decode_job(fields.get("job_id", ""), fields, config_document)

    async def _require(self, job_id: str) -> None:
        check_id("job", job_id)
        if not await self._db.command("EXISTS", self._keys.job(job_id)):
            raise NotFoundError("job", job_id)

    async def _job_of(self, checkpoint_id: str) -> str:
        check_id("checkpoint", checkpoint_id)
        job_id = await self._db.command("GET", self._keys.item("checkpoint", checkpoint_id))
        if job_id is None:
            raise NotFoundError("checkpoint", checkpoint_id)
        return str(job_id.decode())

    async def _checkpoints(
        self, job_id: str, ids: Sequence[bytes]
    ) -> builtins.list[CheckpointRecord]:
        if not ids:
            return []
        stored, best = await self._db.pipeline(
            ("HMGET", self._keys.job(job_id, "checkpoint_data"), *ids),
            ("HGET", self._keys.job(job_id), "best_checkpoint_id"),
        )
        best_id = (best or b"").decode()
        found = [(id, data) for id, data in zip(ids, stored, strict=True) if data is not None]
        return [*readable(decode_checkpoint, [(id.decode(), data, best_id) for id, data in found])]


async def queued_attempts(
    connection: AsyncConnection, index: str, limit: int
) -> builtins.list[QueuedAttempt]:
    """Return the first queued attempts of an index (`unsent` or `queued`), oldest first.

    A record that cannot be read is left out: one of another version has its own program to look
    after it.
    """
    reply = await connection.run("read_queued", index, limit)
    assert reply is not None
    attempts = []
    for status, version, *fields, name in json.loads(reply[0].decode("utf-8", "replace")):
        if status != "queued" or version != str(RECORD_VERSION):
            continue
        try:
            attempts.append(_queued(name, *fields))
        except (ValueError, TypeError):
            left_out(RecordVersionError("job", name, "a damaged record", "a readable one"))
    return attempts


def _queued(
    name: str, attempt: str, priority: str, device: str, sent: str, nodes: str
) -> QueuedAttempt:
    """Return an attempt of the fields as they are stored; False for one that is missing."""
    if not (attempt and device):
        raise ValueError("a field is missing")
    return QueuedAttempt(
        job_id=name,
        attempt=int(attempt),
        priority=Priority(priority),
        device=device,
        is_sent=bool(sent),
        nodes=int(nodes or 1),
    )
