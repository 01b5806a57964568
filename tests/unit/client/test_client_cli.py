"""The command line against a real service: what it prints, sends and exits with."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, a_watch
from scripted_service import (
    CheckpointFile,
    ScriptedService,
    checkpoint_pb2,
    code_pb2,
    config_pb2,
    dataset_pb2,
    generation_pb2,
    job,
    job_pb2,
    metrics_pb2,
    point,
    refuse,
)

from training_engine import __version__
from training_engine.cli.curve import draw
from training_engine.cli.output import duration, size


def test_start_sends_absolute_paths_and_settings(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("max_steps: 5\nval_dataset_path: val.txt\n")
    result = cli(
        "start", "config.yaml", "--dataset", "data/a.txt", "--priority", "high", "--name", "mine",
        "--set", "model_config.num_layers=2", "--set", "learning_rate=1e-3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == "started job j1\n"
    assert result.stderr == (
        "warning: warmup_steps: is long\nfollow it: training-engine watch j1\n"
    )
    (request,) = service.asked("StartJob")
    assert request.dataset_path == f"{tmp_path}/data/a.txt"
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


def test_start_leaves_a_document_as_it_is(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("# kept\nmax_steps: 5\n")
    cli("start", "config.yaml", "--dataset", "dataset://d1")
    cli("start", "cfg_1")
    by_file, by_id = service.asked("StartJob")
    assert by_file.config_document == "# kept\nmax_steps: 5\n"
    assert by_file.dataset_path == "dataset://d1"
    assert by_id.config_id == "cfg_1"


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


def test_watch_prints_lines_where_piped(service: ScriptedService, cli: Cli) -> None:
    service.on["WatchJob"] = a_watch("FAILED")
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=job(status="FAILED"))
    result = cli("watch", "j1")
    assert result.stdout.splitlines() == [
        "queued, attempt 1",
        "running, attempt 1",
        "step 5/10  loss 2.5  mine 0.25",
        "hello",
        "checkpoint at step 5, loss 2.5",
        "continues from step 0: worker lost",
        "queued, attempt 1: worker w is gone",
        "attempt 1 lost its worker; attempt 2 continues from step 0",
        "failed at step 9, attempt 1: why",
    ]
    assert result.exit_code == 8
    events = [json.loads(line) for line in cli("watch", "j1", "--json").stdout.splitlines()]
    assert [event["event"] for event in events][:3] == ["state", "state", "metrics"]
    assert (events[2]["data"]["loss"], events[2]["data"]["custom"]) == (2.5, {"mine": 0.25})


def test_a_live_view_shows_bar_curve_and_speed() -> None:
    from rich.console import Console

    from training_engine.cli.watch import View, _render
    from training_engine.records import EventKind, JobEvent, JobRecord, JobStatus, MetricPoint

    view = View(JobRecord(job_id="j1", status=JobStatus.RUNNING, max_steps=100))
    for step in range(10, 60, 10):
        val_loss = 2.75 if step == 50 else None
        measured = MetricPoint(
            step,
            loss=5.0 - step / 20,
            val_loss=val_loss,
            val_bits_per_byte=val_loss and 3.9674,
            steps_per_second=2.0,
            lr=0.001,
        )
        view.take(JobEvent(EventKind.METRICS, measured))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(_render(view, 80))
    lines = console.export_text().splitlines()
    assert lines[0].startswith("j1  running")
    assert lines[0].endswith("50/100  50%")
    assert lines[1].strip() == "loss 2.5   validation 2.75   lr 0.001"
    view.now = replace(
        view.job, phase="validating", phase_done=12, phase_total=80, eta_seconds=25.0
    )
    console.print(_render(view, 80))
    line = console.export_text().splitlines()[1]
    assert line.strip() == "loss 2.5   validation 2.75   lr 0.001   validating 12/80   ETA 25 s"
    view.now = replace(view.job, phase="reading", phase_done=1 << 20, phase_total=1 << 22)
    console.print(_render(view, 80))
    first, second, *_ = console.export_text().splitlines()
    assert (first.split()[0], first.split()[-1]) == ("j1", "25%")
    assert second.strip().endswith("reading 1.0 MiB of 4.0 MiB")
    assert lines[2].strip() == "bits per byte 3.967"
    assert lines[3].split()[0] == "4.5"
    assert lines[10].split()[0] == "2.5"
    own = {"mine": 0.5, "other": None}
    for measured in (MetricPoint(60, custom=own), MetricPoint(70, loss=1.0)):
        view.take(JobEvent(EventKind.METRICS, measured))
    console.print(_render(view, 80))
    assert (
        console.export_text().splitlines()[2].split("   ", 1)[1].rstrip()
        == "mine 0.5   other not finite"
    )


def test_a_resumed_job_is_watched_from_its_new_attempt_on() -> None:
    from training_engine.cli.watch import View
    from training_engine.records import EventKind, JobEvent, JobRecord, JobStatus, MetricPoint

    view = View(JobRecord(job_id="j1", status=JobStatus.RUNNING), first_attempt=2)
    for attempt, said in ((1, None), (2, "step 7  loss 1")):
        measured = MetricPoint(7, loss=1.0, attempt=attempt)
        assert view.take(JobEvent(EventKind.METRICS, measured)) == said
    assert len(view.points) == 2  # the curve has both


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


def test_an_empty_data_path_is_not_the_current_folder(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text('dataset_path: ""\nmax_steps: 5\n')
    for flag in ("--dataset", "--val-dataset"):
        refused = cli("start", "c.yaml", flag, "")
        assert refused.exit_code == 2
        assert f"{flag} is empty; name a file" in refused.stderr
    assert service.asked("StartJob") == []
    assert cli("start", "c.yaml").exit_code == 0
    (request,) = service.asked("StartJob")
    assert request.config_document == 'dataset_path: ""\nmax_steps: 5\n'


def test_a_start_without_data_names_the_flag(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text("max_steps: 5\n")
    problem = {"dataset_path": "`dataset_path` is missing"}
    service.on["StartJob"] = lambda request, context: refuse(
        context, code_pb2.INVALID_ARGUMENT, "INVALID_CONFIG", "invalid", problem
    )
    result = cli("start", "c.yaml")
    assert result.exit_code == 6
    assert "  name the data with --dataset PATH\n" in result.stderr
    assert "--dataset PATH" not in cli("start", "c.yaml", "--dataset", "x").stderr


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_document_is_called_empty(
    service: ScriptedService, cli: Cli, tmp_path: Path, text: str
) -> None:
    (tmp_path / "empty.yaml").write_text(text)
    result = cli("validate", "empty.yaml")
    assert result.exit_code == 6
    assert result.stderr == (
        "error: the configuration cannot be used: empty.yaml is empty; give a YAML or JSON "
        "document, e.g. `max_steps: 1000`\n"
    )


def test_a_list_of_nothing_says_what_was_asked_for(service: ScriptedService, cli: Cli) -> None:
    service.on["ListJobs"] = lambda request, context: job_pb2.ListJobsResponse()
    assert cli("list").stderr.startswith("no jobs yet; start one")
    chosen = cli("list", "--name", "gone", "--status", "failed")
    assert chosen.stderr == "no jobs with status failed and name 'gone'\n"


def test_checkpoints_and_download(service: ScriptedService, cli: Cli, tmp_path: Path) -> None:
    file = CheckpointFile()
    service.on["ListCheckpoints"] = lambda request, context: checkpoint_pb2.ListCheckpointsResponse(
        checkpoints=[file.record(loss=2.5, is_best=True)]
    )
    service.on["GetCheckpoint"] = file.get
    service.on["DownloadCheckpoint"] = file.download
    assert cli("checkpoints", "j1").stdout.splitlines()[1].split() == [
        "ckpt_1",
        "7",
        "2.5",
        "1000",
        "B",
        "*",
    ]
    result = cli("download", "ckpt_1", "-o", "model.pt")
    assert result.stdout == "downloaded and verified model.pt\n"
    assert (tmp_path / "model.pt").read_bytes() == file.data
    plain = json.loads(cli("download", "ckpt_1", "--json").stdout)
    assert plain == {"checkpoint_id": "ckpt_1", "path": f"{tmp_path}/checkpoint_step_7.pt"}


def test_generate(service: ScriptedService, cli: Cli) -> None:
    service.on["Generate"] = lambda request, context: iter(
        [
            generation_pb2.GenerateResponse(token_id=7, text=" or"),
            generation_pb2.GenerateResponse(token_id=8, text=" not"),
            generation_pb2.GenerateResponse(token_id=0, finish_reason="FINISH_REASON_STOP"),
        ]
    )
    assert cli("generate", "ckpt_1", "--prompt", "To be", "--seed", "3").stdout == "To be or not\n"
    assert json.loads(cli("generate", "ckpt_1", "--prompt", "To be", "--json").stdout) == {
        "checkpoint_id": "ckpt_1",
        "prompt": "To be",
        "text": " or not",
        "token_ids": [7, 8, 0],
        "finish_reason": "stop",
        "prompt_tokens": None,
        "dropped_prompt_tokens": None,
        "samples": [
            {
                "text": " or not",
                "token_ids": [7, 8, 0],
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
    }
    assert service.asked("Generate")[0].seed == 3


def test_generate_shows_every_sample_and_says_what_the_model_did_not_see(
    service: ScriptedService, cli: Cli
) -> None:
    token = generation_pb2.TokenLogprob(token_id=7, text=" or", logprob=-0.25)
    said = {"logprob": -0.25, "token_text": " or", "top_logprobs": [token]}
    service.on["Generate"] = lambda request, context: iter(
        generation_pb2.GenerateResponse(
            token_id=7, text=text, sample=sample, prompt_tokens=9, dropped_prompt_tokens=4,
            finish_reason="FINISH_REASON_STOP", **said,
        )
        for sample, text in enumerate([" or", " not"])
    )  # fmt: skip
    options = (
        "-n", "2", "--stop", "x", "--stop", "y", "--stop-token-id", "3", "--min-p", "0.1",
        "--repetition-penalty", "1.5",
    )  # fmt: skip
    done = cli("generate", "ckpt_1", "--prompt", "To", *options)
    assert done.stdout == "To or\n\nTo not\n"
    assert "the prompt has 9 tokens; the model sees the last 5" in done.stderr
    (request,) = service.asked("Generate")
    assert ([*request.stop], [*request.stop_token_ids]) == (["x", "y"], [3])
    assert (request.num_samples, request.min_p, request.repetition_penalty) == (2, 0.1, 1.5)
    whole = json.loads(cli("generate", "ckpt_1", "-n", "2", "--logprobs", "1", "--json").stdout)
    top = {"token_id": 7, "text": " or", "logprob": -0.25}
    assert [each["text"] for each in whole["samples"]] == [" or", " not"]
    assert whole["samples"][1]["logprobs"] == [{**top, "top_logprobs": [top]}]
    assert (whole["text"], whole["dropped_prompt_tokens"]) == (" or", 4)
    refused = cli("generate", "ckpt_1", "--logprobs", "1")
    assert "--logprobs is shown with --json alone" in refused.stderr


def test_validate_lists_every_problem(service: ScriptedService, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("batch_size: 0\n")
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse(
        valid=False,
        errors=[{"field": "batch_size", "message": "is 0"}, {"field": "x", "message": "unknown"}],
        num_parameters=124_439_808,
    )
    result = cli("validate", "bad.yaml")
    assert result.exit_code == 6
    assert result.stdout.splitlines()[:2] == ["error: batch_size: is 0", "error: x: unknown"]
    assert "124,439,808" in result.stdout


def test_validate_takes_what_start_takes(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse(
        valid=True
    )
    (tmp_path / "good.yaml").write_text("batch_size: 2\n")
    result = cli(
        *("validate", "good.yaml", "--set", "model_config.num_layers=3"),
        *("--dataset", "text.txt", "--val-dataset", "dataset://ds_1"),
    )
    assert result.exit_code == 0
    (asked,) = service.asked("ValidateConfig")
    assert json.loads(asked.config_document) == {
        "batch_size": 2,
        "model_config": {"num_layers": 3},
    }
    assert asked.dataset_path == str(tmp_path / "text.txt")
    assert asked.val_dataset_path == "dataset://ds_1"
    assert cli("validate", "good.yaml", "--dataset", " ").exit_code == 2


def test_inspect_shows_what_training_would_learn(
    service: ScriptedService, cli: Cli, tmp_path: Path
) -> None:
    file = {"path": "/d/a.jsonl", "use": "train", "form": "json lines", "size_bytes": 2048}
    window = {"tokens": 9, "segments": [{"text": "2+2?"}, {"text": "4", "trained": True}]}
    service.on["InspectDataset"] = lambda request, context: dataset_pb2.InspectDatasetResponse(
        files=[
            {**file, "documents": 5, "tokens": 70},
            {"path": "/d/README.md", "use": "skipped", "reason": "a card"},
        ],
        documents=5, duplicate_documents=1, characters=60, tokens=74, estimated_tokens=7400,
        lengths=[{"tokens_from": 8, "documents": 4}, {"tokens_from": 16, "documents": 1}],
        tokenizer="byte", vocabulary_used=30, epochs=12.5, windows=[window],
        warnings=[{"field": "dataset_path", "message": "copies"}],
    )  # fmt: skip
    result = cli("inspect", "d", "--set", "sequence_length=8")
    assert result.exit_code == 0
    (asked,) = service.asked("InspectDataset")
    assert asked.dataset_path == str(tmp_path / "d")
    assert json.loads(asked.config_document) == {"sequence_length": 8}
    lines = result.stdout.splitlines()
    assert lines[0] == "warning: dataset_path: copies"
    assert "/d/a.jsonl (5 documents, 70 tokens, the beginning alone)" in lines[1]
    assert "/d/README.md: a card" in lines[2]
    assert "about 7,400 tokens in all" in lines
    assert "max_steps goes through the data 12.5 times" in lines
    assert lines[-1] == "window 1, 9 tokens: '[[2+2?]]4'"
    found = json.loads(cli("inspect", "d", "--json").stdout)
    assert found["windows"][0]["segments"][1] == {"text": "4", "trained": True}
    service.on["InspectDataset"] = lambda request, context: dataset_pb2.InspectDatasetResponse(
        problems=[{"field": "dataset_path", "message": "is empty"}]
    )
    assert cli("inspect", "d").exit_code == 6


def test_a_configuration_comes_from_the_standard_input(service: ScriptedService, cli: Cli) -> None:
    service.on["ValidateConfig"] = lambda request, context: config_pb2.ValidateConfigResponse(
        valid=True
    )
    assert cli("validate", "-", stdin="max_steps: 3").exit_code == 0
    (asked,) = service.asked("ValidateConfig")
    assert asked.config_document == "max_steps: 3\n"
    for wrong, said in (("", "is empty"), (b"\xff", "is not text in UTF-8")):
        result = cli("validate", "-", stdin=wrong)
        assert (result.exit_code, f"the standard input {said}" in result.stderr) == (6, True)
    assert "give one with --name" in cli("configs", "create", "-", stdin="max_steps: 3").stderr


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


def test_a_curve_spans_its_values_and_keeps_spikes() -> None:
    assert draw([], 40, 4) == []
    assert draw([1.0], 20, 1) == ["       1 ⠁"]
    assert draw([4.0, 1.0], 13, 2) == ["       4 ⠑⢄", "       1 ⠀⠀⠑⢄"]
    spiky = draw([0.0] * 500 + [9.0] + [0.0] * 500, 30, 5)
    assert spiky[0].startswith("       9 ")
    assert any(ord(cell) > 0x2800 for cell in spiky[0][9:])
