"""What can be known of data at the start is refused or warned of, by a start and by validation."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failure import failure_of
from started import TINY, tiny_request

from control_plane.settings import ControlPlaneSettings
from job_store.records import WorkerRecord, WorkerState
from job_store.workers import WorkerRegistry
from training_engine.v1 import config_pb2, job_pb2

SHORT = TINY | {"sequence_length": 16}


async def validate(
    stubs: Any, config: dict[str, Any], data: str = "", validation: str = ""
) -> config_pb2.ValidateConfigResponse:
    request = config_pb2.ValidateConfigRequest(
        config_document=json.dumps(config), dataset_path=data, val_dataset_path=validation
    )
    return await stubs.configs.ValidateConfig(request)


def message_by_field(problems: Any) -> dict[str, str]:
    return {problem.field: problem.message for problem in problems}


def lay_out(root: Path) -> None:
    """Data of every kind that a look can refuse."""
    (root / "empty.txt").touch()
    (root / "short.txt").write_text("x" * 10)
    (root / "latin.txt").write_bytes(b"caf\xe9 au lait " * 50)
    (root / "columns.jsonl").write_text('{"content": "a"}\n')
    (root / "nested.jsonl").write_text("[" * 20_000)
    (root / "archive.npy").write_bytes(b"PK\x03\x04")
    (root / "no.parquet").write_text("PAR1")
    (root / "no.json").write_text("{}")
    (root / "folder").mkdir()
    (root / "skipped").mkdir()
    (root / "skipped" / "a.png").touch()
    np.arange(400, dtype="<u2").tofile(root / "ids.bin")


@pytest.mark.parametrize(
    ("data", "changes", "reason", "field", "said"),
    [
        ("empty.txt", {}, "INVALID_DATA", "dataset_path", "is empty"),
        ("short.txt", {}, "INVALID_DATA", "dataset_path", "training needs at least"),
        ("latin.txt", {}, "INVALID_DATA", "dataset_path", "is not UTF-8: byte 3"),
        ("columns.jsonl", {}, "INVALID_DATA", "dataset_path", "has the columns ['content']"),
        ("nested.jsonl", {}, "INVALID_DATA", "dataset_path", "line 1 of"),
        ("archive.npy", {}, "INVALID_DATA", "dataset_path", "cannot be read as .npy"),
        ("no.parquet", {}, "INVALID_DATA", "dataset_path", "cannot be read as Parquet"),
        ("folder", {}, "INVALID_DATA", "dataset_path", "it is empty"),
        ("skipped", {}, "INVALID_DATA", "dataset_path", "it holds only"),
        ("corpus.txt", {"val_dataset_path": "empty.txt"}, "INVALID_DATA", "val_dataset_path", "0"),
        ("corpus.txt", {"tokenizer": "no.json"}, "INVALID_DATA", "tokenizer", "cannot be read"),
        (
            "corpus.txt",
            {"model_config": {"vocab_size": 100}},
            "INVALID_CONFIG",
            "model_config.vocab_size",
            "the tokenizer 'byte' has 256 ids",
        ),
        (
            "corpus.txt",
            {"val_fraction": 0, "early_stopping": {"patience": 2}},
            "INVALID_CONFIG",
            "early_stopping.metric",
            "is 'val_loss' and there is no validation data; name some in val_dataset_path, raise",
        ),
    ],
)
async def test_a_start_and_a_validation_refuse_alike(
    stubs: Any,
    data_root: Path,
    data: str,
    changes: dict[str, Any],
    reason: str,
    field: str,
    said: str,
) -> None:
    lay_out(data_root)
    config = SHORT | changes
    request = tiny_request(config_document=json.dumps(config), dataset_path=data)
    failure = await failure_of(stubs.jobs.StartJob(request))
    assert (failure.reason, list(failure.fields)) == (reason, [field])
    assert said in failure.fields[field]
    verdict = await validate(stubs, config, data)
    assert not verdict.valid
    assert message_by_field(verdict.errors) == failure.fields
    assert verdict.HasField("memory_estimate")
    jobs = await stubs.jobs.ListJobs(job_pb2.ListJobsRequest())
    assert not jobs.jobs


async def test_features_that_cannot_work_are_refused_at_the_start(stubs: Any) -> None:
    wrong = {
        "ema_decay": 1.0,
        "cooldown_steps": 21,
        "muon_momentum": 1.0,
        "early_stopping": {"patience": 0},
        "trackers": ["csv", "wandb"],
    }
    request = tiny_request(config_document=json.dumps(TINY | wrong))
    failure = await failure_of(stubs.jobs.StartJob(request))
    assert failure.reason == "INVALID_CONFIG"
    assert {field: text.split("; ")[1] for field, text in failure.fields.items()} == {
        "ema_decay": "it must be above 0 and below 1",
        "cooldown_steps": "it must not exceed max_steps=20",
        "muon_momentum": "it must be at least 0 and below 1",
        "early_stopping.patience": "it must be at least 1 and below 2**53",
        "trackers": "it must be a list of csv, tensorboard and mlflow, each once",
    }
    verdict = await validate(stubs, TINY | wrong, "corpus.txt")
    assert message_by_field(verdict.errors) == failure.fields


async def test_a_start_and_a_validation_warn_alike(stubs: Any, data_root: Path) -> None:
    lay_out(data_root)
    for data, changes, fields in (
        ("corpus.txt", {}, []),
        ("ids.bin", {"model_config": TINY["model_config"] | {"vocab_size": 50257}}, []),
        (
            "corpus.txt",
            {"model_config": TINY["model_config"] | {"vocab_size": 50257}, "batch_size": 500},
            ["model_config.vocab_size", "batch_size"],
        ),
        ("corpus.txt", {"gradient_accumulation_steps": 99}, ["gradient_accumulation_steps"]),
        ("corpus.txt", {"checkpoint_dir": "/elsewhere"}, ["checkpoint_dir"]),
        ("corpus.txt", {"device": "cuda"}, ["execution.device"]),
    ):
        config = SHORT | changes
        started = await stubs.jobs.StartJob(
            tiny_request(config_document=json.dumps(config), dataset_path=data)
        )
        verdict = await validate(stubs, config, data)
        assert verdict.valid
        assert [warning.field for warning in verdict.warnings] == fields
        assert list(verdict.warnings) == list(started.job.warnings)


async def test_data_that_is_not_named_can_be_named_at_the_start(
    stubs: Any, data_root: Path
) -> None:
    verdict = await validate(stubs, SHORT)
    assert verdict.valid
    assert message_by_field(verdict.warnings) == {
        "dataset_path": "`dataset_path` is not set; a job needs data; give a path under an allowed "
        "folder or dataset://ID, or name the data when the job starts"
    }
    assert not (await validate(stubs, SHORT, "corpus.txt")).warnings


async def test_paths_that_are_missing_or_not_allowed_are_errors(
    stubs: Any, data_root: Path
) -> None:
    bad = SHORT | {"val_dataset_path": "dataset://ds_0", "tokenizer": "/x"}
    errors = message_by_field((await validate(stubs, bad, str(data_root / "gone.txt"))).errors)
    assert list(errors) == ["dataset_path", "val_dataset_path", "tokenizer"]
    assert errors["dataset_path"].endswith("which does not exist; check the spelling")
    assert errors["val_dataset_path"].startswith("there is no dataset 'ds_0'")
    assert "`tokenizer` is '/x', which is not under an allowed folder" in errors["tokenizer"]
    assert message_by_field(
        (await validate(stubs, SHORT, "corpus.txt", "gone.txt")).errors
    ).keys() == {"val_dataset_path"}


async def test_each_source_is_checked_like_a_dataset_path(stubs: Any, data_root: Path) -> None:
    lay_out(data_root)

    def sources(*paths: str) -> dict[str, Any]:
        return SHORT | {"data": {"sources": [{"path": path} for path in paths]}}

    bad = sources("corpus.txt", "/etc/passwd", "dataset://ds_0")
    errors = message_by_field((await validate(stubs, bad)).errors)
    assert list(errors) == ["data.sources[1].path", "data.sources[2].path"]
    assert "which is not under an allowed folder" in errors["data.sources[1].path"]
    request = tiny_request(config_document=json.dumps(bad), dataset_path="")
    assert list((await failure_of(stubs.jobs.StartJob(request))).fields) == ["data.sources[1].path"]
    request.config_document = json.dumps(sources("corpus.txt", "empty.txt"))
    failure = await failure_of(stubs.jobs.StartJob(request))
    assert (failure.reason, list(failure.fields)) == ("INVALID_DATA", ["data.sources[1].path"])
    request.config_document = json.dumps(sources("corpus.txt", "ids.bin"))
    job = (await stubs.jobs.StartJob(request)).job
    assert not job.HasField("dataset_path")
    stored = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job.job_id))).job.config.data
    names = ("corpus.txt", "ids.bin")
    assert [each.path for each in stored.sources] == [str(data_root / name) for name in names]
    request.dataset_path = "corpus.txt"
    failure = await failure_of(stubs.jobs.StartJob(request))
    assert "there must be one of the two" in failure.fields["data.sources"]
    assert message_by_field((await validate(stubs, sources("corpus.txt"), "corpus.txt")).errors)


async def test_a_model_beyond_this_machine_is_warned_of_where_all_workers_are_here(
    stubs: Any, registry: WorkerRegistry
) -> None:
    huge = SHORT | {"model_config": {"vocab_size": 256, "hidden_size": 1 << 17, "num_heads": 8}}

    async def warned() -> bool:
        verdict = await validate(stubs, huge, "corpus.txt")
        return "model_config" in message_by_field(verdict.warnings)

    assert not await warned()  # it is not known yet where it will train
    registry.heartbeat(WorkerRecord("here", WorkerState.IDLE, "cpu", socket.gethostname(), 1, 0, 0))
    assert await warned()
    registry.heartbeat(WorkerRecord("there", WorkerState.IDLE, "cpu", "elsewhere", 2, 0, 0))
    assert not await warned()


@pytest.fixture
def far_away(plane_settings: ControlPlaneSettings) -> None:
    """The workers see other files than the control plane."""
    plane_settings.roots_visible = False


@pytest.mark.usefixtures("far_away")
async def test_files_that_cannot_be_seen_are_left_to_the_worker(
    stubs: Any, data_root: Path
) -> None:
    lay_out(data_root)
    for data in ("empty.txt", "folder", "elsewhere.txt"):
        assert (await validate(stubs, SHORT, data)).valid
    large = SHORT | {"model_config": {"vocab_size": 50257}}
    verdict = await validate(stubs, large, "elsewhere.txt")
    assert [warning.field for warning in verdict.warnings] == ["model_config.vocab_size"]
