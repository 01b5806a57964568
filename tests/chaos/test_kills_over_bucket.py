"""Processes of workers without a common folder are killed: of two nodes, and during an upload.

`make check-bucket` runs all other tests of this folder with their artifacts in a bucket.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from bucket_server import unfinished_uploads
from cluster import Cluster, cluster
from conftest import FAILING, failing_bucket, undisturbed
from running_stack import wait_until
from undisturbed import (
    CONFIG,
    NEVER_GIVE_UP,
    PACE_SECONDS,
    assert_same,
    result_of,
    write_text,
)

from artifact_store import GuardedStore, attempt_prefix, open_store
from artifact_store.object_store import S3Store
from job_store.ids import new_id
from job_store.records import FencingToken, JobError, Outcome, OutcomeKind
from training_worker.ranks import FailureNotes

pytestmark = pytest.mark.slow

LARGE: dict[str, Any] = CONFIG | {
    "model_config": CONFIG["model_config"] | {"max_position_embeddings": 24_000},
    "max_steps": 60,
    "eval_steps": 50,
}
"""Its checkpoints of 9 MB are uploaded in two parts."""
SPREAD: dict[str, Any] = CONFIG | {
    "max_steps": 30,
    "save_steps": 10,
    "eval_steps": 20,
    "distributed": {"strategy": "ddp"},
}
TWO = {"processes": 2}
WORKERS = ("worker", "worker-2")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("bucket")
    write_text(folder)
    with failing_bucket(dataclasses.replace(FAILING, held=str(folder / "held"))) as server:
        running = Cluster(folder)
        running.bucket = server
        with cluster(folder, running, ("redis", "control-plane", *WORKERS)):
            yield running


def agent_of(services: Cluster, worker: str) -> psutil.Process:
    """The worker's child that has started the processes which train."""
    children = psutil.Process(services.processes[worker].pid).children()
    (agent,) = [child for child in children if child.children()]
    return agent


@pytest.mark.long
def test_a_killed_agent_of_two_nodes_changes_nothing(services: Cluster, tmp_path: Path) -> None:
    with services.engine() as engine:
        data = engine.datasets.upload(services.folder / "text.txt")
        where: dict[str, Any] = {"config": SPREAD, "dataset_path": f"dataset://{data.dataset_id}"}
        expected = result_of(engine, engine.jobs.start(**where, execution=TWO), tmp_path)
        services.pace.set(PACE_SECONDS)
        job = engine.jobs.start(**where, execution={"nodes": 2})
        wait_until(job.checkpoints, "a checkpoint to continue from")
        with_place = next(name for name in WORKERS if not services.trainer(name))
        agent_of(services, with_place).kill()
        services.pace.set(0)
        assert_same(result_of(engine, job, tmp_path), expected)
        done = engine.jobs.get(job.job_id)
        assert done.attempt == 2
        assert done.resumed_from_step in (10, 20)
    wait_until(lambda: not list(services.scratch.rglob("*.pt")), "copies to be removed")


def second_upload(store: S3Store) -> str:
    """The key of a checkpoint under way that has one before it to continue from."""
    keys = unfinished_uploads(store)
    return next((key for key in keys if key.endswith("checkpoint_step_40.pt")), "")


def test_a_kill_during_an_upload_leaves_no_parts_and_changes_nothing(
    services: Cluster, tmp_path: Path
) -> None:
    expected = undisturbed(services, LARGE, tmp_path)
    store = services.store
    assert isinstance(store, S3Store)
    held = services.folder / "held"
    held.write_text("checkpoint_step_40.pt")
    with services.engine() as engine:
        job = engine.jobs.start(
            config=LARGE,
            dataset_path=str(services.folder / "text.txt"),
            execution=NEVER_GIVE_UP,
        )
        torn = wait_until(lambda: second_upload(store), "an upload")
        busy = services.worker_of(job)
        services.kill(busy)
        held.unlink()
        assert_same(result_of(engine, job, tmp_path), expected)
        done = engine.jobs.get(job.job_id)
        assert (done.attempt, done.resumed_from_step) == (2, 20)
        wait_until(lambda: not unfinished_uploads(store), "the dead upload to be given up")
        kept = {f"checkpoint_step_{one.step}.pt" for one in done.checkpoints()}
    stored = {key for key in store.keys(f"jobs/{job.job_id}") if key.endswith(".pt")}
    assert torn not in stored
    assert {key.rpartition("/")[2] for key in stored} == kept
    (copies,) = [one for one in services.scratch.iterdir() if not one.name.endswith(f"-{busy}")]
    wait_until(lambda: not list(copies.rglob("*.pt")), "the worker's copies to be removed")


def test_another_machine_hears_what_a_process_died_of(services: Cluster, tmp_path: Path) -> None:
    token = FencingToken(new_id("job"), 1, "0123456789abcdef")
    identity = services.store.identity() or ""
    here, there = (
        GuardedStore(open_store(services.artifact_root, tmp_path / name), identity)
        for name in ("here", "there")
    )
    for store in (here, there):
        store.folder(attempt_prefix(token.job_id, 1, token.claim_id)).mkdir(parents=True)
    assert FailureNotes(here, token, nodes=2).read("tail") is None
    failed = Outcome(OutcomeKind.FAILED, JobError("OUT_OF_MEMORY", "out of memory on cuda:1"))
    FailureNotes(there, token, nodes=2).write(1, failed)
    error = JobError("OUT_OF_MEMORY", "out of memory on cuda:1", "tail")
    assert FailureNotes(here, token, nodes=2).read("tail") == Outcome(OutcomeKind.FAILED, error)
