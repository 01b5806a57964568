"""Tags and notes over a real channel: which are taken, and what refuses the others."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from failure import failure_of
from started import start, tiny_request

from training_engine.v1 import job_pb2


async def test_they_are_kept_and_found(stubs: Any) -> None:
    request = tiny_request(name="Größe", tags=["a:1", "b", "a:1"], notes=" one\r\n\ttwo \n\n")
    job = (await stubs.jobs.StartJob(request)).job
    assert ([*job.tags], job.notes) == (["a:1", "b"], " one\n\ttwo")
    await start(stubs)
    wanted = job_pb2.ListJobsRequest(tags=["b", "a:1"], search="TWO grösse")
    page = await stubs.jobs.ListJobs(wanted)
    assert [(row.job_id, [*row.tags], row.notes) for row in page.jobs] == [
        (job.job_id, ["a:1", "b"], " one\n\ttwo")
    ]


async def test_only_what_is_in_the_request_changes(stubs: Any) -> None:
    async def changed(**change: Any) -> tuple[list[str], str]:
        request = job_pb2.UpdateJobRequest(job_id=job_id, request_id="r", **change)
        request.ClearField("request_id")
        job = (await stubs.jobs.UpdateJob(request)).job
        assert job == (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=job_id))).job
        return [*job.tags], job.notes

    job_id = await start(stubs)
    assert await changed(add_tags=["x"], notes="why") == (["x"], "why")
    assert await changed(add_tags=["y"]) == (["x", "y"], "why")
    assert await changed(notes="") == (["x", "y"], "")
    assert await changed(remove_tags=["x"]) == (["y"], "")


async def test_each_fault_is_named(stubs: Any) -> None:
    bad = ["-x", "a b", "ü", "", "x" * 65, "a/b", *(f"t{n}" for n in range(20))]
    refused = await failure_of(stubs.jobs.StartJob(tiny_request(tags=bad)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert "the tag '-x' cannot be used; it must be 1 to 64 letters, digits" in refused.message
    assert refused.fields == {"tags": "there are 26 tags; 20 are allowed at most; leave some out"}
    refused = await failure_of(stubs.jobs.ListJobs(job_pb2.ListJobsRequest(tags=["a b"])))
    assert refused.fields["tags"].startswith("the tag 'a b' cannot be used")
    refused = await failure_of(stubs.jobs.ListJobs(job_pb2.ListJobsRequest(search="x" * 201)))
    assert "`search` is 'xxx" in refused.message


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"notes": "ü" * 2049}, "notes", "has 4098 bytes; 4096 bytes of UTF-8 are allowed"),
        ({"notes": "a\x1b[2J"}, "notes", r"has the character '\x1b'"),
        ({"add_tags": ["x"], "remove_tags": ["x"]}, "add_tags", "`x` is in `add_tags` and in"),
        (
            {"add_tags": [f"t{n}" for n in range(20)]},
            "add_tags",
            "would have 21 tags; it may",
        ),
        ({"remove_tags": ["a b"]}, "remove_tags", "the tag 'a b' cannot be used"),
    ],
)
async def test_a_refused_change_changes_nothing(
    stubs: Any, change: dict[str, Any], field: str, said: str
) -> None:
    before = (await stubs.jobs.StartJob(tiny_request(tags=["x0"], notes="n"))).job
    refused = await failure_of(
        stubs.jobs.UpdateJob(job_pb2.UpdateJobRequest(job_id=before.job_id, **change))
    )
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in refused.fields[field]
    after = (await stubs.jobs.GetJob(job_pb2.GetJobRequest(job_id=before.job_id))).job
    assert ([*after.tags], after.notes) == (["x0"], "n")
