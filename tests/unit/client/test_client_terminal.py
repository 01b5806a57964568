"""The command line where a person sits, and where a pipe ends early."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_service import (
    ScriptedService,
    checkpoint_pb2,
    generation_pb2,
    job,
    job_pb2,
    metrics_pb2,
    point,
)
from terminal import Terminal

JOB_ID = "job_01m81nqx2t8ak7ns9myvdkzwbd"


@pytest.fixture
def running(service: ScriptedService) -> ScriptedService:
    """A job that trains for as long as somebody watches."""

    def watch(request: Any, context: Any) -> Iterator[Any]:
        left = threading.Event()
        context.add_callback(left.set)
        for step in (1, 2, 3):
            measured = point(step, loss=4.0 / step)
            yield job_pb2.WatchJobResponse(cursor=str(step), metrics=measured)
        left.wait(30)

    service.on["WatchJob"] = watch
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job(JOB_ID))
    service.on["GetMetrics"] = lambda request, context: metrics_pb2.GetMetricsResponse(
        metrics=point(3)
    )
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(
        jobs=[job(JOB_ID) for _ in range(2000)]
    )
    return service


def on_terminal(service: ScriptedService, *arguments: str, **more: Any) -> Terminal:
    return Terminal("--address", service.address, *arguments, **more)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_leaving_a_watch_leaves_the_job_and_says_so(
    running: ScriptedService, options: list[str]
) -> None:
    terminal = on_terminal(running, "watch", JOB_ID, *options, columns=200)
    terminal.read_until("3/10" if not options else '"step": 3')
    terminal.interrupt()
    assert terminal.finish() == 130
    assert terminal.text.splitlines()[-1] == (
        f"the job goes on; watch it again: training-engine watch {JOB_ID}; "
        f"stop it: training-engine stop {JOB_ID}"
    )
    assert "Traceback" not in terminal.text
    assert running.asked("StopJob") == []


def test_a_terminal_that_cannot_redraw_gets_lines(running: ScriptedService) -> None:
    terminal = on_terminal(running, "watch", JOB_ID, TERM="dumb")
    terminal.read_until("step 3/10  loss 1.333")
    terminal.interrupt()
    assert terminal.finish() == 130


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_the_live_view_fits_its_terminal(running: ScriptedService, columns: int) -> None:
    terminal = on_terminal(running, "watch", JOB_ID, columns=columns)
    terminal.read_until("loss 1.333")
    terminal.interrupt()
    terminal.finish()
    drawn = terminal.text.partition("the job goes on")[0].splitlines()
    assert max(map(len, drawn)) <= columns


def test_the_live_view_shows_a_validation_while_no_event_comes(running: ScriptedService) -> None:
    shown = job(
        JOB_ID, phase=job_pb2.JOB_PHASE_VALIDATING, phase_done=12, phase_total=80, eta_seconds=95
    )
    running.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=shown)
    terminal = on_terminal(running, "watch", JOB_ID, columns=120)
    terminal.read_until("validating 12/80   ETA 1 min 35 s")
    terminal.interrupt()
    assert terminal.finish() == 130


def test_ids_stay_whole_on_a_narrow_terminal(running: ScriptedService) -> None:
    terminal = on_terminal(running, "list", "--limit", "1", columns=60)
    assert terminal.finish() == 0
    column = [line.split(" ")[0] for line in terminal.text.splitlines()[1:]]
    assert "".join(column).startswith(JOB_ID)


def test_the_list_of_jobs_fits_80_columns(running: ScriptedService) -> None:
    rows = [
        {"job_id": JOB_ID, "name": JOB_ID, "status": "JOB_STATUS_SUCCEEDED"},
        {"job_id": JOB_ID, "name": "exp-17", "status": "JOB_STATUS_RUNNING", "eta_seconds": 9000},
    ]
    for row in rows:
        row |= {"current_step": 100_000, "max_steps": 100_000, "created_at": {"seconds": 10**9}}
    running.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(jobs=rows)
    narrow = on_terminal(running, "list", columns=80)
    assert narrow.finish() == 0
    heads, first, second = narrow.text.splitlines()
    assert heads.split() == ["JOB", "STATUS", "STEP", "ETA", "CREATED"]
    assert first.split()[:3] == [JOB_ID, "succeeded", "100000/100000"]
    assert second.split()[:6] == ["exp-17", "running", "100000/100000", "2", "h", "30"]
    wide = on_terminal(running, "list", columns=160)
    assert wide.finish() == 0
    assert wide.text.splitlines()[2].split()[:2] == [JOB_ID, "exp-17"]


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_heeded(
    running: ScriptedService, environment: dict[str, str], coloured: bool
) -> None:
    terminal = on_terminal(running, "list", "--limit", "1", columns=200, **environment)
    assert terminal.finish() == 0
    assert "running" in terminal.text
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]", terminal.shown)) is coloured


def generation(service: ScriptedService) -> threading.Event:
    """A model that has loaded once the returned event is set."""
    loaded = threading.Event()

    def generate(request: Any, context: Any) -> Iterator[Any]:
        loaded.wait(30)
        yield generation_pb2.GenerateResponse(text="abc")
        yield generation_pb2.GenerateResponse(text="d", finish_reason="FINISH_REASON_LENGTH")

    service.on["Generate"] = generate
    return loaded


def test_a_person_is_told_what_a_generation_waits_for(service: ScriptedService) -> None:
    loaded = generation(service)
    terminal = on_terminal(service, "generate", "ckpt_1", "--prompt", "> ")
    terminal.read_until("loading the model, which may take a moment …")
    loaded.set()
    assert terminal.finish() == 0
    assert terminal.text.endswith("> abcd\n")


def test_programs_are_not_told(service: ScriptedService) -> None:
    generation(service).set()
    for options, printed in ([], "> abcd\n"), (["--json"], '"text": "abcd"'):
        done = run(service, "generate", "ckpt_1", "--prompt", "> ", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert printed in done.stdout


def run(
    service: ScriptedService, *arguments: str, **streams: Any
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "training_engine.cli", "--address", service.address]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([*command, *arguments], text=True, timeout=30, check=False, **both)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--limit", "2000"],
        ["list", "--limit", "2000", "--json"],
        ["status", JOB_ID],
        ["logs", JOB_ID],
        ["checkpoints", JOB_ID],
        ["watch", JOB_ID],
        ["watch", JOB_ID, "--json"],
        ["generate", "ckpt_1"],
    ],
    ids=" ".join,
)
def test_a_reader_may_leave_early(running: ScriptedService, arguments: list[str]) -> None:
    running.on["ListLogs"] = lambda request, context: job_pb2.ListLogsResponse(
        lines=[{"text": "line"}]
    )
    running.on["ListCheckpoints"] = lambda request, context: checkpoint_pb2.ListCheckpointsResponse(
        checkpoints=[{"checkpoint_id": "ckpt_1"}]
    )
    generation(running).set()
    reader, writer = os.pipe()
    os.close(reader)
    done = run(running, *arguments, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
