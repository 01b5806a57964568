"""A sweep comes back as it was acknowledged: what was decided, its children, its requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lost_service import DOCUMENT, LostService

from job_store.errors import RequestIdReusedError, TransitionRefusedError
from job_store.records import NewJob, Request, SweepStatus

START, STOP, RESUME = (Request(name, name) for name in ("start", "stop", "resume"))
RUNNING, STOPPED = SweepStatus.RUNNING, SweepStatus.STOPPED


async def test_a_sweep_comes_back_with_its_children_and_its_requests(
    service: LostService,
) -> None:
    sweeps, jobs = service.sweeps, service.jobs
    sweep_id = (await sweeps.create("rates", "{}", START)).sweep_id
    child = NewJob(DOCUMENT, 100, "/data/text", name="rates/2", sweep_id=sweep_id, sweep_child=2)
    job = await jobs.create(replace(child, sweep_values='{"seed": 2}', stop_at_step=50))
    await service.start("in no sweep")
    await sweeps.decide(sweep_id, [{"scores": {"2": 0.5}, "kept": [2]}], is_last=False)
    await sweeps.move(sweep_id, "stop", STOPPED, [RUNNING], request=STOP)
    before = await sweeps.move(sweep_id, "resume", RUNNING, [STOPPED], request=RESUME)
    gone = (await sweeps.create("gone", "{}")).sweep_id
    await sweeps.delete(gone)
    service.lose_redis()

    found = service.finding(sweep_id)

    assert (found.kind, found.name, found.state) == ("sweep", "rates", "recovered")
    assert await sweeps.get(sweep_id) == before
    assert await sweeps.open() == [sweep_id]
    assert await sweeps.children(sweep_id) == {2: job.job_id}
    recovered = await jobs.get(job.job_id)
    assert (recovered.sweep_values, recovered.stop_at_step) == ('{"seed": 2}', 50)
    assert (await jobs.create(child)).job_id == job.job_id
    assert (await sweeps.create("rates", "{}", START)).sweep_id == sweep_id
    assert service.worker.command("KEYS", "te:sweep*:children") == [
        f"te:sweep:{sweep_id}:children".encode()
    ]
    for action, request in (("stop", STOP), ("resume", RESUME)):
        again = await sweeps.move(sweep_id, action, STOPPED, [STOPPED], request=request)
        assert again.status is RUNNING
    with pytest.raises(TransitionRefusedError):
        await sweeps.move(sweep_id, "resume", RUNNING, [STOPPED])
    with pytest.raises(RequestIdReusedError):
        await sweeps.create("rates", "{}", Request("start", "another body"))
