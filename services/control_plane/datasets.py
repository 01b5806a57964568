"""DatasetService: stores uploaded data, which jobs then name as dataset://ID."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Protocol

from artifact_store import (
    ArtifactInfo,
    ArtifactStoreAwayError,
    ArtifactTooLargeError,
    dataset_key,
)
from control_plane.conversion import dataset_message
from control_plane.errors import in_use, invalid_argument, shutting_down
from control_plane.inspection import Inspector
from control_plane.paging import LARGEST_PAGE, page_size
from control_plane.paths import DATASET_SCHEME
from control_plane.requests import check_name, check_request_id, idempotency
from control_plane.state import Context, Servicer, ServiceState
from job_store.errors import RequestIdReusedError, StoreUnavailableError
from job_store.ids import new_id
from job_store.records import DatasetRecord, JobFilter, JobStatus, Request
from service_runtime.logs import get_logger
from training_engine.v1 import dataset_pb2, dataset_pb2_grpc

_log = get_logger("control_plane")
_MAX_CHUNK = 1 << 20
_ARCHIVES = (".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz")
_WEIGHTS = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".safetensors", ".h5", ".npz", ".arrow")
_NOT_DATA = (*_ARCHIVES, *_WEIGHTS, ".pdf", ".doc", ".docx", ".exe", ".so")
"""Endings of files that cannot be text or tokens; a job checks the content when it reads it."""


class DatasetServicer(Servicer, dataset_pb2_grpc.DatasetServiceServicer):
    """See `dataset.proto` for what each method promises."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._inspector = Inspector(state)

    async def InspectDataset(
        self, request: dataset_pb2.InspectDatasetRequest, context: Context
    ) -> dataset_pb2.InspectDatasetResponse:
        return await self._inspector.inspect(request)

    async def UploadDataset(
        self, request_iterator: AsyncIterator[dataset_pb2.UploadDatasetRequest], context: Context
    ) -> dataset_pb2.UploadDatasetResponse:
        header = await _header(request_iterator)
        record = None
        if await self._state.datasets.was_sent(header.request_id):
            record = await self._first_answer(header, request_iterator)
        if record is None:
            record = await self._create(header, request_iterator)
        return dataset_pb2.UploadDatasetResponse(dataset=dataset_message(record))

    async def _first_answer(
        self,
        header: dataset_pb2.DatasetHeader,
        messages: AsyncIterator[dataset_pb2.UploadDatasetRequest],
    ) -> DatasetRecord | None:
        """Return the dataset that the same upload made before; None if that was forgotten just now.

        It stores nothing, and reads no bytes where the header announces their digest.
        """
        sha256 = header.sha256.lower()
        if not sha256:
            digest = _Digest(header.name, self._state.settings.max_dataset_bytes)
            await self._copy(digest, messages)
            sha256 = digest.hexdigest()
        return await self._state.datasets.answered(_memo(header, sha256))

    async def _create(
        self,
        header: dataset_pb2.DatasetHeader,
        messages: AsyncIterator[dataset_pb2.UploadDatasetRequest],
    ) -> DatasetRecord:
        dataset_id = new_id("dataset")
        key = dataset_key(dataset_id, header.name)
        await self._state.datasets.expect(dataset_id)
        info = await self._receive(key, header, messages)
        record = await self._store(dataset_id, header, info)
        if record.dataset_id != dataset_id:  # the same upload came twice at once: the first is kept
            await asyncio.to_thread(self._state.artifacts.delete, key)
        with contextlib.suppress(
            StoreUnavailableError
        ):  # the sweeper looks again, and finds all well
            await self._state.datasets.settle(dataset_id)
        return record

    async def _receive(
        self,
        key: str,
        header: dataset_pb2.DatasetHeader,
        messages: AsyncIterator[dataset_pb2.UploadDatasetRequest],
    ) -> ArtifactInfo:
        limit = self._state.settings.max_dataset_bytes
        artifacts = await self._state.open_artifacts()
        upload = await asyncio.to_thread(artifacts.writer, key, limit=limit)
        try:
            await self._copy(upload, messages)
            if upload.size_bytes == 0:
                message = "the upload holds no data; send at least one message with `data`"
                raise invalid_argument("data", message)
            info = await asyncio.to_thread(upload.commit)
        finally:
            await asyncio.to_thread(upload.abort)  # does nothing after a commit
        if header.sha256 and info.sha256 != header.sha256.lower():
            await asyncio.to_thread(self._state.artifacts.delete, key)
            message = (
                f"the bytes received have sha256 {info.sha256}, not the announced "
                f"{header.sha256[:80]!r}; they were damaged on the way: send them again"
            )
            raise invalid_argument("header.sha256", message, "CHECKSUM_MISMATCH")
        return info

    async def _copy(
        self, upload: _Sink, messages: AsyncIterator[dataset_pb2.UploadDatasetRequest]
    ) -> None:
        async for message in messages:
            if message.WhichOneof("part") != "data":
                text = "a second header came; only the first message carries one"
                raise invalid_argument("header", text)
            if len(message.data) > _MAX_CHUNK:
                text = f"`data` has {len(message.data)} bytes; it must have at most {_MAX_CHUNK}"
                raise invalid_argument("data", f"{text}; send smaller pieces")
            if self._state.shutting_down:
                raise shutting_down()
            await asyncio.to_thread(upload.write, message.data)

    async def _store(
        self, dataset_id: str, header: dataset_pb2.DatasetHeader, info: ArtifactInfo
    ) -> DatasetRecord:
        try:
            return await self._state.datasets.create(
                header.name,
                info.size_bytes,
                info.sha256,
                info.key,
                dataset_id=dataset_id,
                request=_memo(header, info.sha256),
            )
        except RequestIdReusedError:
            await asyncio.to_thread(self._state.artifacts.delete, info.key)
            raise
        # Where the store did not answer, the record may be there all the same, and needs its file.

    async def GetDataset(
        self, request: dataset_pb2.GetDatasetRequest, context: Context
    ) -> dataset_pb2.GetDatasetResponse:
        record = await self._state.datasets.get(request.dataset_id)
        return dataset_pb2.GetDatasetResponse(dataset=dataset_message(record))

    async def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: Context
    ) -> dataset_pb2.ListDatasetsResponse:
        page = await self._state.datasets.list(page_size(request.page_size), request.page_token)
        return dataset_pb2.ListDatasetsResponse(
            datasets=[dataset_message(record) for record in page.items],
            next_page_token=page.next_page_token,
        )

    async def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: Context
    ) -> dataset_pb2.DeleteDatasetResponse:
        state = self._state
        idempotency_key = idempotency(request, "DeleteDataset")
        if await state.datasets.was_deleted(request.dataset_id, idempotency_key):
            return dataset_pb2.DeleteDatasetResponse()
        record = await state.datasets.get(request.dataset_id)
        if user := await self._job_using(request.dataset_id):
            raise in_use(
                f"dataset {request.dataset_id} is read by job {user}, which has not ended; "
                "stop that job first, or wait for its end"
            )
        await state.datasets.expect(request.dataset_id)
        await state.datasets.delete(request.dataset_id, idempotency_key)
        try:
            await asyncio.to_thread((await state.open_artifacts()).delete, record.artifact)
        except ArtifactStoreAwayError as error:
            _log.warning("files are left to the sweeper", artifact=record.artifact, why=str(error))
        else:
            await state.datasets.settle(request.dataset_id)
        return dataset_pb2.DeleteDatasetResponse()

    async def _job_using(self, dataset_id: str) -> str | None:
        """Return a job that has not ended and names the dataset."""
        name = DATASET_SCHEME + dataset_id
        for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.STOPPING):
            token = ""
            while True:
                page = await self._state.jobs.list(JobFilter(status), LARGEST_PAGE, token)
                for job in page.items:
                    named = (job.dataset_path, job.val_dataset_path)
                    if name in named or f'"{name}"' in job.config_document:
                        return job.job_id
                token = page.next_page_token
                if not token:
                    break
        return None


