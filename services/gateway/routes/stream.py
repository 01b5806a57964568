"""A job's events as they happen, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request, Response

from gateway.contract import route
from gateway.following import JobFollower, ended_states
from gateway.problems import ProblemError
from gateway.routes.declare import NO_CONTENT, CallerOf, event_stream, problems, router, rpc
from gateway.schemas.shapes import query as query_of
from gateway.streaming import EVENT_STREAM_HEADERS, RelayResponse
from training_engine.v1 import job_pb2

routes = router("jobs")

_ROUTE = route("JobService.WatchJob")

# The control plane refuses a bad cursor of a live job within milliseconds. A longer wait would only
# delay the headers of a watch that has nothing to replay.
_REFUSAL_WAIT_SECONDS = 0.25
_REPLAY_WAIT_SECONDS = 5.0

_EXAMPLE = (
    "id: 1-42\nevent: metrics\n"
    'data: {"step":42,"loss":2.31,"lr":0.0006,"attempt":1,"created_at":"2030-01-01T12:00:00Z"}\n\n'
)


class StreamQuery(query_of(job_pb2.WatchJobRequest.DESCRIPTOR, ("job_id",))):  # type: ignore[misc]
    """Where to begin."""


@routes.get(
    _ROUTE.path,
    response_class=Response,
    responses={
        200: {
            "description": "Events `state` (a job without its config), `metrics` (a point), "
            "`checkpoint`, `log` (a line), `alert` and `rewound` (forget what follows `to_step`). "
            "Closes after the job's last state.",
            "content": event_stream(
                _EXAMPLE,
                state="JobSummary",
                metrics="MetricPoint",
                checkpoint="Checkpoint",
                log="LogLine",
                rewound="Rewind",
                alert="Alert",
            ),
        },
        204: {"description": "The job has ended and Last-Event-ID was its last event."},
        **problems(404),
    },
    openapi_extra=rpc(_ROUTE.rpc, "MetricsService.StreamMetrics"),
)
async def stream_job(
    job_id: str,
    request: Request,
    query: Annotated[StreamQuery, Query()],
    caller: CallerOf,
    last_event_id: Annotated[
        str, Header(description="Continue after this event; its `id` is a cursor.")
    ] = "",
) -> Response:
    """Send what happened to the job since its start or Last-Event-ID, then what happens."""
    state = request.app.state
    if state.closing.is_set():
        raise ProblemError("the gateway is shutting down; reconnect", reason="SHUTTING_DOWN")
    if state.streams.count >= state.settings.max_streams:
        raise ProblemError("too many event streams are open; try later", reason="RATE_LIMITED")
    response = await caller.call(
        caller.control_plane.jobs.GetJob, job_pb2.GetJobRequest(job_id=job_id)
    )
    ended = response.job.status in ended_states()
    after = last_event_id or query.after
    follower = JobFollower(
        caller,
        job_id,
        after=after,
        after_step=query.after_step,
        closing=state.closing,
    )
    try:
        has_events = await follower.has_answer(
            _REPLAY_WAIT_SECONDS if ended else _REFUSAL_WAIT_SECONDS
        )
    except BaseException:
        await follower.close()
        raise
    if not has_events and after:
        await follower.close()
        return Response(status_code=NO_CONTENT)
    return RelayResponse(
        state.streams.counted(follower.events(state.settings.ping_seconds)),
        headers=EVENT_STREAM_HEADERS,
        media_type="text/event-stream",
    )
