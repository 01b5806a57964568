"""`watch`: lines where it is piped, and a live view."""

from __future__ import annotations

import io
import itertools
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from command_line import Cli, a_watch
from scripted_service import (
    ScriptedService,
    job,
    job_pb2,
    metrics_pb2,
)

from training_engine.cli.curve import draw


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
        "alert: loss is 2.5 at step 5, above 2",
        "continues from step 0: worker lost",
        "queued, attempt 1: worker w is gone",
        "attempt 1 lost its worker; attempt 2 continues from step 0",
        "failed at step 9, attempt 1: why",
    ]
    assert result.exit_code == 8
    events = [json.loads(line) for line in cli("watch", "j1", "--json").stdout.splitlines()]
    assert [event["event"] for event in events][:3] == ["state", "state", "metrics"]
    assert (events[2]["data"]["loss"], events[2]["data"]["custom"]) == (2.5, {"mine": 0.25})


def test_watch_says_what_the_model_makes_of_its_first_prompt(
    service: ScriptedService, cli: Cli
) -> None:
    asked = []

    def watch(request: Any, context: Any) -> Any:
        answer = job_pb2.WatchJobResponse
        for step in (2, 4, 5):  # the job had done two when it was first looked at
            values = {"loss": 1.0} if step == 5 else {"loss": 1.0, "val_loss": 2.0}
            point = metrics_pb2.MetricPoint(step=step, attempt=1, **values)
            yield answer(cursor=str(step), metrics=point)
        yield answer(cursor="6", state=job(status="SUCCEEDED", current_step=5))

    def samples(request: Any, context: Any) -> Any:
        asked.append((request.from_step, request.to_step))
        texts = [{"prompt": "To be", "text": " or\n" + "not " * 20}, {"prompt": "b", "text": "c"}]
        step = metrics_pb2.SampledStep(step=request.from_step, samples=texts)
        return metrics_pb2.ListSamplesResponse(steps=[step])

    one = job(status="SUCCEEDED", current_step=2, config={"sample_prompts": ["To be", "b"]})
    service.on["GetJob"] = lambda request, context: job_pb2.GetJobResponse(job=one)
    service.on["WatchJob"], service.on["ListSamples"] = watch, samples
    text = " or\\n" + "not " * 14 + "…"
    assert cli("watch", "j1").stdout.splitlines() == [
        "step 2/10  loss 1  val_loss 2",
        "step 4/10  loss 1  val_loss 2",
        f"sample at step 4: 'To be' → '{text}', and 1 more",
        "step 5/10  loss 1",
        "succeeded at step 5, attempt 1",
    ]
    assert asked == [(4, 4)]


def test_a_piped_watch_says_what_goes_on_without_events(
    service: ScriptedService, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training_engine.cli.watch._PHASE_LINE_SECONDS", 0.01)
    looks, shown, ended = itertools.count(), threading.Event(), threading.Event()

    def get(request: Any, context: Any) -> Any:
        if next(looks) == 8:  # each look before was printed, or had nothing new
            shown.set()
        phase = job_pb2.JOB_PHASE_TOKENIZING
        now = job(status="RUNNING", phase=phase, phase_done=1 << 20, phase_total=1 << 21)
        return job_pb2.GetJobResponse(job=job(status="FAILED") if ended.is_set() else now)

    def watch(request: Any, context: Any) -> Any:
        *events, last = a_watch("FAILED")(request, context)
        yield from events[:2]
        assert shown.wait(30)
        ended.set()
        yield last

    service.on["GetJob"], service.on["WatchJob"] = get, watch
    lines = cli("watch", "j1").stdout.splitlines()
    assert lines.count("tokenizing 1.0 MiB of 2.0 MiB") == 1
    assert lines[-1].startswith("failed")


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


def test_a_curve_spans_its_values_and_keeps_spikes() -> None:
    assert draw([], 40, 4) == []
    assert draw([1.0], 20, 1) == ["       1 ⠁"]
    assert draw([4.0, 1.0], 13, 2) == ["       4 ⠑⢄", "       1 ⠀⠀⠑⢄"]
    spiky = draw([0.0] * 500 + [9.0] + [0.0] * 500, 30, 5)
    assert spiky[0].startswith("       9 ")
    assert any(ord(cell) > 0x2800 for cell in spiky[0][9:])
