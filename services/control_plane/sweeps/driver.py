"""Drives sweeps: starts and continues children, decides rungs, stops and deletes.

A round looks at what is stored and does what is missing, so it may be cut short, repeated, or run
by two control planes at once: a child is made once by an atomic script, an attempt is queued once,
a rung is decided once. What is decided depends on scores alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from app.training.config import ConfigError, TrainingConfig
from artifact_store import ArtifactStoreAwayError
from control_plane.job_surroundings import delete_job, enqueue
from control_plane.planning import plan_run
from control_plane.rpc_errors import RpcError
from control_plane.state import ServiceState
from control_plane.sweeps.children import Child, children_of, scores
from control_plane.sweeps.document import SweepPlan
from control_plane.sweeps.execution import execution_message
from control_plane.sweeps.rungs import Rung, decided
from job_store.errors import (
    JobStoreError,
    NotFoundError,
    StoreUnavailableError,
    TransitionRefusedError,
)
from job_store.records import JobRecord, Request, SweepRecord, SweepStatus
from service_runtime.logs import get_logger
from training_engine.v1 import job_pb2

_log = get_logger("sweeps")


@dataclass(slots=True)
class ChildRequest:
    """The request that `plan_run` gets for a child, as a client would have sent it."""

    dataset_path: str
    val_dataset_path: str
    name: str
    execution: job_pb2.Execution


def rungs_of(record: SweepRecord) -> list[Rung]:
    """Return the decided rungs."""
    return [Rung.of_plain(each) for each in json.loads(record.rungs)]


class SweepDriver:
    """Does what the open sweeps need next, again in each round."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    async def look(self) -> None:
        """Do what is missing for each open sweep.

        Raises:
            StoreUnavailableError: Redis does not answer, or refuses.
            Exception: A sweep met a defect; the others were driven all the same.
        """
        defects: list[Exception] = []
        for sweep_id in await self._state.sweeps.open():
            try:
                await self.advance(sweep_id)
            except StoreUnavailableError:
                raise
            except NotFoundError:
                await self._state.sweeps.settle(sweep_id, None)
            except (JobStoreError, ArtifactStoreAwayError) as error:
                _log.warning("a sweep waits", sweep_id=sweep_id, why=str(error))
            except Exception as error:
                _log.error("a sweep met a defect", sweep_id=sweep_id, exc_info=error)
                defects.append(error)
        if defects:
            raise defects[0]

    async def advance(self, sweep_id: str) -> None:
        """Do what is missing for one sweep.

        Raises:
            NotFoundError: There is no such sweep.
            JobStoreError: Something cannot be read or changed now.
            ArtifactStoreAwayError: No child can be started now.
        """
        record = await self._state.sweeps.get(sweep_id)
        plan = SweepPlan.of_document(record.document)
        if record.status is SweepStatus.RUNNING:
            await self._run(record, plan)
        elif record.status is SweepStatus.STOPPED:
            await self._stop(record, plan)
        elif record.status is SweepStatus.DELETING:
            await self._delete(record, plan)
        else:
            await self._state.sweeps.settle(sweep_id, record.status)

    # -- running -----------------------------------------------------------------------------

    async def _run(self, record: SweepRecord, plan: SweepPlan) -> None:
        rungs = rungs_of(record)
        while True:
            members = rungs[-1].kept if rungs else plan.numbers
            children = await children_of(record.sweep_id, members, self._state)
            pause = plan.pause_of(len(rungs))
            if not all(child.has_ended(pause) for child in children.values()):
                await self._train(record, plan, children.values(), pause)
                return
            is_last = pause is None
            found = await scores(children, plan.metric, pause, self._state)
            rung = decided(found, plan.goal, plan.factor, is_last=is_last)
            rungs.append(rung)
            is_over = is_last or not rung.kept
            stored = [each.to_plain() for each in rungs]
            why = "" if rung.kept else _no_best(plan, len(rungs))
            decide = self._state.sweeps.decide
            if not await decide(record.sweep_id, stored, is_last=is_over, message=why):
                return  # another control plane was faster, and found the same
            _log.info("a rung is decided", sweep_id=record.sweep_id, kept=rung.kept)
            if is_over:
                return

    async def _train(
        self, record: SweepRecord, plan: SweepPlan, children: Iterable[Child], pause: int | None
    ) -> None:
        """Start or continue the next children, as many as may train at the same time.

        `pause` is the step at which they wait for the decision; None where they train to the end.
        """
        waiting = [child for child in children if not child.has_ended(pause)]
        failed = next((child for child in waiting if child.has_failed), None)
        if failed is not None:
            await self._give_up(record, f"child {failed.number} failed: {_why(failed)}", failed.job)
            return
        places = plan.max_parallel - sum(child.is_active for child in waiting)
        for child in waiting:
            if places > 0 and not child.is_active:
                places -= 1
                await self._continue(record, plan, child, pause)

    async def _continue(
        self, record: SweepRecord, plan: SweepPlan, child: Child, pause: int | None
    ) -> None:
        await self._state.journal.require()
        try:
            if child.is_started:
                await resume_child(record, child, pause, self._state)
            else:
                await self._start(record, plan, child.number, pause)
        except TransitionRefusedError:
            return  # the sweep was stopped meanwhile, or another control plane was faster
        except (ConfigError, RpcError, NotFoundError) as error:
            await self._give_up(record, f"child {child.number} cannot be started: {error}")

    async def _start(
        self, record: SweepRecord, plan: SweepPlan, number: int, pause: int | None
    ) -> None:
        config = TrainingConfig.from_dict(plan.config_of(number))
        request = child_request(plan, f"{record.name or record.sweep_id}/{number}")
        new = replace(
            await plan_run(request, config, self._state),
            sweep_id=record.sweep_id,
            sweep_child=number,
            sweep_values=json.dumps(plan.children[number - 1]),
            stop_at_step=pause,
        )
        await enqueue(await self._state.jobs.create(new), self._state)

    async def _give_up(
        self, record: SweepRecord, why: str, failed: JobRecord | None = None
    ) -> None:
        """Stop the sweep: a child must lose by its values, not by a failure of another cause."""
        message = f"{why}; cure the cause and resume the sweep"
        attempt = (failed.job_id, failed.attempt) if failed else ()
        if await self._state.sweeps.give_up(record.sweep_id, message, *attempt):
            _log.warning("a sweep is stopped", sweep_id=record.sweep_id, why=message)

    # -- stopping and deleting ---------------------------------------------------------------

    async def _stop(self, record: SweepRecord, plan: SweepPlan) -> None:
        children = await children_of(record.sweep_id, plan.numbers, self._state)
        active = [child for child in children.values() if child.is_active]
        for child in active:
            try:
                await self._state.jobs.request_stop(child.job_id)
            except (TransitionRefusedError, NotFoundError):
                pass  # it has ended meanwhile
        if not active:
            await self._state.sweeps.settle(record.sweep_id, record.status)

    async def _delete(self, record: SweepRecord, plan: SweepPlan) -> None:
        children = await children_of(record.sweep_id, plan.numbers, self._state)
        for child in children.values():
            if child.job is not None:
                with suppress(NotFoundError):  # another process deletes this sweep as well
                    await delete_job(child.job_id, self._state)
        await self._state.sweeps.delete(record.sweep_id)


