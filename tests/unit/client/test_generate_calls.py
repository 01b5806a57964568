"""The calls of the SDK are what the services and their REST routes say."""

from __future__ import annotations

import inspect

import pytest

from training_engine import InvalidArgumentError, JobRecord, Throughput, _calls
from training_engine._call import ListCall, RecordCall
from training_engine._config_source import config_source


def test_a_field_of_the_path_is_escaped_and_never_empty() -> None:
    assert _calls.get_job("a/b?c").path == "/api/training/jobs/a%2Fb%3Fc"
    with pytest.raises(InvalidArgumentError, match="checkpoint_id is ''; it must be a non-empty"):
        _calls.delete_checkpoint("")


def test_the_other_fields_are_the_query_where_the_route_has_no_body() -> None:
    call = _calls.list_jobs(status="failed", page_token="", page_size=5)
    assert (call.verb, call.path) == ("GET", "/api/training/jobs")
    assert (call.query, call.body) == ({"status": "failed", "page_size": 5}, None)
    assert isinstance(call, ListCall)
    assert (call.rows, call.record, call.request_id) == ("jobs", JobRecord, "")
    assert call.of_page("next").query == {**call.query, "page_token": "next"}


def test_the_other_fields_are_the_body_where_the_route_has_one() -> None:
    call = _calls.resume_job("job_1", max_steps=9)
    assert (call.query, call.body) == ({}, {"max_steps": 9})
    assert call.message == {"job_id": "job_1", "max_steps": 9, "request_id": call.request_id}
    assert _calls.resume_job("job_1").body == {}
    assert _calls.resume_job("job_1").request_id != call.request_id


def test_a_configuration_is_text_for_grpc_and_a_mapping_for_rest() -> None:
    source = config_source("max_steps: 3\n")
    call = _calls.create_config(name="tiny", config=source)
    assert call.message == {
        "name": "tiny",
        "config_document": "max_steps: 3\n",
        "request_id": call.request_id,
    }
    assert "mapping" not in vars(source), "gRPC sends the text without parsing it"
    assert call.body == {"name": "tiny", "config": {"max_steps": 3}}


def test_an_answer_is_read_as_the_record_of_its_message() -> None:
    call = _calls.get_throughput("job_1")
    assert isinstance(call, RecordCall)
    assert (call.record, call.answer) == (Throughput, "")
    assert _calls.get_metrics("job_1").answer == "metrics"


def test_a_stream_of_points_has_the_route_of_all_events() -> None:
    assert _calls.stream_metrics("job_1").path == _calls.watch_job("job_1").path
    assert _calls.stream_metrics("job_1").rpc == "MetricsService/StreamMetrics"


def test_a_call_says_what_the_proto_says() -> None:
    text = inspect.getdoc(_calls.stop_job) or ""
    assert text.startswith("Asks a job to save a checkpoint at the next step boundary and stop.")
