"""DatasetService over a real channel: uploads that are kept, repeated, refused and in use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from failure import failure_of
from started import stored_files, tiny_request, until_quiet

from artifact_store import ArtifactStoreFullError
from control_plane.server import ControlPlane
from job_store.errors import StoreUnavailableError
from training_engine.v1 import (
    dataset_pb2,
    job_pb2,
)

TEXT = b"to be or not to be\n" * 100_000


@pytest.fixture(autouse=True)
async def quiet(plane: ControlPlane) -> None:
    """Before each test: no file that the control plane writes at its start is counted."""
    await until_quiet(plane)


def upload(name: str, data: bytes, **header: str) -> Iterator[dataset_pb2.UploadDatasetRequest]:
    yield dataset_pb2.UploadDatasetRequest(header=dataset_pb2.DatasetHeader(name=name, **header))
    for start in range(0, len(data), 1 << 19):
        yield dataset_pb2.UploadDatasetRequest(data=data[start : start + (1 << 19)])


async def test_an_uploaded_dataset_trains_and_is_held_while_it_does(
    stubs: Any, plane: ControlPlane
) -> None:
    digest = hashlib.sha256(TEXT).hexdigest()
    response = await stubs.datasets.UploadDataset(upload("my text.txt", TEXT, sha256=digest))
    dataset = response.dataset
    assert (dataset.name, dataset.size_bytes, dataset.sha256) == ("my text.txt", len(TEXT), digest)
    path = f"dataset://{dataset.dataset_id}"
    job = (await stubs.jobs.StartJob(tiny_request(dataset_path=path))).job
    assert job.dataset_path == path
    delete = dataset_pb2.DeleteDatasetRequest(dataset_id=dataset.dataset_id, request_id="rm")
    failure = await failure_of(stubs.datasets.DeleteDataset(delete))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
    assert f"is read by job {job.job_id}, which has not ended" in failure.message
    await stubs.jobs.StopJob(job_pb2.StopJobRequest(job_id=job.job_id))
    for _ in range(2):  # the repeated request gets the first answer
        await stubs.datasets.DeleteDataset(delete)
    get = dataset_pb2.GetDatasetRequest(dataset_id=dataset.dataset_id)
    assert (await failure_of(stubs.datasets.GetDataset(get))).reason == "DATASET_NOT_FOUND"
    assert stored_files(plane) == []


async def test_an_upload_is_stored_once_for_a_request_id(stubs: Any, plane: ControlPlane) -> None:
    ids = set()
    for _ in range(2):
        response = await stubs.datasets.UploadDataset(upload("a.txt", b"abc", request_id="u1"))
        ids.add(response.dataset.dataset_id)
    assert len(ids) == 1
    assert len(stored_files(plane)) == 1
    failure = await failure_of(
        stubs.datasets.UploadDataset(upload("a.txt", b"other", request_id="u1"))
    )
    assert failure.reason == "REQUEST_ID_REUSED"
    assert len(stored_files(plane)) == 1


async def test_an_upload_whose_answer_was_lost_keeps_its_file(
    stubs: Any, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = plane.state.datasets.create

    async def cut_off(*arguments: Any, **named: Any) -> None:
        await create(*arguments, **named)
        raise StoreUnavailableError("the connection broke before the answer")

    monkeypatch.setattr(plane.state.datasets, "create", cut_off)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stubs.datasets.UploadDataset(upload("a.txt", b"abc", request_id="u1"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    monkeypatch.undo()
    again = await stubs.datasets.UploadDataset(upload("a.txt", b"abc", request_id="u1"))
    key = f"datasets/{again.dataset.dataset_id}/a.txt"
    assert plane.state.artifacts.keys("datasets") == [key]


async def test_a_repeated_upload_is_recalled_before_its_bytes_are_stored(
    stubs: Any, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    first = await stubs.datasets.UploadDataset(upload("a.txt", b"abc", request_id="u1"))

    def full(key: str, **_: Any) -> None:
        raise ArtifactStoreFullError(key)

    monkeypatch.setattr(plane.state.artifacts, "writer", full)
    new = stubs.datasets.UploadDataset(upload("b.txt", b"abc", request_id="u2"))
    assert (await failure_of(new)).reason == "ARTIFACT_STORE_FULL"
    again = await stubs.datasets.UploadDataset(upload("a.txt", b"abc", request_id="u1"))
    assert again == first
    announced = {"request_id": "u1", "sha256": digest}
    assert await stubs.datasets.UploadDataset(upload("a.txt", b"abc", **announced)) == first
    # Without a byte: what the first answer depends on is in the header.
    assert await stubs.datasets.UploadDataset(upload("a.txt", b"", **announced)) == first
    for name, data, header in (
        ("a.txt", b"other", {}),
        ("b.txt", b"abc", {}),
        ("a.txt", b"abc", {"sha256": "00" * 32}),
    ):
        calls = stubs.datasets.UploadDataset(upload(name, data, request_id="u1", **header))
        assert (await failure_of(calls)).reason == "REQUEST_ID_REUSED"
    plane.state.settings.max_dataset_bytes = 2
    failure = await failure_of(
        stubs.datasets.UploadDataset(upload("a.txt", b"abc", request_id="u1"))
    )
    assert failure.reason == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize(
    ("name", "data", "header", "reason", "text"),
    [
        ("a.txt", b"", {}, "INVALID_ARGUMENT", "the upload holds no data"),
        ("a.txt", b"x", {"sha256": "00"}, "CHECKSUM_MISMATCH", "not the announced '00'"),
        ("../a.txt", b"x", {}, "INVALID_ARGUMENT", "a file name without a folder"),
        ("a.zip", b"x", {}, "INVALID_ARGUMENT", "unpack or convert it first"),
        ("", b"x", {}, "INVALID_ARGUMENT", "must not be empty"),
    ],
)
async def test_what_an_upload_refuses(
    stubs: Any,
    plane: ControlPlane,
    name: str,
    data: bytes,
    header: dict[str, str],
    reason: str,
    text: str,
) -> None:
    failure = await failure_of(stubs.datasets.UploadDataset(upload(name, data, **header)))
    assert failure.reason == reason
    assert text in failure.message
    assert stored_files(plane) == []


async def test_an_upload_past_the_limit(stubs: Any, plane: ControlPlane) -> None:
    plane.state.settings.max_dataset_bytes = 1000
    failure = await failure_of(stubs.datasets.UploadDataset(upload("a.txt", b"x" * 2000)))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.reason == "PAYLOAD_TOO_LARGE"
    assert "larger than the limit of 1000 bytes" in failure.message
    assert stored_files(plane) == []
