"""Redis behind sentinels: the primary changes in mid-job, and calls go on; nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, cluster
from conftest import undisturbed
from sentinels import Sentinels
from undisturbed import CONFIG, NEVER_GIVE_UP, assert_same, result_of, wait_for_step, write_text

from training_engine import NotFoundError, TrainingEngine

SHORT = CONFIG | {"max_steps": 180}
SLOW_SECONDS = 0.2
"""A step's length. A failover of two servers takes 10 to 15 s, in which the trainer goes on."""


class FailoverCluster(Cluster):
    """Its Redis is a primary and a replica behind three sentinels."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sentinels = Sentinels(folder / "sentinels")

    def redis_url(self, name: str) -> str:
        return self.sentinels.url()

    def start(self, name: str, *flags: str) -> None:
        if name == "redis":
            self.sentinels.start()
        else:
            super().start(name, *flags)

    def close(self) -> None:
        super().close()
        self.sentinels.kill()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[FailoverCluster]:
    write_text(tmp_path)
    running = FailoverCluster(tmp_path)
    with cluster(tmp_path, running):
        yield running


class Caller(threading.Thread):
    """Makes every kind of call, again and again, and remembers what was acknowledged."""

    def __init__(self, engine: TrainingEngine, data: str) -> None:
        super().__init__(daemon=True)
        self._engine, self._data = engine, data
        self._over = threading.Event()
        self.configs: list[str] = []
        self.states: dict[str, str] = {}
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._make_calls()
        except Exception as error:
            self.error = error

    def _make_calls(self) -> None:
        number = len(self.configs)
        config = self._engine.configs.create(f"config-{number}", CONFIG)
        self.configs.append(config.config_id)
        job = self._engine.jobs.start(config=CONFIG, dataset_path=self._data)
        self.states[job.job_id] = "queued"
        job.stop()
        self.states[job.job_id] = "stopped"
        if number % 3 == 1:
            job.resume()
            self.states[job.job_id] = "queued"
            job.stop()
            self.states[job.job_id] = "stopped"
        if number % 3 == 2:
            job.delete()
            self.states[job.job_id] = "deleted"
        self._engine.jobs.list()

    def end(self) -> None:
        self._over.set()
        self.join(timeout=90)
        assert not self.is_alive()
        assert self.error is None, self.error


def state_of(engine: TrainingEngine, job_id: str) -> str:
    try:
        return str(engine.jobs.get(job_id).status)
    except NotFoundError:
        return "deleted"


def killed(sentinels: Sentinels) -> None:
    """The primary is killed and comes back."""
    primary = sentinels.primary()
    primary.kill()
    sentinels.wait_for_other(primary)
    primary.start()


def frozen(sentinels: Sentinels) -> None:
    """The primary is frozen, and wakes when another one has taken its place."""
    primary = sentinels.primary()
    primary.pause()
    sentinels.wait_for_other(primary)
    primary.resume()


def test_failovers_in_mid_job_lose_nothing(services: FailoverCluster, tmp_path: Path) -> None:
    """One that is ordered, one by SIGKILL, one by SIGSTOP of a primary that wakes again."""
    expected = undisturbed(services, SHORT, tmp_path)
    services.pace.set(SLOW_SECONDS)
    with services.engine() as engine:
        job = engine.jobs.start(
            config=SHORT,
            dataset_path=str(services.folder / "text.txt"),
            execution=NEVER_GIVE_UP,
        )
        caller = Caller(engine, str(services.folder / "text.txt"))
        wait_for_step(job, 20)
        caller.start()
        for failover in (Sentinels.fail_over, killed, frozen):
            step = job.refresh().current_step
            failover(services.sentinels)
            wait_for_step(job, step + 5)
        services.pace.set(0)
        caller.end()
        assert_same(result_of(engine, job, tmp_path), expected)
        assert engine.jobs.get(job.job_id).attempt == 1
        assert len(caller.states) >= 3
        configs = {config.config_id for config in engine.configs.list()}
        assert set(caller.configs) <= configs
        assert {id: state_of(engine, id) for id in caller.states} == caller.states
