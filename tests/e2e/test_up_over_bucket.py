"""`up` with its artifacts in a bucket, and downloads that come from there."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from bucket_server import BUCKET, BucketServer
from running_stack import RunningStack, clean_environment, run_up, running_stack

from training_engine import Checkpoint, TrainingEngine

_PREFIX = "up"
CONFIG: dict[str, Any] = {
    "model_config": {"vocab_size": 256, "hidden_size": 16, "num_layers": 1, "num_heads": 2},
    "sequence_length": 16,
    "batch_size": 2,
    "warmup_steps": 1,
    "max_steps": 4,
    "save_steps": 2,
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[BucketServer]:
    server = BucketServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, bucket: BucketServer) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("bucket")
    environment = bucket.environment | {"TRAINING_ENGINE_PRESIGNED_SECONDS": "60"}
    root = f"--artifact-root=s3://{BUCKET}/{_PREFIX}"
    with running_stack(folder / "data", root, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def checkpoint(stack: RunningStack) -> Checkpoint:
    """The last one of a job that has ended."""
    text = stack.data_dir.parent / "text.txt"
    text.write_text("the quick brown fox\n" * 200)
    with TrainingEngine(stack.address) as engine:
        job = engine.jobs.start(config=CONFIG, dataset_path=str(text))
        assert job.wait(timeout=120).status == "succeeded"
        return max(job.checkpoints(), key=lambda one: one.step)


def test_artifacts_are_in_the_bucket_alone(
    stack: RunningStack,
    bucket: BucketServer,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from artifact_store import open_store

    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    stored = open_store(f"s3://{BUCKET}/{_PREFIX}").keys(f"jobs/{checkpoint.job_id}")
    assert f"checkpoint_step_{checkpoint.step}.pt" in {key.rpartition("/")[2] for key in stored}
    assert [*(stack.data_dir / "artifacts").iterdir()] == []


def test_every_door_leads_to_the_bucket_and_verifies(
    stack: RunningStack,
    bucket: BucketServer,
    checkpoint: Checkpoint,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)  # with DEBUG, httpcore writes all headers of all answers
    caplog.set_level(logging.DEBUG, "httpcore.connection")
    id = checkpoint.checkpoint_id
    url = f"{stack.url}/api/training/checkpoints/{id}/download"
    with httpx.Client(trust_env=False) as plain:
        moved = plain.get(url)
        assert (moved.status_code, moved.headers["cache-control"]) == (307, "no-store")
        location = moved.headers["location"]
        assert location.startswith(f"{bucket.url}/{BUCKET}/{_PREFIX}/jobs/{checkpoint.job_id}/")
        assert parse_qs(urlsplit(location).query)["X-Amz-Expires"] == ["60"]
        content = plain.get(location).content
        part = plain.get(url, headers={"range": "bytes=10-29"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, content[10:30])
        assert plain.get(url, params={"redirect": "false"}).content == content
    assert hashlib.sha256(content).hexdigest() == checkpoint.sha256
    said = ""
    with TrainingEngine(stack.address) as grpc, TrainingEngine.over_rest(stack.url) as rest:
        for name, engine in (("grpc", grpc), ("rest", rest)):
            caplog.clear()
            assert engine.checkpoints.download(id, tmp_path / name).read_bytes() == content
            assert f"port={bucket.port} " in caplog.text, "httpcore logs its connections"
            said += caplog.text
    command = [sys.executable, "-P", "-m", "training_engine", "download", id, "-o", "cli"]
    own = {"TRAINING_ENGINE_URL": stack.url}
    subprocess.run(command, env=clean_environment() | own, cwd=tmp_path, check=True)
    assert (tmp_path / "cli").read_bytes() == content
    said += "".join(log.read_text() for log in (stack.data_dir / "logs").iterdir())
    assert "X-Amz-Signature" not in said
    assert "Signature=" not in said


def test_a_bucket_that_is_not_there_is_named_at_once(bucket: BucketServer, tmp_path: Path) -> None:
    ports = ("--grpc-port=0", "--http-port=0", "--data-dir=data")
    ended = run_up(
        "--artifact-root=s3://no-such-bucket/x", *ports, cwd=tmp_path,
        environment=bucket.environment,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "s3://no-such-bucket/x answers NoSuchBucket: there is no such bucket" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert os.listdir(tmp_path / "data" / "redis") == []
