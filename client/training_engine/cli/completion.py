"""What the shell offers behind Tab where only the service knows: the names and ids of jobs."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import typer

from training_engine.cli.session import Target
from training_engine.errors import TrainingEngineError
from training_engine.records import JobStatus

if TYPE_CHECKING:
    from training_engine._job import Job
    from training_engine.engine import TrainingEngine

#: A shell waits for its user's Tab no longer than this.
SECONDS = 1.5
NEWEST = 50
PRIORITIES = ("high", "default", "low")


def jobs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return names, or ids where there is none, of the newest jobs, each with its status."""
    try:
        with _engine(_target(ctx)) as engine:
            newest = [*islice(engine.jobs.list(page_size=NEWEST), NEWEST)]
    except TrainingEngineError:
        return []
    by_id = incomplete.startswith("job_")
    offered: dict[str, Job] = {}
    for job in newest:
        offered.setdefault(job.job_id if by_id else job.name, job)
    return [
        (word, f"{job.status}, step {job.current_step}/{job.max_steps}")
        for word, job in offered.items()
        if word.startswith(incomplete)
    ]


def _engine(target: Target) -> TrainingEngine:
    from training_engine.engine import TrainingEngine

    if target.url:
        return TrainingEngine.over_rest(target.url, timeout=SECONDS, retry_for=0.0)
    return TrainingEngine(target.address, timeout=SECONDS, retry_for=0.0)


def statuses(incomplete: str) -> list[str]:
    """Return the states of jobs."""
    return [status.value for status in JobStatus if status.value.startswith(incomplete)]


def priorities(incomplete: str) -> list[str]:
    """Return the priorities."""
    return [priority for priority in PRIORITIES if priority.startswith(incomplete)]


def _target(ctx: typer.Context) -> Target:
    """Return where the service is, by the flags before the word, else by the environment."""
    targets = [Target(c.params.get("address"), c.params.get("url")) for c in (ctx, ctx.parent) if c]
    for target in targets:
        if target.address or target.url:
            return target
    return Target.from_environment()
