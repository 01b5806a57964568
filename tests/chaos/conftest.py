"""The cluster that tests disturb, and the undisturbed runs that all others are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bucket_server import BucketServer, Faults
from cluster import Cluster, cluster
from undisturbed import CONFIG, PACE_SECONDS, Result, result_of, write_text


def pytest_addoption(parser: pytest.Parser) -> None:
    """Only where this folder is named on the command line, as `make check-deaths` does."""
    parser.addoption("--as-in-life", action="store_true", help="troubles that last for minutes")
    parser.addoption("--over-bucket", action="store_true", help="artifacts in a bucket that fails")


FAILING = Faults(seed=4, refused=0.05, torn=0.05, stalled=0.01, cut_bodies=0.05)


@pytest.fixture(scope="session", autouse=True)
def _bucket(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--over-bucket`, the artifacts of all clusters are in a bucket."""
    if not request.config.getoption("over_bucket", False):
        yield
        return
    with failing_bucket(FAILING) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "bucket", server)
        yield


@contextmanager
def failing_bucket(faults: Faults) -> Iterator[BucketServer]:
    """A bucket behind a network that fails, with its address in the environment."""
    server = BucketServer(faults).start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            yield server
    finally:
        server.stop()


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests of a process: a worker takes seconds to start, a job does not."""
    folder = tmp_path_factory.mktemp("cluster")
    write_text(folder)
    with cluster(folder) as running:
        yield running


@pytest.fixture
def services(shared: Cluster) -> Iterator[Cluster]:
    """All processes of the cluster, whatever the test before did to them."""
    shared.pace.set(PACE_SECONDS)
    yield shared
    shared.restore()


@pytest.fixture(scope="package")
def expected(shared: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What the configuration comes to when nothing happens."""
    return undisturbed(shared, CONFIG, tmp_path_factory.mktemp("undisturbed"))


def undisturbed(running: Cluster, config: dict[str, Any], folder: Path) -> Result:
    """Trains on a cluster that nobody disturbs, as fast as it can."""
    running.pace.set(0)
    with running.engine() as engine:
        job = engine.jobs.start(config=config, dataset_path=str(running.folder / "text.txt"))
        result = result_of(engine, job, folder)
        assert [row[0] for row in result.history] == list(range(1, config["max_steps"] + 1))
        assert engine.jobs.get(job.job_id).attempt == 1
        return result
