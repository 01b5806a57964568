"""Sampled texts are a part of the history: each step once, cut with it, and kept with the job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from job_store_bench import LOST, Bench, points

from artifact_store import FolderStore
from control_plane.archive import ArtifactArchive
from job_store import history
from job_store.attempts import AttemptStore
from job_store.errors import InvalidPageTokenError, NotFoundError
from job_store.history import HistoryStore
from job_store.history_records import MetricPoint
from job_store.records import Outcome, OutcomeKind
from training_worker.archive import PointArchive


def sampled(first: int, last: int, mark: str = "a") -> list[MetricPoint]:
    """A point a step, with two texts at each fifth."""
    made = points(first, last)
    return [
        point if point.step % 5 else replace(point, samples=(f"{mark}{point.step}\n", "é\ufffd"))
        for point in made
    ]


async def texts(store: HistoryStore, job_id: str, **bounds: int) -> list[tuple[int, int, str]]:
    found = (await store.samples(job_id, **bounds)).items
    assert all(each.texts[1] == "é\ufffd" for each in found)
    assert [each.created_at - 1_700_000_000_000 for each in found] == [each.step for each in found]
    return [(each.step, each.attempt, each.texts[0].rstrip()) for each in found]


async def test_each_step_has_its_samples_once_and_a_cut_takes_them(bench: Bench) -> None:
    job, token = await bench.running()
    assert await texts(bench.history, job.job_id) == []
    bench.attempts.publish_metrics(token, sampled(1, 12))
    again = bench.attempts.publish_metrics(token, sampled(1, 16, "repeated"))
    assert again.duplicates == 12
    bench.checkpoint(token, 7)
    bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
    second = bench.claim(await bench.jobs.get(job.job_id))
    assert await texts(bench.history, job.job_id) == [(5, 1, "a5")]
    bench.attempts.confirm_start(second, 7)
    bench.attempts.publish_metrics(second, sampled(8, 10, "b"))
    assert await texts(bench.history, job.job_id) == [(5, 1, "a5"), (10, 2, "b10")]
    assert await texts(bench.history, job.job_id, from_step=6) == [(10, 2, "b10")]
    assert await texts(bench.history, job.job_id, to_step=9) == [(5, 1, "a5")]


async def test_a_successor_completes_the_samples_that_its_predecessor_left(bench: Bench) -> None:
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, sampled(1, 4))
    bench.checkpoint(token, 6)
    bench.attempts.finish(token, Outcome(OutcomeKind.CRASHED, LOST))
    second = bench.claim(await bench.jobs.get(job.job_id))
    bench.attempts.confirm_start(second, 6)
    bench.attempts.publish_metrics(second, sampled(1, 12), of_attempt=1)
    assert await texts(bench.history, job.job_id) == [(5, 1, "a5")]


async def test_they_are_read_by_pages_and_go_with_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SAMPLED_STEPS", 3)
    job, token = await bench.running()
    bench.attempts.publish_metrics(token, sampled(1, 20))
    bench.checkpoint(token, 20)
    token = bench.claim(bench.attempts.finish(token, Outcome(OutcomeKind.HANDED_BACK)))
    bench.attempts.publish_metrics(token, sampled(21, 25))
    first = await bench.history.samples(job.job_id, page_size=3)
    assert [each.step for each in first.items] == [5, 10, 15]
    rest = await bench.history.samples(job.job_id, page_token=first.next_page_token)
    assert ([each.step for each in rest.items], rest.next_page_token) == ([20, 25], "")
    with pytest.raises(InvalidPageTokenError):
        await bench.history.samples(job.job_id, page_token="nothing")
    bench.attempts.finish(token, Outcome(OutcomeKind.FAILED))
    await bench.jobs.delete(job.job_id)
    assert await bench.connection.command("KEYS", f"te:job:{job.job_id}:samples*") == []
    with pytest.raises(NotFoundError):
        await bench.history.samples(job.job_id)


async def test_they_stay_when_their_points_go_to_the_archive(bench: Bench, tmp_path: Path) -> None:
    artifacts = FolderStore(tmp_path)
    small = AttemptStore(bench.worker, max_raw_points=40)
    job, token = await bench.running()
    archive = PointArchive(small, artifacts, token)
    for first in range(1, 100, 10):
        small.publish_metrics(token, sampled(first, first + 9))
        archive.published(10)
    store = HistoryStore(bench.connection, ArtifactArchive(artifacts))
    assert ((await store.page(job.job_id)).first_raw_step or 0) > 50
    assert [step for step, _, _ in await texts(store, job.job_id)] == [*range(5, 101, 5)]
