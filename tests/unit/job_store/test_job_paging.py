"""Tokens that clients carry: signed with a key that all control planes share, and believed by none
but them."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import pytest
from job_store_bench import Bench, points

from job_store.connection import AsyncConnection
from job_store.errors import InvalidCursorError, InvalidPageTokenError
from job_store.paging import TokenKey
from job_store.records import JobStatus
from job_store.streams import JobFeeds

SUBJECT = "job_00000000000000000000000000"


def made_up(*parts: object) -> str:
    """A token as earlier versions signed them: by a checksum that everybody can compute."""
    body = "|".join(map(str, parts)).encode()
    checksum = zlib.crc32(body).to_bytes(4, "big")
    return base64.urlsafe_b64encode(checksum + body).decode().rstrip("=")


async def test_a_token_of_one_process_is_taken_by_every_other(bench: Bench, redis_url: str) -> None:
    token = (await TokenKey(bench.connection).codec()).encode("points", SUBJECT, 7, -1)
    other = AsyncConnection.open(redis_url)
    try:
        assert await TokenKey(other).decode(token, "points", SUBJECT) == ["7", "-1"]
    finally:
        await other.close()


async def test_a_key_that_redis_has_lost_is_given_back(bench: Bench) -> None:
    key = TokenKey(bench.connection)
    token = (await key.codec()).encode("points", SUBJECT, 7)
    bench.worker.command("FLUSHDB")
    with pytest.raises(ValueError, match="not one of ours"):
        await key.decode(token[:-1] + "AAA", "points", SUBJECT)  # asks Redis once more
    assert await TokenKey(bench.connection).decode(token, "points", SUBJECT) == ["7"]


async def test_a_newer_key_of_another_process_is_found(bench: Bench) -> None:
    key = TokenKey(bench.connection)
    await key.codec()
    bench.worker.command("FLUSHDB")
    token = (await TokenKey(bench.connection).codec()).encode("points", SUBJECT, 7)
    assert await key.decode(token, "points", SUBJECT) == ["7"]


@pytest.mark.parametrize("place", [0, 5, 20, -1])
async def test_no_character_of_a_token_can_be_another(bench: Bench, place: int) -> None:
    key = TokenKey(bench.connection)
    letters = list((await key.codec()).encode("points", SUBJECT, 7))
    letters[place] = "A" if letters[place] != "A" else "Q"
    with pytest.raises(ValueError, match=r"damaged|one of ours"):
        await key.decode("".join(letters), "points", SUBJECT)


async def test_a_made_up_cursor_is_refused_before_redis_is_asked(bench: Bench) -> None:
    """Three attempts claimed of one, a step, a sequence and a floor that were never there."""
    job, _ = await bench.running()
    feeds = JobFeeds(bench.connection)
    for numbers in (
        ("0-0", 3, 0, -1, 0, -1, -1),
        ("0-0", 1, 3, -1, 3, -1, -1),
        ("0-0", 1, 0, -1, 0, -1, 10**6),
        (0, 0, 3, 0, -1, 0, -1, -1),
        ("nan-inf", "nan", "inf", "-inf", "x", "", "1e3"),
    ):
        with pytest.raises(InvalidCursorError, match="or none to start from the beginning"):
            await anext(feeds.watch(job.job_id, after=made_up("watch", job.job_id, *numbers)))
    await feeds.close()


async def test_made_up_page_tokens_are_refused(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 3))
    for position in ("2", "nan", "inf", "-1", str(2**63), "x", "", "1)\x00"):
        made = made_up("points", job.job_id, position)
        with pytest.raises(InvalidPageTokenError):
            await bench.history.page(job.job_id, page_token=made)
        with pytest.raises(InvalidPageTokenError):
            await bench.jobs.list_checkpoints(
                job.job_id, page_token=made_up("checkpoints", job.job_id, position)
            )
        with pytest.raises(InvalidPageTokenError):
            await bench.jobs.list(page_token=made_up("jobs", "all", position))
        with pytest.raises(InvalidPageTokenError):
            await bench.history.logs(
                job.job_id, page_token=made_up("logs", job.job_id, position, position)
            )


async def test_scripts_look_at_the_attempts_that_are_there_whatever_they_are_asked(
    bench: Bench,
) -> None:
    """The bounds are the scripts' own: a caller's mistake holds nobody up."""
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 3))
    claimed = 5_000
    reply = await bench.connection.run(
        "read_feed", job.job_id, "0-0", claimed, 0, -1, 0, -1, 500, 1, -1
    )
    assert reply is not None
    *_, wake = reply
    streams = [key.decode().rsplit(":", 2)[-2:] for key in wake[::2]]
    assert streams == [[job.job_id, "events"], ["metrics", "1"], ["logs", "1"]]
    bench.worker.command("HSET", f"te:job:{job.job_id}", "attempt", claimed, "status", "stopped")
    await bench.jobs.delete(job.job_id)
    assert bench.worker.command("KEYS", f"te:job:{job.job_id}*") == []


async def test_a_floor_beyond_every_step_is_in_cursors_that_work(bench: Bench) -> None:
    job, _ = await bench.in_state(JobStatus.STOPPED, checkpoints=[4])
    feeds = JobFeeds(bench.connection)
    items = [item async for item in feeds.watch(job.job_id, after_step=2**63 - 1)]
    assert len(items) == 5  # four states and a checkpoint, and no point
    again = [item async for item in feeds.watch(job.job_id, after=items[0].cursor)]
    assert len(again) == 4
    await feeds.close()


async def test_a_page_whose_last_checkpoint_goes_meanwhile_begins_no_list_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, token = await bench.in_state(JobStatus.RUNNING, (10, 20, 30, 40))
    assert token is not None
    ids = [one.checkpoint_id for one in (await bench.jobs.list_checkpoints(job.job_id)).checkpoints]
    pipeline = bench.connection.pipeline

    async def pipeline_of_a_slow_reader(*commands: Any) -> Any:
        bench.attempts.unregister_checkpoint(token, ids[1])
        return await pipeline(*commands)

    monkeypatch.setattr(bench.connection, "pipeline", pipeline_of_a_slow_reader)
    first = await bench.jobs.list_checkpoints(job.job_id, 2)
    rest = await bench.jobs.list_checkpoints(job.job_id, 2, first.next_page_token)
    assert [one.step for one in first.checkpoints] == [10, 30]
    assert [one.step for one in rest.checkpoints] == [40]
