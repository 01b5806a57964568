"""The processes that train."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.schemas import examples
from gateway.schemas.base import Answer, PageToken, with_example


class Worker(Answer):
    """A worker that was heard of lately."""

    model_config = with_example(examples.WORKER)

    worker_id: str = Field(description="Its id.")
    state: Literal["idle", "busy", "draining"] | None = Field(
        description="`idle`, `busy`, or `draining`: it finishes and takes no more."
    )
    device: str = Field(description="What it trains on.")
    hostname: str = Field(description="The machine it runs on.")
    pid: int = Field(description="Its process on that machine.")
    job_id: str | None = Field(description="The job it trains.")
    attempt: int | None = Field(description="The attempt it trains.")
    last_heartbeat: str | None = Field(description="When it was last heard of, RFC 3339, UTC.")
    started_at: str | None = Field(description="When it started, RFC 3339, UTC.")


class WorkerPage(Answer):
    """Workers."""

    model_config = with_example({"workers": [examples.WORKER], "next_page_token": None})

    workers: list[Worker] = Field(description="The rows.")
    next_page_token: PageToken
