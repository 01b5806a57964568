"""The undisturbed run that all others are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, cluster
from undisturbed import CONFIG, Result, result_of, write_text


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test's own, with the text to train on."""
    write_text(tmp_path)
    with cluster(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What the configuration comes to when nothing happens."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), CONFIG)


def undisturbed(folder: Path, config: dict[str, Any]) -> Result:
    """Trains on a cluster that nobody disturbs."""
    text = write_text(folder)
    with cluster(folder) as running, running.engine() as engine:
        job = engine.jobs.start(config=config, dataset_path=text)
        result = result_of(engine, job, folder)
        assert [row[0] for row in result.history] == list(range(1, config["max_steps"] + 1))
        assert engine.jobs.get(job.job_id).attempt == 1
        return result