def child_request(plan: SweepPlan, name: str) -> ChildRequest:
    """Return the request for a child; all but the name is the same for all of a plan."""
    execution = execution_message(plan.execution)
    return ChildRequest(plan.dataset_path, plan.val_dataset_path, name, execution)


async def resume_child(
    sweep: SweepRecord, child: Child, pause: int | None, state: ServiceState
) -> None:
    """Queue the next attempt of a child that has stopped or failed; once for each of its attempts.

    `sweep`: as it was read. If it ran then, it has to run still: this process may have been frozen
    since. If it was stopped, a person resumes it, its failed children first.

    Raises:
        TransitionRefusedError: The child runs already, or the sweep does not run any more.
    """
    assert child.job is not None
    request = Request(f"{sweep.sweep_id}/{child.number}/{child.job.attempt}", f"{pause}")
    running = sweep.sweep_id if sweep.status is SweepStatus.RUNNING else ""
    record = await state.jobs.resume(
        child.job_id, stop_at_step=pause, sweep_id=running, request=request
    )
    await enqueue(record, state)


def _no_best(plan: SweepPlan, rung: int) -> str:
    where = f"rung {rung}" if plan.pauses else "the run"
    remedy = "look at the children's errors and validation data"
    return f"no child has a finite {plan.metric} at the end of {where}, so none is best; {remedy}"


def _why(child: Child) -> str:
    return child.job.error.message if child.job and child.job.error else "for an unknown reason"
