"""A job over several nodes, its artifacts in a bucket, through kills that a seed draws.

Each worker has a scratch folder and a cache of its own; what they have in common is the bucket,
behind a network that fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, cluster
from conftest import FAILING, failing_bucket
from gang_kills import GangKills
from undisturbed import CONFIG, NEVER_GIVE_UP, assert_same, result_of, write_text

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

KILLS = 10
WORKERS = ("worker", "worker-2", "worker-3", "worker-4")
SPREAD: dict[str, Any] = CONFIG | {"max_steps": 400, "distributed": {"strategy": "ddp"}}
PACE_SECONDS = 0.05


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("gang")
    write_text(folder)
    with failing_bucket(FAILING) as server:
        running = Cluster(folder)
        running.bucket = server
        with cluster(folder, running, ("redis", "control-plane", *WORKERS)):
            yield running


@pytest.mark.parametrize(("nodes", "seed"), [(2, 1), (3, 2)])
def test_drawn_kills_change_nothing(
    services: Cluster, tmp_path: Path, nodes: int, seed: int
) -> None:
    with services.engine() as engine:
        data = engine.datasets.upload(services.folder / "text.txt")
        where: dict[str, Any] = {"config": SPREAD, "dataset_path": f"dataset://{data.dataset_id}"}
        services.pace.set(0)
        on_one = engine.jobs.start(**where, execution={"processes": nodes})
        expected = result_of(engine, on_one, tmp_path)
        services.pace.set(PACE_SECONDS)
        job = engine.jobs.start(**where, execution={"nodes": nodes, **NEVER_GIVE_UP})
        kills = GangKills(services, WORKERS, seed)
        for _ in range(KILLS):
            kills.kill(job)
        services.pace.set(0)
        result = result_of(engine, job, tmp_path)
        print(*kills.told, f"{job.refresh().attempt} attempts", sep="\n")
        assert len(kills.told) == KILLS
        assert_same(result, expected)
