"""Has a worker measure a checkpoint's loss on data, and passes its reports through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from control_plane.errors import call_error, invalid_argument, shutting_down
from control_plane.planning import checked_path
from control_plane.state import ServiceState
from job_store.evaluation import EvaluationReply, EvaluationRequest
from training_engine.v1 import checkpoint_pb2


async def evaluate(
    request: checkpoint_pb2.EvaluateCheckpointRequest, state: ServiceState
) -> AsyncIterator[checkpoint_pb2.EvaluateCheckpointResponse]:
    """Yield how far the measuring is, and its result.

    Raises:
        NotFoundError: There is no such checkpoint or dataset.
        RpcError: The request breaks a rule, or takes too long.
        InferenceFailedError, InferenceTimeoutError: No worker could do it.
    """
    asked = await _request_of(request, state)
    ends_at = asyncio.get_running_loop().time() + state.settings.evaluate_timeout_seconds
    replies = state.evaluation.evaluate(asked, state.settings.generate_timeout_seconds)
    # Closed as soon as the client leaves, so that the worker stops.
    async with aclosing(replies):  # type: ignore[type-var]
        while (reply := await _next(replies, ends_at, state)) is not None:
            yield _response_of(reply)
            if state.shutting_down and reply.result is None:
                raise shutting_down()


async def _next(
    replies: AsyncIterator[EvaluationReply], ends_at: float, state: ServiceState
) -> EvaluationReply | None:
    try:
        async with asyncio.timeout_at(ends_at):
            return await anext(replies, None)
    except TimeoutError:
        seconds = state.settings.evaluate_timeout_seconds
        raise call_error(
            "WORKER_UNAVAILABLE",
            f"the evaluation took more than {seconds:g} s; measure less data, take a longer "
            "stride, or raise --evaluate-timeout-seconds",
        ) from None


async def _request_of(
    request: checkpoint_pb2.EvaluateCheckpointRequest, state: ServiceState
) -> EvaluationRequest:
    if request.HasField("stride") and request.stride < 1:
        rule = "it must be at least 1 and at most the model's context; leave it out for the context"
        raise invalid_argument("stride", f"`stride` is {request.stride}; {rule}")
    if not request.dataset_path.strip():
        rule = "name the data: a path under an allowed root or dataset://ID"
        raise invalid_argument("dataset_path", f"`dataset_path` is missing; {rule}")
    checkpoint = await state.jobs.get_checkpoint(request.checkpoint_id)
    return EvaluationRequest.of(
        checkpoint,
        await checked_path("dataset_path", request.dataset_path, state),
        data_roots=[*map(str, state.roots.roots)],
        stride=request.stride if request.HasField("stride") else None,
        averaged=request.averaged,
        separate_documents=request.separate_documents,
    )


def _response_of(reply: EvaluationReply) -> checkpoint_pb2.EvaluateCheckpointResponse:
    result = None if reply.result is None else checkpoint_pb2.Evaluation(**reply.result)
    return checkpoint_pb2.EvaluateCheckpointResponse(
        tokens_done=reply.tokens_done, tokens_total=reply.tokens_total, evaluation=result
    )
