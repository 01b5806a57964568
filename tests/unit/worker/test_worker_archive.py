"""A long history of a real worker: killed in the middle, and every page as if it had not been."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from typing import Any

from test_worker_outage import END
from training_site import Site, comparable, connected

from artifact_store import FolderStore
from control_plane.archive import ArtifactArchive
from job_store.events import MetricsEvent
from job_store.records import JobStatus
from job_store.streams import JobFeeds

BOUND = 200
LONG = {"max_steps": 900, "save_steps": 60, "eval_steps": 900, "logging_steps": 1}
NAMES = ("loss", "lr", "grad_norm", "tokens_seen", "val_loss")


def raw_points(site: Site, job_id: str) -> int:
    return sum(attempt.points for attempt in site.store.attempts(job_id))


def streamed(site: Site, job_id: str, after_step: int | None) -> list[tuple[Any, ...]]:
    """What a watcher of the finished job is shown, in the form of `comparable`."""

    async def run() -> list[tuple[Any, ...]]:
        async with connected(site.url) as db:
            feeds = JobFeeds(db, ArtifactArchive(FolderStore(site.artifacts)))
            watch = feeds.watch(job_id, after_step=after_step, logs=False)
            async with aclosing(watch) as items:  # type: ignore[type-var]
                points = [item.event async for item in items]
            await feeds.close()
            return [
                (point.step, *(point.values.get(name) for name in NAMES))
                for point in points
                if isinstance(point, MetricsEvent)
            ]

    return asyncio.run(run())


def test_pages_equal_an_undisturbed_run_through_kills(site: Site) -> None:
    worker = site.start_worker(max_raw_points=BOUND)
    undisturbed = site.submit(**LONG)
    assert site.wait(undisturbed, *END).status is JobStatus.SUCCEEDED, site.logs()
    expected = comparable(site.history(undisturbed))
    assert [row[0] for row in expected] == list(range(1, 901))

    job_id = site.submit(**LONG)
    for step in (330, 331, 700):
        site.wait_for(lambda step=step: site.job(job_id).current_step >= step)
        os.kill(site.horse(worker), signal.SIGKILL)
        site.wait_for(lambda: site.job(job_id).status is JobStatus.QUEUED)
        site.send(job_id)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED, site.logs()
    assert site.job(job_id).attempt == 4
    assert raw_points(site, job_id) <= BOUND + BOUND // 4
    for page_size in (1000, 64):
        assert comparable(site.history(job_id, page_size)) == expected
    for after in (0, 420, 899):
        assert streamed(site, job_id, after)[-(900 - after) :] == expected[after:]
