"""A job that begins with another's checkpoint, on a real worker: killed, it ends the same."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from test_worker_outage import END, declare_lost
from training_site import Site

from job_store.records import JobRecord, JobStatus

RUN: dict[str, Any] = {"max_steps": 60, "save_steps": 20, "eval_steps": 60, "model_config": {}}


def ended(site: Site, job_id: str) -> JobRecord:
    record = site.wait(job_id, *END)
    assert record.status is JobStatus.SUCCEEDED, (record.error, site.logs())
    return record


def test_a_job_begins_with_a_checkpoint_and_resumes_exactly(site: Site) -> None:
    site.worker()
    first = site.submit(max_steps=5)
    ended(site, first)
    (checkpoint,) = site.store.checkpoints(first)
    roots = (str(site.text.parent / "data"), str(site.text))
    begins = {"initial_weights": f"checkpoint://{checkpoint.checkpoint_id}", "data_roots": roots}
    by_id, by_file = site.submit(**RUN, **begins), None
    ended(site, by_id)
    site.pace.set(0.02)
    by_file = site.submit(**RUN, initial_weights=str(site.artifacts / checkpoint.artifact))
    site.wait_for(lambda: site.job(by_file).current_step > 25)
    for worker in site.workers():
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(timeout=20)
    site.pace.set(0)
    declare_lost(site, site.job(by_file))
    site.worker()
    site.send(by_file)
    assert ended(site, by_file).resumed_from_step == 20
    expected, found = site.weights(by_id), site.weights(by_file)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert [step for step, _ in site.history(by_file)] == list(range(1, 61))


def test_weights_that_are_gone_fail_the_job_with_their_name(site: Site) -> None:
    site.worker()
    record = site.wait(site.submit(**RUN, initial_weights="/nowhere/model"), *END)
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert record.error.reason == "INVALID_CONFIG"
    assert "`initial_weights` is '/nowhere/model'; there is no such file" in record.error.message
