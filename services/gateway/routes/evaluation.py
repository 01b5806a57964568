"""The loss of a checkpoint's model on data."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from gateway.contract import route
from gateway.problems import ProblemError
from gateway.routes.answering import answered
from gateway.routes.declare import CallerOf, event_stream, problems, router, rpc
from gateway.schemas.evaluation import EvaluateBody, MeasuredCheckpoint
from training_engine.messages import message_to_plain
from training_engine.v1 import checkpoint_pb2

routes = router("checkpoints")

_ROUTE = route("CheckpointService.EvaluateCheckpoint")
_EXAMPLE = 'event: progress\ndata: {"tokens_done":512,"tokens_total":9000,"evaluation":null}\n\n'


@routes.post(
    _ROUTE.path,
    response_class=Response,
    responses={
        200: {
            "description": "Events `progress`, the last with the evaluation; an event `error` "
            "holds a problem that came too late for a status. One JSON with `stream: false`.",
            "model": MeasuredCheckpoint,
            "content": event_stream(_EXAMPLE, progress="EvaluationProgress", error="Problem"),
        },
        **problems(404, 409, 413),
    },
    openapi_extra=rpc(_ROUTE.rpc),
)
async def evaluate_checkpoint(
    checkpoint_id: str, body: EvaluateBody, request: Request, caller: CallerOf
) -> Response:
    """Measure how well a checkpoint's model predicts data, also while its job trains."""
    call = caller.control_plane.checkpoints.EvaluateCheckpoint(
        checkpoint_pb2.EvaluateCheckpointRequest(
            checkpoint_id=checkpoint_id, **body.model_dump(exclude={"stream"}, exclude_none=True)
        ),
        metadata=caller.metadata,
    )
    whole = None if body.stream else _result(checkpoint_id, call)
    return await answered(request, call, "progress", whole)


async def _result(checkpoint_id: str, call: Any) -> dict[str, Any]:
    async for message in call:
        if message.HasField("evaluation"):
            return {"checkpoint_id": checkpoint_id, **message_to_plain(message.evaluation)}
    raise ProblemError("the evaluation broke off before its end; ask again", reason="SHUTTING_DOWN")
