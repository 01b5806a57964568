"""Points beyond the bound: in files, each step once, and never dropped before they are stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest
from job_store_bench import LOST, Bench, new_job, points

from artifact_store import FolderStore, attempt_prefix
from control_plane.archive import ArtifactArchive
from job_store.archive import Segment
from job_store.attempts import AttemptStore
from job_store.errors import FencedError, NotFoundError, SegmentUnreadableError
from job_store.events import MetricsEvent, RewoundEvent
from job_store.history import HistoryStore
from job_store.history_records import Bucket, HistoryPoint, MetricPoint
from job_store.ids import new_claim_id
from job_store.records import Claimed, JobRecord, Outcome, OutcomeKind
from job_store.streams import JobFeeds
from training_worker.archive import PointArchive

BOUND = 500
DEADLINE = 20.0
SEGMENT = 125
Row = tuple[int, int, float]


@dataclass
class Place:
    """Stores with a small bound, and the folder that takes what is beyond it."""

    bench: Bench
    folder: Path

    def __post_init__(self) -> None:
        self.artifacts = FolderStore(self.folder)
        self.store = AttemptStore(self.bench.worker, max_raw_points=BOUND)
        self.archive = ArtifactArchive(self.artifacts)
        self.history = HistoryStore(self.bench.connection, self.archive)

    async def start(self) -> Claimed:
        """A fresh job, claimed."""
        return self.claim(await self.bench.jobs.create(new_job(max_steps=100_000)))

    def claim(self, job: JobRecord) -> Claimed:
        claimed = self.store.claim(job.job_id, job.attempt, "worker-1")
        assert claimed is not None
        return claimed

    def publish(self, claimed: Claimed, made: list[MetricPoint]) -> None:
        """As a worker does: in batches, each followed by a look at the bound."""
        archive = PointArchive(self.store, self.artifacts, claimed.token)
        for start in range(0, len(made), 100):
            batch = made[start : start + 100]
            self.store.publish_metrics(claimed.token, batch)
            archive.published(len(batch))

    def crash(self, claimed: Claimed) -> Claimed:
        outcome = Outcome(OutcomeKind.CRASHED, LOST)
        return self.claim(self.store.finish(claimed.token, outcome))

    async def rows(self, job_id: str, page_size: int, **bounds: int) -> list[Row]:
        """All pages."""
        read: list[HistoryPoint] = []
        token = ""
        while True:
            page = await self.history.page(job_id, page_size=page_size, page_token=token, **bounds)
            assert len(page.points) <= page_size
            read += page.points
            token = page.next_page_token
            if not token:
                return [(p.step, p.attempt, p.values["loss"]) for p in read]
            assert len(page.points) == page_size

    def raw(self, job_id: str) -> int:
        """Points in Redis."""
        return sum(attempt.points for attempt in self.store.attempts(job_id))

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("points-*.bin"))


@pytest.fixture
def place(bench: Bench, tmp_path: Path) -> Place:
    return Place(bench, tmp_path / "artifacts")


async def three_attempts(place: Place) -> tuple[Claimed, list[Row]]:
    """1,800 points and 2,700 and 1,000, cut at 1,234 and at 3,210."""
    first = await place.start()
    place.publish(first, points(1, 1800))
    place.bench.checkpoint(first.token, 1234)
    second = place.crash(first)
    place.publish(second, points(1235, 3934, offset=1.0))
    place.bench.checkpoint(second.token, 3210)
    third = place.crash(second)
    place.publish(third, points(3211, 4210, offset=2.0))
    rows = [(s, 1, 1 / s) for s in range(1, 1235)]
    rows += [(s, 2, 1 / s + 1.0) for s in range(1235, 3211)]
    rows += [(s, 3, 1 / s + 2.0) for s in range(3211, 4211)]
    return third, rows


async def test_pages_are_whole_whatever_is_archived_and_cut(place: Place) -> None:
    claimed, rows = await three_attempts(place)
    job_id = claimed.token.job_id
    assert place.raw(job_id) <= BOUND + SEGMENT
    assert len(place.files()) > 20
    for page_size in (1000, 1240, 10_000, 77):  # 1240 ends in a file that is cut
        assert await place.rows(job_id, page_size) == rows
    first_raw = (await place.history.page(job_id, page_size=1)).first_raw_step
    assert first_raw is not None
    assert 4210 - BOUND - SEGMENT < first_raw <= 4210
    for last, wanted in ((4210, 1), (100, 1000)):  # one file has all of it
        reply = place.bench.worker.run("read_points", job_id, 1, last, wanted)
        assert reply is not None
        _, packed, files, _ = reply
        assert (packed, len(files)) == (b"", 1)
    around = [1, 2, SEGMENT, SEGMENT + 1, 1233, 1234, 1235, 3210, 3211, first_raw, first_raw - 1]
    for step in around:
        assert await place.rows(job_id, 3, from_step=step, to_step=step + 7) == [
            row for row in rows if step <= row[0] <= step + 7
        ]


async def test_points_that_nobody_can_see_are_dropped_and_not_stored(place: Place) -> None:
    first = await place.start()
    place.publish(first, points(1, 400))
    place.bench.checkpoint(first.token, 10)
    second = place.crash(first)
    place.publish(second, points(11, 600))
    rows = [(s, 1 if s <= 10 else 2, 1 / s) for s in range(1, 601)]
    assert await place.rows(first.token.job_id, 1000) == rows
    assert place.raw(first.token.job_id) <= BOUND + SEGMENT
    stored = [path.name for path in place.files()]
    assert stored[0] == "points-1-1-10.bin"
    assert all(name.startswith("points-2-") for name in stored[1:])


async def test_an_attempt_of_which_nothing_is_visible_is_dropped(place: Place) -> None:
    first = await place.start()
    place.publish(first, points(1, 20))
    place.bench.checkpoint(first.token, 10)
    second = place.crash(first)
    place.publish(second, points(11, 300))
    third = place.crash(second)
    place.store.confirm_start(third.token, 0)  # the checkpoint is damaged
    place.publish(third, points(1, 500))
    rows = [(s, 3, 1 / s) for s in range(1, 501)]
    assert await place.rows(first.token.job_id, 1000) == rows
    assert place.raw(first.token.job_id) <= BOUND + SEGMENT


async def watched(
    place: Place, job_id: str, **start: object
) -> AsyncIterator[tuple[Row | str, str]]:
    feeds = JobFeeds(place.bench.connection, place.archive)
    try:
        async with (
            asyncio.timeout(DEADLINE),
            aclosing(feeds.watch(job_id, logs=False, **start)) as items,  # type: ignore[arg-type,type-var]
        ):
            async for item in items:
                event = item.event
                if isinstance(event, MetricsEvent):
                    yield (event.step, event.attempt, event.values["loss"]), item.cursor
                elif isinstance(event, RewoundEvent):
                    yield f"rewound {event.to_step}", item.cursor
    finally:
        await feeds.close()


async def finished(place: Place) -> tuple[str, list[Row]]:
    claimed, rows = await three_attempts(place)
    place.bench.attempts.finish(claimed.token, Outcome(OutcomeKind.SUCCEEDED))
    return claimed.token.job_id, rows


async def test_watchers_replay_archived_points_in_order(place: Place) -> None:
    job_id, rows = await finished(place)
    shown = [shown async for shown, _ in watched(place, job_id)]
    assert [row for row in shown if not isinstance(row, str)] == rows
    places = {row: at for at, row in enumerate(shown) if isinstance(row, str)}
    assert shown[places["rewound 1234"] - 1][0] == 1234
    assert shown[places["rewound 3210"] - 1][0] == 3210


@pytest.mark.parametrize("seen", [0, 1, 130, 1233, 1235, 2000, 3500, 4209])
async def test_watchers_continue_from_a_cursor_anywhere(place: Place, seen: int) -> None:
    job_id, rows = await finished(place)
    everything = [item async for item in watched(place, job_id)]
    at = next(
        at for at, (row, _) in enumerate(everything)
        if not isinstance(row, str) and row == rows[seen]
    )  # fmt: skip
    rest = [row async for row, _ in watched(place, job_id, after=everything[at][1])]
    assert rest == [row for row, _ in everything[at + 1 :]]


async def test_after_step_reads_no_file_that_it_passes_over(place: Place) -> None:
    first = await place.start()
    place.publish(first, points(1, 3000))
    place.bench.attempts.finish(first.token, Outcome(OutcomeKind.SUCCEEDED))
    for path in place.files()[: len(place.files()) // 2]:
        path.unlink()
    for after in (2600, 2999):
        shown = [row async for row, _ in watched(place, first.token.job_id, after_step=after)]
        assert shown == [(s, 1, 1 / s) for s in range(after + 1, 3001)]


async def test_after_step_passes_over_a_damaged_file_whatever_else_there_is_to_read(
    place: Place,
) -> None:
    """More events than are read at a time: a checkpoint after every second step."""
    only = await place.start()
    for first in range(1, 1401, 100):
        place.publish(only, points(first, first + 99))
        for step in range(first, first + 100, 2):
            place.bench.checkpoint(only.token, step)
    place.bench.attempts.finish(only.token, Outcome(OutcomeKind.SUCCEEDED))
    job_id = only.token.job_id
    place.files()[0].unlink()
    with pytest.raises(SegmentUnreadableError, match=f"read on with after_step={SEGMENT}"):
        [row async for row in watched(place, job_id)]
    shown = [row async for row, _ in watched(place, job_id, after_step=SEGMENT)]
    assert shown == [(s, 1, 1 / s) for s in range(SEGMENT + 1, 1401)]


async def test_a_rewind_brings_again_what_after_step_had_passed_over(place: Place) -> None:
    job_id, rows = await finished(place)
    shown = [row async for row, _ in watched(place, job_id, after_step=2000)]
    # The first rewind goes below 2,000: whoever had steps up to 2,000 may have cut ones.
    assert shown[0] == "rewound 1234"
    assert [row for row in shown if not isinstance(row, str)] == rows[1234:]
    later = [row async for row, _ in watched(place, job_id, after_step=1200)]
    assert [row for row in later if not isinstance(row, str)] == rows[1200:]


async def test_a_damaged_file_is_named_and_hides_no_other(place: Place) -> None:
    claimed, rows = await three_attempts(place)
    job_id = claimed.token.job_id
    broken = next(path for path in place.files() if path.name == "points-1-126-250.bin")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1] + b"\xff")
    with pytest.raises(
        SegmentUnreadableError, match=r"steps 126 to 250 cannot be read from .*bytes"
    ):
        await place.rows(job_id, 100)
    with pytest.raises(SegmentUnreadableError, match=r"read on with after_step=250"):
        [row async for row in watched(place, job_id)]
    assert await place.rows(job_id, 100, from_step=251) == rows[250:]
    broken.unlink()
    with pytest.raises(SegmentUnreadableError, match="there is no artifact"):
        await place.rows(job_id, 100)
    broken.write_bytes(whole)
    assert await place.rows(job_id, 100) == rows


async def test_nothing_is_dropped_while_it_cannot_be_stored(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    claimed = await place.start()
    job_id = claimed.token.job_id
    folder = place.folder / attempt_prefix(job_id, 1, claimed.token.claim_id)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file stands in the folder's place")
    place.publish(claimed, points(1, 900))
    assert place.raw(job_id) == 900
    assert "old metrics stay in Redis" in caplog.text
    folder.unlink()
    place.publish(claimed, points(901, 1100))
    assert place.raw(job_id) <= BOUND + SEGMENT
    assert await place.rows(job_id, 1000) == [(s, 1, 1 / s) for s in range(1, 1101)]


async def test_a_killed_worker_leaves_a_file_that_nobody_reads(place: Place) -> None:
    """Between the file and its entry: the next attempt stores the points again."""
    first = await place.start()
    place.store.publish_metrics(first.token, points(1, 700))
    surplus = place.store.surplus(first.token)
    assert surplus is not None
    prefix = attempt_prefix(first.token.job_id, 1, first.token.claim_id)
    place.artifacts.put(f"{prefix}/points-1-1-125.bin", [surplus.document])
    place.bench.checkpoint(first.token, 700)
    second = place.crash(first)
    place.publish(second, points(701, 1500))
    assert await place.rows(first.token.job_id, 1000) == [
        (s, 1 if s <= 700 else 2, 1 / s) for s in range(1, 1501)
    ]


async def test_a_stale_or_repeated_entry_drops_nothing(place: Place) -> None:
    first = await place.start()
    place.store.publish_metrics(first.token, points(1, 700))
    place.bench.checkpoint(first.token, 700)
    surplus = place.store.surplus(first.token)
    assert surplus is not None
    assert (surplus.first_step, surplus.last_step, surplus.points) == (1, 125, 125)
    key = f"{attempt_prefix(first.token.job_id, 1, first.token.claim_id)}/points.bin"
    info = place.artifacts.put(key, [surplus.document])
    segment = Segment(1, 125, 125, info.size_bytes, info.sha256, key)
    assert place.store.archive(first.token, 1, replace(segment, first_step=2)) is False
    assert place.store.archive(first.token, 1, replace(segment, last_step=9999)) is False
    assert place.raw(first.token.job_id) == 700
    assert place.store.archive(first.token, 1, segment) is True
    assert place.store.archive(first.token, 1, segment) is False  # the answer was lost
    assert place.raw(first.token.job_id) == 575
    second = place.crash(first)
    with pytest.raises(FencedError):
        place.store.surplus(first.token)
    with pytest.raises(FencedError):
        place.store.archive(replace(second.token, claim_id=new_claim_id()), 1, segment)
    assert place.raw(first.token.job_id) == 575


async def test_a_deleted_job_leaves_no_key_and_its_readers_are_told(place: Place) -> None:
    job_id, _ = await finished(place)
    items = watched(place, job_id)
    async with aclosing(items):
        await anext(items)
        await place.bench.jobs.delete(job_id)
        place.artifacts.delete_prefix(f"jobs/{job_id}")
        with pytest.raises(NotFoundError, match="there is no job"):
            [item async for item in items]
    keys = list(place.bench.worker.client.scan_iter(f"*{job_id}*"))
    assert [key for key in keys if b":request:" not in key] == []
    assert place.files() == []
    with pytest.raises(NotFoundError):
        await place.history.page(job_id)


async def test_a_process_without_artifacts_says_so(place: Place) -> None:
    claimed, _ = await three_attempts(place)
    with pytest.raises(SegmentUnreadableError, match="given no artifact store"):
        await HistoryStore(place.bench.connection).page(claimed.token.job_id)


def check_chart(chart: Sequence[Bucket], rows: list[Row]) -> None:
    """Every row is in exactly one bucket, whose extents are those of its rows."""
    expected = iter(rows)
    for bucket in chart:
        inside = list(islice(expected, bucket.count))
        assert (bucket.first_step, bucket.last_step) == (inside[0][0], inside[-1][0])
        losses = [loss for _, _, loss in inside]
        assert bucket.metrics["loss"] == (min(losses), max(losses), losses[-1])
    assert next(expected, None) is None


@pytest.mark.parametrize("wanted", [10, 37, 100, 400, 2000])
async def test_charts_stay_whole_over_cuts_in_what_is_archived(place: Place, wanted: int) -> None:
    claimed, rows = await three_attempts(place)
    chart = await place.history.chart(claimed.token.job_id, wanted)
    assert wanted / 4 <= len(chart) <= wanted
    check_chart(chart, rows)
    some = await place.history.chart(claimed.token.job_id, wanted, from_step=1201, to_step=1300)
    assert len(some) <= wanted
    check_chart(some, rows[1200:1300])
