"""Messages become the plain dicts that REST answers with, and plain dicts become messages."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from training_engine.messages import (
    enum_words,
    message_to_plain,
    plain_to_message,
    present_fields,
)
from training_engine.v1 import checkpoint_pb2, config_pb2, job_pb2, metrics_pb2


def test_every_field_is_there_and_what_is_absent_is_none() -> None:
    plain = message_to_plain(
        job_pb2.Job(job_id="j", config=config_pb2.TrainingConfig(seed=1 << 60))
    )
    assert set(plain) == set(job_pb2.Job.DESCRIPTOR.fields_by_name)
    assert plain["config"]["seed"] == 1 << 60
    assert plain["config"]["batch_size"] is None
    assert (plain["status"], plain["error"], plain["created_at"]) == (None, None, None)
    assert (plain["current_step"], plain["warnings"], plain["progress"]) == (0, [], 0.0)


def test_enums_are_words_and_times_are_text() -> None:
    job = job_pb2.Job(
        status=job_pb2.JOB_STATUS_STOPPED,
        error_reason="STALLED",
        created_at=Timestamp(seconds=1, nanos=250_000_000),
        warnings=[config_pb2.FieldProblem(field="lr", message="too high")],
    )
    plain = message_to_plain(job)
    assert (plain["status"], plain["error_reason"]) == ("stopped", "stalled")
    assert plain["created_at"] == "1970-01-01T00:00:01.250Z"
    assert plain["warnings"] == [{"field": "lr", "message": "too high"}]
    newer = job_pb2.Job.FromString(b"\x18\x63")  # status 99
    assert message_to_plain(newer)["status"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_none(value: float) -> None:
    assert message_to_plain(checkpoint_pb2.Checkpoint(loss=value))["loss"] is None


def test_of_a_oneof_only_what_is_set_is_there() -> None:
    event = job_pb2.WatchJobResponse(cursor="c", metrics=metrics_pb2.MetricPoint(step=3))
    plain = message_to_plain(event)
    assert set(plain) == {"cursor", "metrics"}
    assert plain["metrics"]["step"] == 3


def test_maps_are_dicts() -> None:
    struct = Struct()
    struct.update({"a": 1.5})
    assert message_to_plain(struct) == {"fields": {"a": {"number_value": 1.5}}}


def test_present_fields_leave_out_what_is_absent_and_keep_values_as_they_are() -> None:
    config = config_pb2.TrainingConfig(learning_rate=math.inf, batch_size=0)
    config.model_config.num_heads = 4
    assert present_fields(config) == {
        "learning_rate": math.inf,
        "batch_size": 0,
        "model_config": {"num_heads": 4},
    }


def test_plain_values_become_a_message() -> None:
    request = plain_to_message(
        job_pb2.StartJobRequest,
        {"name": None, "dataset_path": "d", "execution": {"priority": "high", "nodes": None}},
    )
    assert request == job_pb2.StartJobRequest(
        dataset_path="d", execution=job_pb2.Execution(priority=job_pb2.JOB_PRIORITY_HIGH)
    )


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        ({"nam": "x"}, "nam"),
        ({"name": 3}, "^name is 3; it must be text in UTF-8$"),
        ({"name": "\udce9"}, "^name is '.udce9'; it must be text in UTF-8$"),
        ({"tags": [1]}, "^tags is .1.; it must be a list, each text in UTF-8$"),
        ({"execution": 5}, "^execution is 5; it must be a mapping of names to values$"),
        ({"execution": {"priority": "urgent"}}, "'urgent'; it must be one of high, default, low"),
        (
            {"execution": {"nodes": 1 << 40}},
            "^execution.nodes is 1099511627776; it must be a whole number from -2147483648 to 21",
        ),
    ],
)
def test_what_does_not_fit_is_refused(plain: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        plain_to_message(job_pb2.StartJobRequest, plain)


def test_words_of_an_enum() -> None:
    words = enum_words(job_pb2.JobPriority.DESCRIPTOR)
    assert list(words.values()) == ["high", "default", "low"]
