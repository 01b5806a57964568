"""Health and metrics, for operators."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field

from gateway.problems import ProblemError
from gateway.routes.declare import answer, only_problems
from gateway.schemas.base import Answer

routes = APIRouter(tags=["operations"])


_MEASURED = "training_engine_gateway_open_streams 3.0\n"


class Health(Answer):
    """How the gateway is."""

    status: str = Field(description="`ok`, or `ready`.")


@routes.get("/healthz", response_model=Health, responses=only_problems(403))
async def healthz() -> Response:
    """Answer `ok` while the process is alive."""
    return answer({"status": "ok"})


@routes.get("/readyz", response_model=Health, responses=only_problems(403, 503))
async def readyz(request: Request) -> Response:
    """Answer `ready` while the control plane can be reached and serves."""
    state = request.app.state
    if state.closing.is_set():
        raise ProblemError("the gateway is shutting down", reason="SHUTTING_DOWN")
    if problem := await state.control_plane.problem():
        raise ProblemError(problem, reason="CONTROL_PLANE_UNAVAILABLE")
    return answer({"status": "ready"})


@routes.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": _MEASURED}},
        },
        **only_problems(403),
    },
)
async def prometheus(request: Request) -> Response:
    """Return this process's own measurements, for Prometheus."""
    text = generate_latest(request.app.state.telemetry.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
