"""One of several processes of a job is killed; the run ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster import Cluster
from running_stack import wait_until
from undisturbed import CONFIG, PACE_SECONDS, assert_same, result_of, wait_for_step

pytestmark = pytest.mark.slow

SPREAD: dict[str, Any] = CONFIG | {
    "max_steps": 120,
    "eval_steps": 50,
    "distributed": {"strategy": "ddp"},
}


def second_rank(services: Cluster) -> psutil.Process | None:
    """The process that trains beside the one with the spool."""
    first = services.trainer()
    if first is None or (launcher := first.parent()) is None:
        return None
    others = [child for child in launcher.children() if child.pid != first.pid]
    return others[0] if len(others) == 1 else None


def test_a_killed_rank_loses_nothing(services: Cluster, tmp_path: Path) -> None:
    text = str(services.folder / "text.txt")
    two = {"processes": 2}
    with services.engine() as engine:
        services.pace.set(0)
        undisturbed = engine.jobs.start(config=SPREAD, dataset_path=text, execution=two)
        expected = result_of(engine, undisturbed, tmp_path)
        assert [row[0] for row in expected.history] == list(range(1, 121))
        services.pace.set(PACE_SECONDS)
        job = engine.jobs.start(config=SPREAD, dataset_path=text, execution=two)
        wait_for_step(job, 30)
        wait_until(lambda: second_rank(services), "a second process").kill()
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt == 2
        assert engine.jobs.get(job.job_id).execution.processes == 2
