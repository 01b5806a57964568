"""The processes that train."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.schemas.base import Answer, PageToken


class Worker(Answer):
    """A worker that was heard of lately."""

    worker_id: str
    state: Literal["idle", "busy", "draining"] | None
    device: str
    hostname: str
    pid: int
    job_id: str | None = Field(description="The job it trains.")
    attempt: int | None = Field(description="The attempt it trains.")
    last_heartbeat: str | None
    started_at: str | None


class WorkerPage(Answer):
    """Workers."""

    workers: list[Worker]
    next_page_token: PageToken
