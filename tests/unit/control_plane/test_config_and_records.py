"""Dataclasses, messages and stored records hold the same fields, and convert into each other."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from app.training.config import DataConfig, DataSource, DistributedConfig, TrainingConfig
from app.training.memory import estimate_memory
from app.training.metric_names import METRIC_NAMES
from app.transformer.config import RopeScaling, TransformerConfig
from control_plane import conversion
from control_plane.config_codec import config_to_message, to_document
from control_plane.config_reading import read_document
from job_store.history_records import Bucket, Extent
from job_store.records import (
    CheckpointRecord,
    Execution,
    ForkOptimizer,
    JobError,
    JobRecord,
    JobStatus,
    Phase,
    PhaseProgress,
    Priority,
)
from training_engine.messages import present_fields
from training_engine.v1 import checkpoint_pb2, config_pb2, job_pb2, metrics_pb2


async def test_a_text_that_was_read_before_gives_a_configuration_of_its_own() -> None:
    text = '{"max_steps": 7, "data": {"sources": [{"path": "a"}]}, "odd": 1}'
    first, problems = await read_document(text)
    first.max_steps, first.data.sources[0].path = 8, "b"
    problems.clear()
    again, found = await read_document(text)
    assert (again.max_steps, again.data.sources[0].path) == (7, "a")
    assert [problem.field for problem in found] == ["odd"]
    assert again.fields_given() == first.fields_given()


@pytest.mark.parametrize(
    ("dataclass_type", "message_type"),
    [
        (TrainingConfig, config_pb2.TrainingConfig),
        (TransformerConfig, config_pb2.TransformerConfig),
        (RopeScaling, config_pb2.RopeScaling),
        (DistributedConfig, config_pb2.DistributedConfig),
        (DataConfig, config_pb2.DataConfig),
        (DataSource, config_pb2.DataSource),
    ],
)
def test_dataclass_and_message_have_the_same_fields(dataclass_type: Any, message_type: Any) -> None:
    fields = [field.name for field in dataclasses.fields(dataclass_type)]
    messages = [field.name for field in message_type.DESCRIPTOR.fields]
    assert sorted(fields) == sorted(messages)
    assert all(field.has_presence or field.is_repeated for field in message_type.DESCRIPTOR.fields)


def another_value(field: FieldDescriptor, name: str) -> Any:
    """A value that is not the field's default, of the message's type."""
    special = {
        "mixed_precision": "bf16", "wandb_mode": "offline", "scheduler_type": "linear",
        "optimizer_type": "muon", "best_metric": "loss", "metric": "loss",
        "device": "cpu", "strategy": "fsdp",
        "activation": "relu", "position_encoding_type": "rotary", "layer_norm_type": "rms_norm",
        "hidden_size": 64, "num_heads": 4, "num_kv_heads": 2, "sequence_length": 17,
        "max_position_embeddings": 99, "token_dtype": "uint32", "head_dim": 6, "rope_theta": 5.0,
        "factor": 2.0, "high_freq_factor": 2.0,
        "loss_on": "all", "chat_template": "{{ messages }}", "pack": False,
    }  # fmt: skip
    if name in special:
        return special[name]
    kinds: dict[int, Any] = {
        FieldDescriptor.TYPE_INT64: 3,
        FieldDescriptor.TYPE_DOUBLE: 0.375,
        FieldDescriptor.TYPE_BOOL: True,
        FieldDescriptor.TYPE_STRING: "some text",
    }
    return kinds[field.type]


def filled(message: Any) -> Any:
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            items = getattr(message, field.name)
            if field.message_type is None:
                items.append("csv" if field.name == "trackers" else "some text")
            else:
                filled(items.add())
        elif field.message_type is not None:
            filled(getattr(message, field.name)).SetInParent()
        else:
            setattr(message, field.name, another_value(field, field.name))
    return message


def test_every_field_survives_the_way_through_the_store() -> None:
    message = filled(config_pb2.TrainingConfig())
    message.alerts[0].when = "above"
    config, problems = TrainingConfig.read(present_fields(message))
    excluded = ["sample_prompts", "data.sources", "optimizer_type", "freeze", "lora.targets"]
    excluded += ["alerts[0].seconds", "alert_webhook"]
    assert [problem.field for problem in problems] == excluded, "beside fsdp, dataset_path and lora"
    assert config_to_message(to_document(config)) == message


def test_absent_stays_absent_and_default_is_spelled_out() -> None:
    assert present_fields(config_pb2.TrainingConfig()) == {}
    message = config_to_message(to_document(TrainingConfig()))
    assert message.batch_size == 8
    assert message.model_config.vocab_size == 50257
    for name in ("mixed_precision", "wandb_project", "sequence_length", "distributed"):
        assert not message.HasField(name)


def test_each_caller_gets_a_message_of_its_own() -> None:
    document = to_document(TrainingConfig())
    config_to_message(document).batch_size = 77
    assert config_to_message(document).batch_size == 8


def test_the_library_knows_the_metrics_of_the_contract() -> None:
    assert set(conversion.METRIC_FIELDS) == METRIC_NAMES
    contract = "loss perplexity lr grad_norm tokens_per_second steps_per_second tokens_seen"
    contract += " val_loss val_perplexity gpu_memory_allocated_gb mfu"
    assert set(contract.split()) <= METRIC_NAMES


def record_of(**fields: Any) -> JobRecord:
    values: dict[str, Any] = {
        "job_id": "job_1", "name": "run", "status": JobStatus.FAILED, "current_step": 5,
        "max_steps": 20, "attempt": 3, "claim_id": "c", "worker_id": "w",
        "resumed_from_step": 0, "resume_checkpoint_id": "ckpt_1", "created_at": 1_001,
        "updated_at": 2_002, "started_at": 3_003, "completed_at": 4_004,
        "error": JobError("STALLED", "no step", "last words"), "message": "note",
        "config_document": to_document(TrainingConfig()), "config_id": "cfg_1",
        "dataset_path": "/d", "val_dataset_path": "/v", "tokenizer": "byte",
        "execution": Execution(Priority.LOW, 1, 1, "cpu", 7, 8.5, 9.5),
        "warnings": ("lr: too high: really",), "notes": ("threads changed",),
        "model_summary": "7 parameters",
        "environment": "torch 2",
        "data_summary": "9 windows", "data_warnings": ("lr: too high: really", "data: odd"),
        "consecutive_failures": 2, "tokens_seen": 9, "phase": Phase.VALIDATING,
        "phase_progress": PhaseProgress(12, 80, 2.5), "eta_seconds": 1.5,
        "best_checkpoint_id": "", "enqueued_at": 1, "stop_requested_at": None,
        "stop_deadline": None, "tags": ("a", "b"), "user_notes": "why",
        "parent_job_id": "job_0", "parent_checkpoint_id": "ckpt_0", "fork_step": 4,
        "fork_optimizer": ForkOptimizer.FRESH,
        "sweep_id": "swp_0", "sweep_child": 3, "stop_at_step": 9,
    }  # fmt: skip
    return JobRecord(**(values | fields))


def test_every_field_of_a_job_is_set() -> None:
    job = conversion.job_message(record_of())
    live = conversion.job_message(record_of(status=JobStatus.RUNNING, running_ms=2_500))
    fields = {field.name for message in (job, live) for field, _ in message.ListFields()}
    assert fields == {field.name for field in job.DESCRIPTOR.fields}
    assert (live.phase, live.phase_done, live.phase_total) == (job_pb2.JOB_PHASE_VALIDATING, 12, 80)
    assert (live.phase_per_second, live.eta_seconds, live.running_seconds) == (2.5, 1.5, 2.5)
    assert job.phase == job_pb2.JOB_PHASE_UNSPECIFIED, "no trainer runs any more"
    assert not job.HasField("phase_total")
    assert not job.HasField("eta_seconds")
    assert job.status == job_pb2.JOB_STATUS_FAILED
    assert job.progress == 0.25
    assert ([*job.tags], job.notes) == (["a", "b"], "why")
    assert (job.parent_job_id, job.parent_checkpoint_id, job.fork_step) == ("job_0", "ckpt_0", 4)
    assert job.fork_optimizer == job_pb2.FORK_OPTIMIZER_FRESH
    assert (job.sweep_id, job.sweep_child, job.stop_at_step) == ("swp_0", 3, 9)
    assert not conversion.job_message(record_of(sweep_id="", sweep_child=0)).HasField("sweep_child")
    assert [*job.exactness_notes] == ["threads changed"]
    assert job.completed_at.ToMilliseconds() == 4_004
    assert (job.error, job.error_reason, job.log_tail) == ("no step", "STALLED", "last words")
    warnings = [(warning.field, warning.message) for warning in job.warnings]
    assert warnings == [("lr", "too high: really"), ("data", "odd")]
    assert job.execution == job_pb2.Execution(
        priority=job_pb2.JOB_PRIORITY_LOW, processes=1, nodes=1, device="cpu", max_retries=7,
        stop_timeout_seconds=8.5, stall_timeout_seconds=9.5,
    )  # fmt: skip


def test_a_fresh_job_has_no_times_to_tell_and_is_named_by_its_id() -> None:
    job = conversion.job_message(
        record_of(
            name="",
            started_at=None,
            completed_at=None,
            resumed_from_step=None,
            error=None,
            status=JobStatus.RUNNING,
            phase_progress=PhaseProgress(),
            eta_seconds=None,
        )
    )
    assert job.name == "job_1"
    for name in (
        "started_at",
        "completed_at",
        "resumed_from_step",
        "eta_seconds",
        "phase_total",
        "phase_per_second",
    ):
        assert not job.HasField(name)
    assert job.error == ""


def test_execution_has_the_records_fields() -> None:
    fields = {field.name for field in dataclasses.fields(Execution)}
    assert fields == {field.name for field in job_pb2.Execution.DESCRIPTOR.fields}


def test_a_checkpoint_has_the_records_public_fields() -> None:
    hidden = {"artifact", "best_score", "metrics"}
    fields = {field.name for field in dataclasses.fields(CheckpointRecord)} - hidden
    assert fields | {"val_loss"} == {
        field.name for field in checkpoint_pb2.Checkpoint.DESCRIPTOR.fields
    }


def test_buckets_keep_extremes_and_direction() -> None:
    falling, rising = Extent(min=1.0, max=9.0, last=2.0), Extent(min=1.0, max=9.0, last=9.0)
    bucket = Bucket(10, 20, 11, 5_000, {"loss": falling, "lr": rising, "unheard_of": rising})
    first, second = conversion.bucket_messages(bucket)
    assert (first.step, first.loss, first.lr) == (10, 9.0, 1.0)
    assert (second.step, second.loss, second.lr) == (20, 1.0, 9.0)
    assert second.created_at.seconds == 5
    single = Bucket(7, 7, 1, 5_000, {"loss": Extent(3.0, 3.0, 3.0)})
    assert [point.step for point in conversion.bucket_messages(single)] == [7]


def test_status_and_priority_tables_are_whole() -> None:
    names = {f"JOB_STATUS_{status.name}" for status in JobStatus} | {"JOB_STATUS_UNSPECIFIED"}
    assert names == set(job_pb2.JobStatus.keys())
    names = {f"JOB_PRIORITY_{p.name}" for p in Priority} | {"JOB_PRIORITY_UNSPECIFIED"}
    assert names == set(job_pb2.JobPriority.keys())


def test_memory_counts_what_is_kept() -> None:
    model = TransformerConfig(
        vocab_size=100, hidden_size=8, num_layers=2, num_heads=2, max_position_embeddings=16
    )
    config = TrainingConfig(model_config=model, batch_size=4)
    plain = estimate_memory(config)
    # 4 × 16 tokens; each of 2 layers keeps 8 × 8 + 2 × 32 numbers; logits and their gradient.
    assert plain.activations_bytes == 64 * 2 * (64 + 64) * 4 + 2 * 4 * 64 * 100
    config.gradient_checkpointing = True
    assert estimate_memory(config).activations_bytes == 64 * 2 * 8 * 4 + 2 * 4 * 64 * 100


def test_what_has_no_field_of_its_own_is_the_users_metric() -> None:
    values = {"loss": 0.5, "perplexity": math.inf, "mystery": math.inf, "tokens_seen": 8.0}
    point = conversion.point_message(3, 1, 1_500, values)
    expected = metrics_pb2.MetricPoint(step=3, attempt=1, loss=0.5, tokens_seen=8)
    expected.custom["mystery"] = math.inf
    expected.created_at.FromMilliseconds(1_500)
    assert point == expected


def test_documents_are_plain_json() -> None:
    assert json.loads(to_document(TrainingConfig())) == TrainingConfig().to_dict()
