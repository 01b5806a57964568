"""The merged stream of a job: order, cursors, live following, rewinds, slow watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from job_store_bench import LOST, Bench, new_job, points
from redis_server import RedisServer

from job_store import streams
from job_store.connection import AsyncConnection, Connection
from job_store.errors import FeedsClosedError, InvalidCursorError, NotFoundError
from job_store.events import (
    CheckpointEvent,
    Event,
    LogEvent,
    MetricsEvent,
    RewoundEvent,
    StateEvent,
)
from job_store.history_records import LogLine
from job_store.ids import new_id
from job_store.records import JobStatus, Outcome, OutcomeKind
from job_store.streams import FeedItem, JobFeeds

DEADLINE = 20.0
SUCCEEDED = Outcome(OutcomeKind.SUCCEEDED)


@pytest.fixture
async def feeds(bench: Bench) -> AsyncIterator[JobFeeds]:
    made = JobFeeds(bench.connection)
    yield made
    await made.close()


def show(event: Event) -> str:
    """An event in a few characters."""
    match event:
        case StateEvent():
            return f"{event.status}/{event.attempt}"
        case MetricsEvent():
            return f"{event.attempt}:{event.step}"
        case CheckpointEvent():
            return f"ckpt {event.checkpoint.step}"
        case LogEvent():
            return event.line.text
        case RewoundEvent():
            return f"rewound {event.to_step}"


class Watcher:
    """A watcher in a task; keeps what it was shown."""

    def __init__(self, stream: AsyncIterator[FeedItem]) -> None:
        self.items: list[FeedItem] = []
        self.task = asyncio.create_task(self._run(stream))
        self._grown = asyncio.Event()

    async def _run(self, stream: AsyncIterator[FeedItem]) -> None:
        async for item in stream:
            self.items.append(item)
            self._grown.set()

    @property
    def shown(self) -> list[str]:
        return [show(item.event) for item in self.items]

    async def until(self, last: str) -> None:
        """Wait until this is what was shown last."""
        async with asyncio.timeout(DEADLINE):
            while self.shown[-1:] != [last]:
                if self.task.done():
                    await self.task
                    raise AssertionError(f"the watch ended before {last!r}: {self.shown}")
                self._grown.clear()
                await self._grown.wait()

    async def end(self) -> list[str]:
        """Everything, once the stream has ended."""
        await asyncio.wait_for(self.task, DEADLINE)
        return self.shown


async def train_through_a_crash(bench: Bench) -> str:
    """1..6 with a checkpoint at 4, a crash, the lost tail, 5..8, success."""
    job, token = await bench.running()
    bench.attempts.append_logs(token, [LogLine(0, "hello", 1)])
    bench.attempts.publish_metrics(token, points(1, 4))
    bench.checkpoint(token, 4)
    bench.attempts.publish_metrics(token, points(5, 6))
    token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST)))
    bench.attempts.append_logs(token, [LogLine(0, "again", 1)])
    bench.attempts.publish_metrics(token, points(5, 8))
    bench.attempts.finish(token, SUCCEEDED)
    return job.job_id


WHOLE = (
    "queued/1 running/1 1:1 1:2 1:3 1:4 hello ckpt 4 queued/2 running/2 rewound 4 "
    "2:5 2:6 2:7 2:8 again succeeded/2"
)


async def test_a_replay_shows_each_logged_step_once_and_ends(bench: Bench, feeds: JobFeeds) -> None:
    job_id = await train_through_a_crash(bench)
    shown = await Watcher(feeds.watch(job_id)).end()
    assert " ".join(shown) == WHOLE
    without_logs = await Watcher(feeds.watch(job_id, logs=False)).end()
    assert without_logs == [s for s in shown if s not in ("hello", "again")]


async def test_every_cursor_continues_where_it_stands(bench: Bench, feeds: JobFeeds) -> None:
    job_id = await train_through_a_crash(bench)
    watcher = Watcher(feeds.watch(job_id))
    shown = await watcher.end()
    for i, item in enumerate(watcher.items):
        rest = await Watcher(feeds.watch(job_id, after=item.cursor)).end()
        assert rest == shown[i + 1 :]


async def test_after_step_passes_over_known_points(bench: Bench, feeds: JobFeeds) -> None:
    job_id = await train_through_a_crash(bench)
    shown = await Watcher(feeds.watch(job_id, after_step=2, logs=False)).end()
    assert [s for s in shown if ":" in s] == ["1:3", "1:4", "2:5", "2:6", "2:7", "2:8"]


async def test_a_live_watcher_sees_everything_as_it_happens(bench: Bench, feeds: JobFeeds) -> None:
    job = await bench.jobs.create(new_job())
    live = Watcher(feeds.watch(job.job_id))
    await live.until("queued/1")
    token = bench.claim(job)
    await live.until("running/1")
    bench.attempts.publish_metrics(token, points(1, 6))
    await live.until("1:6")
    bench.checkpoint(token, 8)  # 7 and 8 are in the spool only
    record = bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
    token = bench.claim(record)
    await live.until("running/2")
    bench.attempts.publish_metrics(token, points(5, 9), of_attempt=1)
    bench.attempts.publish_metrics(token, points(9, 10))
    await live.until("2:10")
    # The next one falls back to the beginning: all comes again.
    token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK)))
    bench.attempts.confirm_start(token, 0)
    bench.attempts.publish_metrics(token, points(1, 2))
    bench.attempts.finish(token, SUCCEEDED)
    shown = await live.end()
    assert " ".join(shown) == (
        "queued/1 running/1 1:1 1:2 1:3 1:4 1:5 1:6 ckpt 8 queued/2 running/2 1:7 1:8 2:9 2:10 "
        "queued/3 running/3 rewound 8 rewound 0 3:1 3:2 succeeded/3"
    )


async def test_a_watcher_behind_a_rewind_is_corrected(bench: Bench, feeds: JobFeeds) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 6))
    watcher = Watcher(feeds.watch(job.job_id))
    await watcher.until("1:6")
    cursor = watcher.items[-1].cursor
    watcher.task.cancel()
    bench.checkpoint(token, 3)
    token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST)))
    bench.attempts.publish_metrics(token, points(4, 5))
    bench.attempts.finish(token, SUCCEEDED)
    shown = await Watcher(feeds.watch(job.job_id, after=cursor)).end()
    assert " ".join(shown) == "ckpt 3 queued/2 running/2 rewound 3 2:4 2:5 succeeded/2"


async def test_a_rewind_tells_how_the_attempt_before_ended(bench: Bench, feeds: JobFeeds) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 2))
    await bench.reconciler.declare_lost(job.job_id, 1, token.claim_id, LOST)
    token = bench.claim(await bench.jobs.get(job.job_id))
    bench.attempts.publish_metrics(token, points(1, 2))
    bench.attempts.finish(token, SUCCEEDED)
    watcher = Watcher(feeds.watch(job.job_id))
    await watcher.end()
    rewinds = [item.event for item in watcher.items if isinstance(item.event, RewoundEvent)]
    assert [(event.to_step, event.attempt, event.after) for event in rewinds] == [(0, 2, "lost")]


async def test_a_watch_ends_only_at_the_last_terminal_state(bench: Bench, feeds: JobFeeds) -> None:
    job, _ = await bench.in_state(JobStatus.STOPPED, checkpoints=[4])
    ended = Watcher(feeds.watch(job.job_id))
    assert (await ended.end())[-1] == "stopped/1"
    assert await Watcher(feeds.watch(job.job_id, after=ended.items[-1].cursor)).end() == []
    record = await bench.jobs.resume(job.job_id)
    live = Watcher(feeds.watch(job.job_id, after=ended.items[-1].cursor))
    bench.attempts.finish(bench.claim(record), SUCCEEDED)
    assert await live.end() == ["queued/2", "running/2", "succeeded/2"]


def blocked_readers(bench: Bench) -> list[str]:
    database = str(bench.worker.client.get_connection_kwargs()["db"])
    clients = bench.worker.command("CLIENT", "LIST").decode().splitlines()
    return [c for c in clients if "cmd=xread " in c and f" db={database} " in c]


async def test_many_watchers_share_one_reader(bench: Bench, feeds: JobFeeds) -> None:
    job, token = await bench.running()
    watchers = [Watcher(feeds.watch(job.job_id)) for _ in range(100)]
    for watcher in watchers:
        await watcher.until("running/1")
    async with asyncio.timeout(DEADLINE):
        while not (readers := blocked_readers(bench)):
            await asyncio.sleep(0.01)
    assert len(readers) == 1
    for first in range(1, 50, 7):
        bench.attempts.publish_metrics(token, points(first, first + 6))
        await asyncio.sleep(0)
    bench.attempts.finish(token, SUCCEEDED)
    expected = ["queued/1", "running/1", *(f"1:{s}" for s in range(1, 50)), "succeeded/1"]
    for watcher in watchers:
        assert await watcher.end() == expected


async def test_a_slow_watcher_holds_nobody_and_misses_nothing(
    bench: Bench, feeds: JobFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RING_ITEMS", 16)
    job, token = await bench.running()
    async with aclosing(feeds.watch(job.job_id)) as slow:
        fast = Watcher(feeds.watch(job.job_id))
        seen = [show((await anext(slow)).event), show((await anext(slow)).event)]
        for first in range(1, 2000, 100):
            bench.attempts.publish_metrics(token, points(first, first + 99))
            await fast.until(f"1:{first + 99}")
        bench.attempts.finish(token, SUCCEEDED)
        await fast.end()
        seen += [show(item.event) async for item in slow]
    assert (
        seen
        == fast.shown
        == [
            *("queued/1", "running/1"),
            *(f"1:{s}" for s in range(1, 2001)),
            "succeeded/1",
        ]
    )


async def test_more_than_one_batch_keeps_the_order(bench: Bench, feeds: JobFeeds) -> None:
    job, token = await bench.running()
    for first in range(1, 3000, 300):
        bench.attempts.publish_metrics(token, points(first, first + 299))
        lines = [LogLine(s, f"log {s}", 1) for s in range(first, first + 300)]
        bench.attempts.append_logs(token, lines)
        bench.checkpoint(token, first + 299)
    bench.attempts.finish(token, SUCCEEDED)
    shown = await Watcher(feeds.watch(job.job_id)).end()
    assert len(shown) == 2 + 3000 + 3000 + 10 + 1
    for last in range(300, 3001, 300):
        place = shown.index(f"ckpt {last}")
        assert (
            shown.index(f"1:{last}")
            < place
            < (shown.index(f"1:{last + 1}") if last < 3000 else len(shown))
        )
        assert shown.index(f"log {last}") < place


async def test_more_lines_than_a_batch_are_shown_where_nothing_is_measured(
    bench: Bench, feeds: JobFeeds
) -> None:
    job, token = await bench.running()
    lines = [LogLine(number, f"line {number}", 1) for number in range(1200)]
    bench.attempts.append_logs(token, lines)
    token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK)))
    bench.attempts.append_logs(token, [LogLine(0, "again", 1)])
    bench.attempts.finish(token, SUCCEEDED)
    shown = await Watcher(feeds.watch(job.job_id)).end()
    assert shown[:2] == ["queued/1", "running/1"]
    assert shown[2:1202] == [line.text for line in lines]
    assert shown[1202:] == ["queued/2", "running/2", "again", "succeeded/2"]


async def test_a_rewind_behind_a_batch_of_events_brings_again_what_was_passed_over(
    bench: Bench, feeds: JobFeeds
) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, points(1, 600))
    for step in range(1, 497):  # the next attempt's start is event 500, and its rewind the next
        bench.checkpoint(token, step)
    token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST)))
    bench.attempts.publish_metrics(token, points(497, 620))
    bench.attempts.finish(token, SUCCEEDED)
    shown = await Watcher(feeds.watch(job.job_id, after_step=600)).end()
    assert shown[499:501] == ["running/2", "rewound 496"]
    assert shown[501:] == [*(f"2:{step}" for step in range(497, 621)), "succeeded/2"]


async def test_damaged_and_foreign_cursors_are_refused(bench: Bench, feeds: JobFeeds) -> None:
    job_id = await train_through_a_crash(bench)
    other, _ = await bench.running()
    watcher = Watcher(feeds.watch(job_id))
    await watcher.end()
    cursor = watcher.items[0].cursor
    with pytest.raises(InvalidCursorError, match=f"belongs to '{job_id}', not to '{other.job_id}'"):
        await anext(feeds.watch(other.job_id, after=cursor))
    page_token = (await bench.history.page(job_id, page_size=1)).next_page_token
    for bad in ("zzz", "é", cursor[:-3], cursor + "AA", page_token, "1-0", "A" * 5000):
        with pytest.raises(InvalidCursorError, match="pass a cursor received on this job's stream"):
            await anext(feeds.watch(job_id, after=bad))


async def test_unknown_and_deleted_jobs_end_a_watch(bench: Bench, feeds: JobFeeds) -> None:
    with pytest.raises(NotFoundError, match="there is no job"):
        await anext(feeds.watch(new_id("job")))
    job = await bench.jobs.create(new_job())
    watcher = Watcher(feeds.watch(job.job_id))
    await watcher.until("queued/1")
    await bench.jobs.delete(job.job_id)
    with pytest.raises(NotFoundError):
        await watcher.end()


async def test_closing_lets_every_watcher_go(bench: Bench, feeds: JobFeeds) -> None:
    job, _ = await bench.running()
    watcher = Watcher(feeds.watch(job.job_id))
    await watcher.until("running/1")
    await feeds.close()
    with pytest.raises(FeedsClosedError, match="reconnect with the last cursor"):
        await watcher.end()
    with pytest.raises(FeedsClosedError):
        await anext(feeds.watch(job.job_id))


async def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    connection, worker = AsyncConnection.open(server.url()), Connection.open(server.url())
    feeds = JobFeeds(connection)
    try:
        bench = Bench(connection, worker)
        job, token = await bench.running()
        bench.attempts.publish_metrics(token, points(1, 3))
        live = Watcher(feeds.watch(job.job_id))
        await live.until("1:3")
        server.kill()
        await asyncio.sleep(0)
        server.start()
        await asyncio.to_thread(bench.attempts.publish_metrics, token, points(2, 5))
        bench.attempts.finish(token, SUCCEEDED)
        assert (await live.end())[2:] == ["1:1", "1:2", "1:3", "1:4", "1:5", "succeeded/1"]
    finally:
        await feeds.close()
        await connection.close()
        worker.close()
        server.stop()