class _Sink(Protocol):
    """Takes the bytes of an upload, piece by piece."""

    def write(self, chunk: bytes) -> None:
        """Take the next piece."""


class _Digest:
    """Takes an upload's bytes for their sha256 alone, with the limit that storing them has."""

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._size = 0
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Write a chunk of the upload.

        Raises:
            ArtifactTooLargeError: The upload is larger than the limit.
        """
        self._size += len(chunk)
        if self._size > self._limit:
            raise ArtifactTooLargeError(self._name, self._limit)
        self._digest.update(chunk)

    def hexdigest(self) -> str:
        """Return the digest of all pieces so far, in lower case."""
        return self._digest.hexdigest()


def _memo(header: dataset_pb2.DatasetHeader, sha256: str) -> Request | None:
    """Return the upload's idempotency key: the same name and bytes are the same upload."""
    return Request.of(header.request_id, "UploadDataset", f"{header.name}\0{sha256}".encode())


async def _header(
    messages: AsyncIterator[dataset_pb2.UploadDatasetRequest],
) -> dataset_pb2.DatasetHeader:
    """Return the first message's header, checked.

    Raises:
        RpcError: The request is refused; the error says why.
    """
    first = await anext(aiter(messages), None)
    if first is None or first.WhichOneof("part") != "header":
        raise invalid_argument("header", "the upload begins without a header; send it first")
    header = first.header
    if header.request_id:
        check_request_id(header.request_id)
    header.name = check_name(header.name, "header.name", required=True)
    if "/" in header.name or "\\" in header.name:
        message = f"`header.name` is {header.name!r}; it must be a file name without a folder"
        raise invalid_argument("header.name", f"{message}; give its last part")
    if PurePath(header.name).suffix.lower() in _NOT_DATA:
        message = (
            f"`header.name` is {header.name!r}; it must end in .txt, .md, .jsonl, .parquet, .bin "
            "or .npy, or be source text; unpack or convert it first"
        )
        raise invalid_argument("header.name", message)
    return header
