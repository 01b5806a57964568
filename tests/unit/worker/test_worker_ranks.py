"""A job in two processes: any of them may be killed, and all end with their worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from redis_server import RedisServer
from training_site import Site, comparable

from app.training.errors import LostPeerError
from job_store.records import Claimed, Execution, JobError, JobStatus, Outcome, OutcomeKind
from training_worker.board import Board
from training_worker.exits import EXIT_AWAY, EXIT_FAILED
from training_worker.failures import describe_failure
from training_worker.ranks import FailureNotes
from training_worker.set_up import attempt_folder
from training_worker.supervisor import Supervisor

END = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
TWO = Execution(processes=2)
RUN: dict[str, Any] = {"max_steps": 150, "save_steps": 30, "eval_steps": 60}
PACE_SECONDS = 0.015
"""A fast machine does not end a run at this pace before somebody gets in its way."""
LONG: dict[str, Any] = {"max_steps": 100_000, "save_steps": 20, "eval_steps": 100_000}


def ranks(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The two processes that train, by rank; empty until both have been started."""
    for horse in psutil.Process(worker.pid).children():
        found = sorted(horse.children(), key=lambda process: process.pid)
        if len(found) == 2:
            return found
    return []


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> tuple[list[tuple[Any, ...]], dict[str, torch.Tensor]]:
    site.worker()
    job_id = site.submit(TWO, **RUN)
    assert site.wait(job_id, *END).status is JobStatus.SUCCEEDED, site.logs()
    assert [c.step for c in site.store.checkpoints(job_id)][-1] == RUN["max_steps"]
    site.pace.set(PACE_SECONDS)
    return comparable(site.history(job_id)), site.weights(job_id)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_fails_the_attempt_and_the_next_resumes_exactly(
    site: Site, undisturbed: tuple[list[Any], dict[str, torch.Tensor]], victim: int
) -> None:
    worker = site.worker()
    job_id = site.submit(TWO, **RUN)
    site.wait_for(lambda: site.job(job_id).current_step >= 45)
    both = ranks(worker)
    both[victim].kill()
    site.wait_for(lambda: site.job(job_id).attempt == 2)
    psutil.wait_procs(both, timeout=10)
    assert [process for process in both if process.is_running()] == []
    # The launcher says who was killed, unless rank 0 is faster: it misses its peer and ends the
    # attempt, and the worker kills the group of an attempt that has ended.
    causes = [f"process {victim} of 2 (counted from 0) was ended by SIGKILL"]
    if victim != 0:
        causes.append("another process of the run is gone, rank 0 cannot go on")
    site.wait_for(lambda: any(cause in site.logs() for cause in causes))
    site.send(job_id)
    record = site.wait(job_id, *END)
    assert (record.status, record.attempt) == (JobStatus.SUCCEEDED, 2), site.logs()
    history, weights = undisturbed
    assert comparable(site.history(job_id)) == history
    found = site.weights(job_id)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_stop_saves_and_ends_all_processes(site: Site) -> None:
    worker = site.worker()
    job_id = site.submit(TWO, **LONG)
    site.wait_for(lambda: site.job(job_id).current_step >= 5)
    both = ranks(worker)
    site.stop(job_id)
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.STOPPED
    assert site.store.checkpoints(job_id)[-1].step == record.current_step
    psutil.wait_procs(both, timeout=10)
    assert [process for process in both if process.is_running()] == []


def test_what_one_process_cannot_cure_is_told_as_its_own_error(site: Site) -> None:
    site.worker()
    job_id = site.submit(TWO, distributed={"strategy": "fsdp", "processes": 2}, device="cuda:0")
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert record.error.reason == "INVALID_CONFIG"
    assert "`device` is 'cuda:0', one device, and the run has 2 processes" in record.error.message


def test_every_process_finds_the_sources_of_a_mixture(site: Site) -> None:
    site.worker()
    ids = site.text.with_name("ids.jsonl")
    ids.write_text(json.dumps({"input_ids": [7] * 400}))
    folder = site.text.with_name("folder")
    folder.mkdir()
    (folder / "text.txt").write_text(site.text.read_text())
    (folder / "old.txt").write_bytes(b"\xff\xfe\x00")
    sources = [{"path": str(folder), "weight": 3}, {"path": str(ids)}]
    job_id = site.submit(TWO, data={"sources": sources})
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.SUCCEEDED, site.logs()
    assert "25 % of the samples from" in record.data_summary
    assert "windows validate" in record.data_summary
    assert re.match(r"Python 3\.\d+\.\d+, torch \S+, cpu, \d+ CPU threads", record.environment)
    assert record.data_summary in site.logs()
    name = str(folder / "old.txt")
    (skipped,) = [warning for warning in record.data_warnings if "skipped" in warning]
    assert skipped == (
        f"data.sources[0].path: 1 files in {str(folder)!r} are skipped: {name!r} "
        "(not text in UTF-8 or UTF-16)"
    )
    assert skipped.partition(": ")[2] in site.logs()


