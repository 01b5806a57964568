"""Commands about jobs against a real service: what they print, send and exit with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from command_line import Cli, a_watch
from scripted_service import (
    ScriptedService,
    code_pb2,
    config_pb2,
    job,
    job_pb2,
    metrics_pb2,
    point,
    refuse,
)

from training_engine import __version__
from training_engine.cli.output import duration, size


def test_start_sends_absolute_paths_and_settings(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("max_steps: 5\nval_dataset_path: val.txt\n")
    result = cli(
        "start", "config.yaml", "--dataset", "data/a.txt", "--priority", "high", "--name", "mine",
        "--set", "model_config.num_layers=2", "--set", "learning_rate=1e-3",
        "--nodes", "2", "--processes", "4",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == "started job j1\n"
    assert result.stderr == (
        "warning: warmup_steps: is long\nfollow it: training-engine watch j1\n"
    )
    (request,) = service.asked("StartJob")
    assert request.dataset_path == f"{tmp_path}/data/a.txt"
    assert (request.execution.nodes, request.execution.processes) == (2, 4)
    assert json.loads(request.config_document) == {
        "max_steps": 5,
        "val_dataset_path": f"{tmp_path}/val.txt",
        "model_config": {"num_layers": 2},
        "learning_rate": "1e-3",
    }
    assert request.execution.priority == job_pb2.JOB_PRIORITY_HIGH


def test_a_stored_warning_names_its_field_once(service: ScriptedService, cli: Cli) -> None:
    message = "`warmup_steps` is 5"
    warned = job(warnings=[config_pb2.FieldProblem(field="warmup_steps", message=message)])
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=warned)
    service.on["GetMetrics"] = lambda request, context: refuse(
        context, code_pb2.NOT_FOUND, "METRICS_NOT_FOUND", "nothing is measured yet"
    )
    said = cli("status", "j1").stdout
    assert [line.split(None, 1) for line in said.splitlines() if "warmup" in line] == [
        ["warning", message]
    ]


def test_start_json(service: ScriptedService, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("max_steps: 5\n")
    plain = json.loads(cli("start", "c.yaml", "--json").stdout)
    assert (plain["job_id"], plain["status"]) == ("j1", "queued")
    assert plain["created_at"] == "2030-01-01T12:00:00Z"
    assert plain["warnings"] == [{"field": "warmup_steps", "message": "is long"}]


def test_list_shows_a_table_or_json(service: ScriptedService, cli: Cli) -> None:
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(
        jobs=[job("j1", current_step=4, progress=0.4), job("j2", "FAILED")]
    )
    lines = cli("list").stdout.splitlines()
    assert lines[0].split() == [
        "JOB",
        "NAME",
        "STATUS",
        "STEP",
        "PROGRESS",
        "ATTEMPT",
        "ETA",
        "CREATED",
        "TAGS",
    ]
    assert lines[1].split()[:4] == ["j1", "running", "4/10", "40%"]
    rows = json.loads(cli("list", "--json").stdout)["jobs"]
    assert [(row["job_id"], row["status"]) for row in rows] == [("j1", "running"), ("j2", "failed")]
    limited = cli("list", "--limit", "1")
    assert "j2" not in limited.stdout
    assert limited.stderr == "there are more; show them with --limit 2\n"
    wrong = cli("list", "--status", "done")
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "error: status is 'done'; it must be one of queued, running, stopping, stopped, "
        "succeeded, failed\n",
    )


def test_status(service: ScriptedService, cli: Cli) -> None:
    service.on["GetMetrics"] = lambda request, context: refuse(
        context, code_pb2.NOT_FOUND, "METRICS_NOT_FOUND", "none yet"
    )
    words = cli("status", "j1").stdout.split()
    assert words[:11] == [
        "job",
        "j1",
        "name",
        "j1",
        "status",
        "running",
        "step",
        "4",
        "of",
        "10",
        "(40%)",
    ]
    assert json.loads(cli("status", "j1", "--json").stdout)["current_step"] == 4
    latest = metrics_pb2.GetMetricsResponse(metrics=point(4, loss=2.5, mine=0.25))
    latest.metrics.val_loss, latest.metrics.val_bits_per_byte = 2.0, 2.885
    service.on["GetMetrics"] = lambda request, context: latest
    assert "loss 2.5 validation loss 2 bits per byte 2.885 mine 0.25" in " ".join(
        cli("status", "j1").stdout.split()
    )


def test_status_shows_the_phase_with_its_count(service: ScriptedService, cli: Cli) -> None:
    service.on["GetMetrics"] = lambda request, context: refuse(
        context, code_pb2.NOT_FOUND, "METRICS_NOT_FOUND", "none yet"
    )
    shown = {"phase": job_pb2.JOB_PHASE_VALIDATING, "phase_done": 0, "phase_total": 80}
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job(**shown))
    assert "validating 0/80" in cli("status", "j1").stdout
    told = json.loads(cli("status", "j1", "--json").stdout)
    assert {name: told[name] for name in shown} == {**shown, "phase": "validating"}
    shown = {"phase": job_pb2.JOB_PHASE_TOKENIZING, "phase_done": 1 << 30, "phase_total": 1 << 32}
    shown["phase_per_second"] = 1 << 24
    text = "tokenizing 1.0 GiB of 4.0 GiB, 16.0 MiB/s, 3 min 12 s left"
    assert text in cli("status", "j1").stdout
    shown = {"phase": job_pb2.JOB_PHASE_TRAINING_TOKENIZER, "phase_done": 75}
    assert "training the tokenizer, 1 min 15 s" in cli("status", "j1").stdout


def test_stop_takes_several_and_says_what_failed(service: ScriptedService, cli: Cli) -> None:
    def stop(request: Any, context: Any) -> Any:
        if request.job_id == "j2":
            refuse(context, code_pb2.FAILED_PRECONDITION, "STATE_FORBIDS", "j2 has ended")
        return job_pb2.StopJobResponse(job=job(request.job_id, "STOPPING"))

    service.on["StopJob"] = stop
    result = cli("stop", "j1", "j2", "j3")
    assert result.stdout == "j1 asked to stop\nj3 asked to stop\n"
    assert result.stderr == "error: j2 has ended\n"
    assert result.exit_code == 4
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(
        jobs=[job("j7")] if request.status == job_pb2.JOB_STATUS_RUNNING else []
    )
    assert cli("stop", "--all").stdout == "j7 asked to stop\n"
    nothing = cli("stop")
    assert nothing.exit_code == 2
    assert "name at least one job" in nothing.stderr


def test_resume_logs_and_delete(service: ScriptedService, cli: Cli) -> None:
    service.on["ResumeJob"] = lambda request, context: job_pb2.ResumeJobResponse(
        job=job(status="QUEUED", resumed_from_step=4)
    )
    service.on["ListLogs"] = lambda request, context: job_pb2.ListLogsResponse(
        lines=[{"text": "[bold]one"}, {"text": "two"}]
    )
    service.on["DeleteJob"] = lambda request, context: job_pb2.DeleteJobResponse()
    assert cli("resume", "j1", "--max-steps", "9").stdout == (
        "job j1 continues from step 4 as attempt 1\n"
    )
    assert cli("resume", "j1", "--from-start").exit_code == 0
    assert [asked.from_start for asked in service.asked("ResumeJob")] == [False, True]
    assert cli("logs", "j1").stdout == "[bold]one\ntwo\n"
    service.on["WatchJob"] = a_watch("SUCCEEDED")
    assert cli("logs", "j1", "--follow").stdout == (
        "hello\nINFO training_worker.publisher: checkpoint c\n"
    )
    service.on["ListLogs"] = lambda request, context: job_pb2.ListLogsResponse()
    empty = cli("logs", "j1")
    assert (empty.stdout, empty.stderr) == ("", "nothing was printed so far\n")
    assert cli("delete", "j1").stdout == "j1 deleted\n"
    unasked = cli("delete", "--status", "failed")
    assert (unasked.exit_code, unasked.stdout) == (2, "")
    assert "there is no terminal; add --yes" in " ".join(unasked.stderr.split())


def test_the_last_lines_of_a_log(service: ScriptedService, cli: Cli) -> None:
    lines = [
        {"text": f"line {number}", "attempt": 1 + number // 3, "sequence": number % 3}
        for number in range(5)
    ]
    service.on["ListLogs"] = lambda request, context: job_pb2.ListLogsResponse(lines=lines)
    assert cli("logs", "j1", "--tail", "2").stdout == "line 3\nline 4\n"
    assert cli("logs", "j1", "--tail", "9").stdout.count("\n") == 5
    none = cli("logs", "j1", "--tail", "0")
    assert (none.stdout, none.stderr) == ("", "")

    def watch(request: Any, context: Any) -> Any:
        for line in [*lines, {"text": "line 5", "attempt": 2, "sequence": 2}]:
            yield job_pb2.WatchJobResponse(cursor="1", log=line)
        yield job_pb2.WatchJobResponse(cursor="2", state=job(status="SUCCEEDED"))

    service.on["WatchJob"] = watch
    assert cli("logs", "j1", "-n", "1", "-f").stdout == "line 4\nline 5\n"
    assert cli("logs", "j1", "-n", "0", "-f").stdout == "line 5\n"
    assert cli("logs", "j1", "-f").stdout.count("\n") == 6


def test_delete_takes_no_beginning_of_an_id(service: ScriptedService, cli: Cli) -> None:
    whole = "job_" + "0" * 26
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse(
        jobs=[job(whole)] if request.job_id_prefix else []
    )
    service.on["DeleteJob"] = lambda request, context: job_pb2.DeleteJobResponse()
    refused = cli("delete", "0", "--yes")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"error: '0' is only the beginning of the id {whole}; give the whole id or the exact name\n"
    )
    assert service.asked("DeleteJob") == []
    assert cli("delete", whole).stdout == f"{whole} deleted\n"


def test_a_list_of_nothing_says_what_was_asked_for(service: ScriptedService, cli: Cli) -> None:
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse()
    assert cli("list").stderr.startswith("no jobs yet; start one")
    chosen = cli("list", "--name", "gone", "--status", "failed")
    assert chosen.stderr == "no jobs with status 'failed' and name 'gone'\n"


def test_the_script_runs_as_a_process() -> None:
    command = [sys.executable, "-P", "-m", "training_engine.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"training-engine {__version__}\n"


def test_numbers_for_people() -> None:
    assert [duration(s) for s in (0, 59, 61, 3600, 90000)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
    ]
    assert [size(n) for n in (5, 2048, 3 << 30, 5 << 40)] == [
        "5 B",
        "2.0 KiB",
        "3.0 GiB",
        "5.0 TiB",
    ]


def test_samples_are_shown_prompt_by_prompt(service: ScriptedService, cli: Cli) -> None:
    texts = {10: ("a", "b"), 20: ("c", "d\n"), 30: ("e", "f")}
    steps = [
        metrics_pb2.SampledStep(
            step=step,
            samples=[
                metrics_pb2.SampledText(prompt=prompt, text=text)
                for prompt, text in zip(("Once", "[b]"), found, strict=True)
            ],
        )
        for step, found in texts.items()
    ]
    service.on["ListSamples"] = lambda request, context: metrics_pb2.ListSamplesResponse(
        steps=[step for step in steps if request.from_step in (0, step.step)]
    )
    said = cli("samples", "j1", "--tail", "2").stdout
    assert said == "--- Once\nstep 20: c\nstep 30: e\n--- [b]\nstep 20: d\n\nstep 30: f\n"
    assert (
        cli("samples", "j1", "--step", "10").stdout == "--- Once\nstep 10: a\n--- [b]\nstep 10: b\n"
    )
    plain = json.loads(cli("samples", "j1", "--json").stdout)
    assert plain["steps"][0]["samples"][1] == {"prompt": "[b]", "text": "b"}
    steps.clear()
    assert "no samples; they come with sample_prompts" in cli("samples", "j1").stderr
    of_step = cli("samples", "j1", "--step", "15")
    assert "no samples of step 15; they come with sample_prompts" in of_step.stderr
