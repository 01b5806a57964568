"""What a trainer uses is in the job store while it trains, and stays there."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from training_site import Site

from training_worker import supervisor
from training_worker.board import Board
from training_worker.exits import EXIT_OK
from training_worker.set_up import attempt_folder
from training_worker.system_sampler import SystemSampler


def test_a_supervisor_delivers_samples_beside_the_lease(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SystemSampler", partial(SystemSampler, seconds=0.05))
    site = Site(redis_url, tmp_path)
    claimed = site.store.claim(site.submit(), 1, "worker-1")
    assert claimed is not None
    key = f"te:job:{claimed.token.job_id}:system"
    ends, told = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(told)
        os.read(ends, 1)  # until the test closes its end
        os._exit(EXIT_OK)
    os.close(ends)

    def end_after_two_samples() -> None:
        nonlocal told
        if told and site.store._db.command("LLEN", key) >= 2:
            os.close(told)
            told = 0

    board = Board()
    artifacts = site.store_of_artifacts()
    watcher = supervisor.Supervisor(
        claimed,
        site.store,
        board,
        attempt_folder(artifacts, claimed),
        artifacts,
        renewal_seconds=0.1,
        heartbeat=end_after_two_samples,
    )
    watcher.attach(pid)
    watcher.watch(pid)
    board.close()
    samples = site.store._db.command("LRANGE", key, 0, -1)
    assert len(samples) >= 2
    assert samples[0].startswith(b"1\n")
    assert b'"system/memory_bytes": ' in samples[0]
    site.close()
