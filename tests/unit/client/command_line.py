"""The command line in this process, talking to a scripted service."""

from __future__ import annotations

from typing import Any

from scripted_service import ScriptedService, job, job_pb2, point
from typer.testing import CliRunner, Result

from training_engine.cli.app import app


class Cli:
    """Runs one command against the service."""

    def __init__(self, service: ScriptedService) -> None:
        self.address = service.address

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, ["--address", self.address, *arguments], input=stdin)


def a_watch(end: str) -> Any:
    """What WatchJob tells of a job that is tried twice and ends as `end`."""

    def watch(request: Any, context: Any) -> Any:
        answer = job_pb2.WatchJobResponse
        yield answer(cursor="1", state=job(status="QUEUED"))
        yield answer(cursor="2", state=job(status="RUNNING"))
        yield answer(cursor="3", metrics=point(5, loss=2.5, mine=0.25))
        yield answer(cursor="4", log={"text": "hello"})
        yield answer(cursor="4", log={"text": "INFO training_worker.publisher: checkpoint c"})
        yield answer(cursor="5", checkpoint={"checkpoint_id": "c", "step": 5, "loss": 2.5})
        yield answer(cursor="5", alert={"rule": 0, "text": "loss is 2.5 at step 5, above 2"})
        yield answer(cursor="6", rewound={"to_step": 0, "reason": "worker lost"})
        why = "attempt 1 lost its worker; attempt 2 continues from step 0"
        yield answer(cursor="6", state=job(status="QUEUED", message="worker w is gone"))
        yield answer(cursor="6", rewound={"to_step": 0, "reason": why})
        yield answer(cursor="7", state=job(status=end, current_step=9, error="why"))

    return watch
