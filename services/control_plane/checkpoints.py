"""CheckpointService: lists, downloads, measures and deletes what jobs saved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from artifact_store import ArtifactStoreAwayError
from control_plane.conversion import checkpoint_message
from control_plane.downloads import VerifiedDownloads
from control_plane.errors import in_use, invalid_argument, shutting_down
from control_plane.evaluation import evaluate
from control_plane.leftovers import remove_checkpoint
from control_plane.paging import page_size
from control_plane.requests import idempotency
from control_plane.state import Context, Servicer, ServiceState
from job_store.errors import TransitionRefusedError
from service_runtime.logs import get_logger
from training_engine.v1 import checkpoint_pb2, checkpoint_pb2_grpc

_log = get_logger("control_plane")


class CheckpointServicer(Servicer, checkpoint_pb2_grpc.CheckpointServiceServicer):
    """See `checkpoint.proto` for what each method promises."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._downloads = VerifiedDownloads()

    async def ListCheckpoints(
        self, request: checkpoint_pb2.ListCheckpointsRequest, context: Context
    ) -> checkpoint_pb2.ListCheckpointsResponse:
        page = await self._state.jobs.list_checkpoints(
            request.job_id, page_size(request.page_size), request.page_token
        )
        return checkpoint_pb2.ListCheckpointsResponse(
            checkpoints=[checkpoint_message(record) for record in page.checkpoints],
            next_page_token=page.next_page_token,
        )

    async def GetCheckpoint(
        self, request: checkpoint_pb2.GetCheckpointRequest, context: Context
    ) -> checkpoint_pb2.GetCheckpointResponse:
        record = await self._state.jobs.get_checkpoint(request.checkpoint_id)
        return checkpoint_pb2.GetCheckpointResponse(checkpoint=checkpoint_message(record))

    async def DownloadCheckpoint(
        self, request: checkpoint_pb2.DownloadCheckpointRequest, context: Context
    ) -> AsyncIterator[checkpoint_pb2.DownloadCheckpointResponse]:
        for field, value in (("offset", request.offset), ("length", request.length)):
            if value < 0:
                message = f"`{field}` is {value}; it must be 0 or more; leave it out for the whole"
                raise invalid_argument(field, message)
        record = await self._state.jobs.get_checkpoint(request.checkpoint_id)
        artifacts = await self._state.open_artifacts()
        seconds = self._state.settings.presigned_seconds if request.accepts_url else 0
        if seconds and (
            url := await self._downloads.presign(artifacts, record, request.offset, seconds)
        ):
            yield checkpoint_pb2.DownloadCheckpointResponse(
                checkpoint=checkpoint_message(record), offset=request.offset, url=url
            )
            return
        chunks = await self._downloads.open(artifacts, record, request.offset, request.length)
        position = request.offset
        # The first message says what the file is, even where no byte of it was asked for.
        data = await asyncio.to_thread(next, chunks, b"")
        yield checkpoint_pb2.DownloadCheckpointResponse(
            checkpoint=checkpoint_message(record), offset=position, data=data
        )
        while data:
            position += len(data)
            data = await asyncio.to_thread(next, chunks, b"")
            if data:
                yield checkpoint_pb2.DownloadCheckpointResponse(offset=position, data=data)
            if self._state.shutting_down:
                raise shutting_down()

    async def EvaluateCheckpoint(
        self, request: checkpoint_pb2.EvaluateCheckpointRequest, context: Context
    ) -> AsyncIterator[checkpoint_pb2.EvaluateCheckpointResponse]:
        responses = evaluate(request, self._state)
        async with aclosing(responses):  # type: ignore[type-var]
            async for response in responses:
                yield response

    async def DeleteCheckpoint(
        self, request: checkpoint_pb2.DeleteCheckpointRequest, context: Context
    ) -> checkpoint_pb2.DeleteCheckpointResponse:
        state = self._state
        idempotency_key = idempotency(request, "DeleteCheckpoint")
        if await state.jobs.checkpoint_was_deleted(idempotency_key):
            return checkpoint_pb2.DeleteCheckpointResponse()
        record = await state.jobs.get_checkpoint(request.checkpoint_id)
        try:
            await state.jobs.delete_checkpoint(request.checkpoint_id, idempotency_key)
        except TransitionRefusedError as error:
            raise in_use(str(error)) from None
        try:
            await remove_checkpoint(state, record)
        except ArtifactStoreAwayError as error:
            _log.warning("files are left to the sweeper", artifact=record.artifact, why=str(error))
        return checkpoint_pb2.DeleteCheckpointResponse()
