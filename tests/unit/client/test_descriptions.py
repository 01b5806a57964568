"""Each element of the contract has a description that programs can read."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import training_engine.v1
from training_engine.descriptions import description


def elements() -> Iterator[Any]:
    for module in pkgutil.iter_modules(training_engine.v1.__path__, "training_engine.v1."):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(module.name).DESCRIPTOR
            for message in file.message_types_by_name.values():
                yield from (message, *message.fields)
            for enum in file.enum_types_by_name.values():
                yield from (enum, *enum.values)
            for service in file.services_by_name.values():
                yield from (service, *service.methods)


def test_each_element_of_the_contract_is_described() -> None:
    texts = [description(element) for element in elements()]
    assert len(texts) > 300
    assert [text for text in texts if not text.endswith(".") or "\n" in text] == []


def test_a_description_is_the_comment_in_the_proto() -> None:
    job = training_engine.v1.job_pb2
    assert description(job.Job.DESCRIPTOR) == "A job."
    assert description(job.Job.DESCRIPTOR.fields_by_name["job_id"]) == "Its id."
    assert description(job.JobStatus.DESCRIPTOR.values_by_name["JOB_STATUS_QUEUED"]) == (
        "Waits for a worker."
    )
    service = job.DESCRIPTOR.services_by_name["JobService"]
    assert description(service) == "Starts, follows, stops and resumes jobs."
    assert description(service.methods_by_name["DeleteJob"]).startswith("Deletes a job")


def test_what_is_not_of_the_contract_has_no_description() -> None:
    with pytest.raises(KeyError, match=r"google\.protobuf\.Timestamp"):
        description(Timestamp.DESCRIPTOR)
