"""The gateway as an ASGI application: routes, guard, errors, OpenAPI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI

from gateway import problems
from gateway.control_plane import ControlPlane
from gateway.doorkeeper import Doorkeeper
from gateway.guard import Guard
from gateway.heads import HeadAsGet
from gateway.openai import routes as openai
from gateway.routes import (
    checkpoints,
    datasets,
    evaluation,
    generation,
    jobs,
    operations,
    pages,
    session,
    stream,
    unary,
)
from gateway.sessions import Sessions
from gateway.settings import GatewaySettings
from gateway.telemetry import OpenStreams, Telemetry, TelemetryMiddleware

_OF_CHECKPOINTS = (checkpoints, generation, evaluation)
_BY_HAND = (jobs, stream, *_OF_CHECKPOINTS, datasets, session, operations, openai)
"""Routes of streams and files, and those without a call of the control plane."""

_DESCRIPTION = (
    "Trains GPT-style language models and never loses a job. Errors are "
    "`application/problem+json`; every change accepts an `Idempotency-Key`. An answer has every "
    "field of its schema; what a description calls absent is null."
)


def create_app(settings: GatewaySettings) -> FastAPI:
    """Return the application. The channel to the control plane opens with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.control_plane = ControlPlane(
            settings.control_plane_address, settings.control_plane_timeout_seconds
        )
        yield
        await app.state.control_plane.close()

    app = FastAPI(
        title="Training Engine",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    telemetry = Telemetry()
    app.state.settings = settings
    app.state.telemetry = telemetry
    app.state.streams = OpenStreams(telemetry)
    app.state.closing = asyncio.Event()
    tokens = settings.accepted_tokens()
    app.state.doorkeeper = Doorkeeper(tokens)
    app.state.sessions = Sessions(tokens, settings.session_seconds)
    _include(app, unary.routers())
    pages.mount(app)
    problems.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.add_middleware(HeadAsGet)
    app.add_middleware(
        Guard,
        allowed_hosts=[settings.host, *settings.allowed_host],
        doorkeeper=app.state.doorkeeper,
        sessions=app.state.sessions,
        client_seconds=settings.client_timeout_seconds,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
    )
    app.add_middleware(TelemetryMiddleware, telemetry=telemetry)
    return app


def _version() -> str:
    for distribution in ("training-engine", "training-engine-sdk"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "0"


def _include(app: FastAPI, made: list[APIRouter]) -> None:
    for routes in (*made, *(each.routes for each in _BY_HAND)):
        app.include_router(routes)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        from gateway import openapi_document

        described = FastAPI(title=app.title, version=app.version, description=app.description)
        _include(described, unary.routers(with_answers=True))
        app.openapi_schema = openapi_document.build(described)
    return app.openapi_schema
