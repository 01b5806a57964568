"""`stop` and `delete`: names, patterns, states, and the question before jobs are deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_line import Cli
from scripted_service import ScriptedService, code_pb2, job, job_pb2, refuse, sweep_pb2
from terminal import Terminal

IDS = [f"job_{number:026d}" for number in (40, 30, 20, 10)]
NAMES = ["exp-2", "exp-1", "other", "twin"]
STATES = ["RUNNING", "STOPPED", "QUEUED", "FAILED"]
TAGS = [["a"], ["a", "b"], ["a"], []]


@pytest.fixture(autouse=True)
def _jobs(service: ScriptedService, cli: Cli) -> None:
    """Four jobs, newest first, in a service that filters as the real one does."""
    rows = [
        job_pb2.Job(job_id=i, name=n, status=f"JOB_STATUS_{s}", current_step=7, tags=t)
        for i, n, s, t in zip(IDS, NAMES, STATES, TAGS, strict=True)
    ]

    def listed(request: Any, context: Any) -> Any:
        return job_pb2.ListJobsResponse(
            jobs=[
                row
                for row in rows
                if request.name in ("", row.name)
                and row.job_id.startswith(request.job_id_prefix)
                and request.status in (0, row.status)
                and {*request.tags} <= {*row.tags}
            ]
        )

    def got(request: Any, context: Any) -> Any:
        return job_pb2.GetJobResponse(job=next(r for r in rows if r.job_id == request.job_id))

    def deleted(request: Any, context: Any) -> Any:
        if request.job_id == IDS[0]:
            refuse(context, code_pb2.FAILED_PRECONDITION, "STATE_FORBIDS", f"{IDS[0]} runs")
        return job_pb2.DeleteJobResponse()

    service.on |= {"ListJobs": listed, "GetJob": got, "DeleteJob": deleted}
    service.on["StopJob"] = lambda request, context: job_pb2.StopJobResponse(
        job=job(request.job_id, "STOPPING")
    )

    service.on["ResumeJob"] = lambda request, context: job_pb2.ResumeJobResponse(
        job=job(request.job_id, "QUEUED")
    )
    service.on["UpdateJob"] = lambda request, context: job_pb2.UpdateJobResponse(
        job=job(request.job_id, "QUEUED")
    )


def deleted(service: ScriptedService) -> list[str]:
    return [request.job_id for request in service.asked("DeleteJob")]


def test_a_pattern_stops_what_runs_or_waits(cli: Cli) -> None:
    assert cli("stop", "exp-*").stdout == f"{IDS[0]} asked to stop\n"
    assert cli("stop", "*").stdout == f"{IDS[0]} asked to stop\n{IDS[2]} asked to stop\n"
    assert cli("stop", "exp-?", "other").stdout == cli("stop", "*").stdout
    nothing = cli("stop", "nope-*")
    assert (nothing.exit_code, nothing.stderr) == (3, "error: no job's name matches 'nope-*'\n")


def test_tags_choose_jobs_in_the_states_that_fit(cli: Cli, service: ScriptedService) -> None:
    assert cli("stop", "--tag", "a").stdout == f"{IDS[0]} asked to stop\n{IDS[2]} asked to stop\n"
    assert cli("resume", "--tag", "a").stdout == f"{IDS[1]} continues\n"
    assert cli("resume", "exp-*", "twin", "--max-steps", "9").stdout == "".join(
        f"{IDS[n]} continues\n" for n in (1, 3)
    )
    assert {request.max_steps for request in service.asked("ResumeJob")[1:]} == {9}
    assert "--tag would ask" in cli("delete", "--tag", "b").stderr.replace("│", " ")
    assert cli("delete", "--tag", "b", "--status", "stopped", "-y").stdout == f"{IDS[1]} deleted\n"
    assert cli("delete", "--tag", "b", "--status", "failed", "-y").stderr == "no such jobs\n"


def test_an_update_says_what_it_changes(cli: Cli, service: ScriptedService) -> None:
    done = cli("update", "exp-*", "--add-tag", "x", "--add-tag", "y", "--notes", "")
    assert done.stdout == f"{IDS[0]} updated\n{IDS[1]} updated\n"
    request = service.asked("UpdateJob")[0]
    assert ([*request.add_tags], request.HasField("notes")) == (["x", "y"], True)
    for arguments in (["update", "exp-1"], ["resume", "a", "b", "--watch"], ["resume"]):
        assert cli(*arguments).exit_code == 2


def test_a_pattern_deletes_with_yes_and_says_what_it_could_not(
    cli: Cli, service: ScriptedService
) -> None:
    unasked = cli("delete", "exp-*")
    assert unasked.exit_code == 2
    assert "exp-* would ask, and there is no terminal; add --yes" in " ".join(
        unasked.stderr.replace("│", " ").split()
    )
    assert deleted(service) == []
    done = cli("delete", "exp-*", "--yes")
    assert (done.stdout, done.stderr) == (f"{IDS[1]} deleted\n", f"error: {IDS[0]} runs\n")
    assert done.exit_code == 4
    outcomes = json.loads(cli("delete", "exp-?", "-y", "--json").stdout)["jobs"]
    assert outcomes == [
        {"job_id": IDS[0], "error": f"{IDS[0]} runs"},
        {"job_id": IDS[1], "error": None},
    ]


def test_a_name_is_deleted_at_once_where_nobody_can_be_asked(
    cli: Cli, service: ScriptedService
) -> None:
    assert cli("delete", "exp-1").stdout == f"{IDS[1]} deleted\n"
    assert cli("delete", IDS[2]).stdout == f"{IDS[2]} deleted\n"
    assert deleted(service) == [IDS[1], IDS[2]]


@pytest.mark.parametrize(("answer", "gone"), [("n", False), ("", False), ("y", True)])
def test_delete_asks_on_a_terminal(service: ScriptedService, answer: str, gone: bool) -> None:
    terminal = Terminal("--address", service.address, "delete", "exp-1", columns=120)
    terminal.read_until("[y/N]")
    assert "exp-1  stopped, step 7" in terminal.text
    assert "Delete this job with history, logs and checkpoints?" in terminal.text
    assert deleted(service) == []
    terminal.type(f"{answer}\n")
    assert terminal.finish() == (0 if gone else 1)
    assert deleted(service) == [IDS[1]] * gone


@pytest.mark.parametrize(("answer", "gone"), [("n", False), ("y", True)])
def test_a_sweep_is_deleted_after_a_question_on_a_terminal(
    service: ScriptedService, answer: str, gone: bool
) -> None:
    found = sweep_pb2.Sweep(sweep_id=f"swp_{4:026d}", name="rates", num_children=6)
    service.on["ListSweeps"] = lambda request, context: sweep_pb2.ListSweepsResponse(sweeps=[found])
    service.on["GetSweep"] = lambda request, context: sweep_pb2.GetSweepResponse(sweep=found)
    service.on["DeleteSweep"] = lambda request, context: sweep_pb2.DeleteSweepResponse()
    terminal = Terminal("--address", service.address, "sweep", "delete", "rates", columns=120)
    terminal.read_until("[y/N]")
    assert "Delete this sweep with its 6 jobs, their history, logs" in terminal.text
    terminal.type(f"{answer}\n")
    assert terminal.finish() == (0 if gone else 1)
    assert len(service.asked("DeleteSweep")) == gone


def test_a_sweep_shows_which_children_were_deleted(cli: Cli, service: ScriptedService) -> None:
    children = [
        sweep_pb2.SweepChild(number=1, rank=1, score=2.5, values={"ema_decay": "0.9", "to": '"x"'}),
        sweep_pb2.SweepChild(number=2, values={"ema_decay": "null", "to": "true"}),
    ]
    found = sweep_pb2.Sweep(
        sweep_id=f"swp_{4:026d}",
        metric="val_loss",
        best_child=1,
        children=children,
        parameters=["ema_decay", "to"],
    )
    service.on["GetSweep"] = lambda request, context: sweep_pb2.GetSweepResponse(sweep=found)
    lines = [line.split() for line in cli("sweep", "show", found.sweep_id).stdout.splitlines()]
    assert ["best", "child", "1,", "deleted"] in lines
    assert [line[:3] for line in lines[-2:]] == [["1", "1", "deleted"], ["2", "waits", "0"]]
    assert [line[-2:] for line in lines[-2:]] == [["0.9", "x"], ["null", "true"]]


def test_a_name_of_several_sweeps_is_not_deleted(cli: Cli, service: ScriptedService) -> None:
    twins = [sweep_pb2.Sweep(sweep_id=f"swp_{n:026d}", name="twin") for n in (7, 5)]
    service.on["ListSweeps"] = lambda request, context: sweep_pb2.ListSweepsResponse(sweeps=twins)
    service.on["GetSweep"] = lambda request, context: sweep_pb2.GetSweepResponse(
        sweep=next(each for each in twins if each.sweep_id == request.sweep_id)
    )
    refused = cli("sweep", "delete", "twin", "--yes")
    ids = ", ".join(each.sweep_id for each in twins)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: 'twin' is the name of more than one sweep; give the id of one: {ids}\n"
    )
    service.on["DeleteSweep"] = lambda request, context: sweep_pb2.DeleteSweepResponse()
    assert cli("sweep", "delete", twins[1].sweep_id).exit_code == 0
    assert [each.sweep_id for each in service.asked("DeleteSweep")] == [twins[1].sweep_id]


def test_delete_does_not_ask_with_yes(service: ScriptedService) -> None:
    terminal = Terminal("--address", service.address, "delete", "--status", "failed", "--yes")
    assert terminal.finish() == 0
    assert deleted(service) == [IDS[3]]


def test_delete_refuses_a_name_of_several(cli: Cli, service: ScriptedService) -> None:
    twins = [job_pb2.Job(job_id=id, name="twin") for id in IDS[:2]]
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(
        jobs=twins if request.name == "twin" else []
    )
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=twins[0])
    refused = cli("delete", "twin", "--yes")
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: 'twin' is the name of more than one job; give the id of one: {IDS[0]}, {IDS[1]}\n"
    )
    assert deleted(service) == []