def test_workers_that_do_not_come_together_are_free_again_and_the_job_waits(site: Site) -> None:
    site.worker()
    job_id = site.submit(Execution(nodes=2))
    record = site.wait_for(lambda: (now := site.job(job_id)).attempt == 2 and now)
    assert record.message == "1 of 2 workers came within 0.5 s; it waits for a pause"
    assert (record.consecutive_failures, record.error) == (0, None)
    assert site.wait(site.submit(Execution()), *END).status is JobStatus.SUCCEEDED


def test_sigterm_to_every_process_of_a_worker_hands_the_job_back_saved(site: Site) -> None:
    site.worker()
    # Many micro-batches a step: the last step still needs its loader's process.
    job_id = site.submit(TWO, **LONG, num_workers=1, gradient_accumulation_steps=8)
    site.wait_for(lambda: site.job(job_id).current_step >= 5)
    holder = next(w for w in site.workers() if ranks(w))
    children = psutil.Process(holder.pid).children(recursive=True)
    assert len(children) == 6  # witness, launcher, two ranks, a loader's process of each
    for process in (*reversed(children), holder):
        process.send_signal(signal.SIGTERM)
    holder.wait(timeout=20)
    record = site.job(job_id)
    assert (record.status, record.attempt) == (JobStatus.QUEUED, 2)
    assert site.store.checkpoints(job_id)[-1].step >= 5
    site.stop(job_id)


def test_a_killed_worker_takes_all_processes_with_it(site: Site) -> None:
    site.worker()
    job_id = site.submit(TWO, **LONG)
    site.wait_for(lambda: site.job(job_id).current_step >= 5)
    holder = next(w for w in site.workers() if ranks(w))
    both = ranks(holder)
    holder.kill()
    holder.wait(timeout=10)
    psutil.wait_procs(both, timeout=10)
    assert [process for process in both if process.is_running()] == []


def test_a_lost_process_without_a_word_is_worth_another_attempt() -> None:
    outcome = describe_failure(LostPeerError(0, 7), "")
    assert outcome.kind is OutcomeKind.CRASHED
    assert outcome.error is not None
    assert outcome.error.reason == "TRAINER_DIED"
    assert "rank 0 cannot go on after step 7; its own error says why" in outcome.error.message


def supervise(site: Site, claimed: Claimed, board: Board, trainer: int) -> None:
    """Watch a process as its worker does, up to the report of its end."""
    artifacts = site.store_of_artifacts()
    folder = attempt_folder(artifacts, claimed)
    supervisor = Supervisor(
        claimed,
        site.store,
        board,
        folder,
        artifacts,
        renewal_seconds=3.0,
        heartbeat=lambda: None,
    )
    supervisor.attach(trainer)
    supervisor.watch(trainer)
    board.close()


def test_a_failure_that_rank_0_was_too_late_to_report_is_told_all_the_same(
    own_server: RedisServer, tmp_path: Path
) -> None:
    """Rank 0 still waited for the others, or for the store, when its time to report was over."""
    site = Site(own_server.url(), tmp_path)
    job_id = site.submit(TWO, **RUN)
    claimed = site.store.claim(job_id, 1, "worker-1")
    assert claimed is not None
    artifacts = site.store_of_artifacts()
    attempt_folder(artifacts, claimed)
    message = "ConfigError: `distributed.processes` is 2 and this machine has 1 CUDA devices"
    if (pid := os.fork()) == 0:
        error = JobError("INVALID_CONFIG", message)
        FailureNotes(artifacts, claimed.token, 1).write(1, Outcome(OutcomeKind.FAILED, error))
        os._exit(EXIT_FAILED)
    supervise(site, claimed, Board(), pid)
    record = site.job(job_id)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert (record.error.reason, record.error.message) == ("INVALID_CONFIG", message)

    other_id = site.submit(TWO, **RUN)
    claimed = site.store.claim(other_id, 1, "worker-1")
    assert claimed is not None
    board = Board()
    if (pid := os.fork()) == 0:  # its store was away before it could begin
        board.show_failed_save(0, "s3://models does not answer")
        os._exit(EXIT_AWAY)
    supervise(site, claimed, board, pid)
    record = site.job(other_id)
    assert (record.status, record.attempt) == (JobStatus.QUEUED, 2)
    assert (record.consecutive_failures, record.message) == (0, "s3://models does not answer")
    site.close()
