"""Workers without a common folder are killed, also in the middle of an upload.

`make check-bucket` runs all other tests of this folder with their artifacts in a bucket.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket_server import unfinished_uploads
from cluster import Cluster, cluster
from conftest import FAILING, failing_bucket, undisturbed
from running_stack import wait_until
from undisturbed import CONFIG, NEVER_GIVE_UP, assert_same, result_of, write_text

from artifact_store.object_store import S3Store

pytestmark = pytest.mark.slow

LARGE: dict[str, Any] = CONFIG | {
    "model_config": CONFIG["model_config"] | {"max_position_embeddings": 24_000},
    "max_steps": 60,
    "eval_steps": 50,
}
"""Its checkpoints of 9 MB are uploaded in two parts."""
WORKERS = ("worker", "worker-2")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Cluster]:
    write_text(tmp_path)
    with failing_bucket(dataclasses.replace(FAILING, held=str(tmp_path / "held"))) as server:
        running = Cluster(tmp_path)
        running.bucket = server
        with cluster(tmp_path, running, ("redis", "control-plane", *WORKERS)):
            yield running


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
    held = tmp_path / "held"
    held.write_text("checkpoint_step_40.pt")
    with services.engine() as engine:
        job = engine.jobs.start(
            config=LARGE,
            dataset_path=str(services.folder / "text.txt"),
            execution=NEVER_GIVE_UP,
        )
        torn = wait_until(lambda: second_upload(store), "an upload")
        (busy,) = [name for name in WORKERS if services.trainer(name)]
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
