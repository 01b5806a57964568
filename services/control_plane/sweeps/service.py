"""SweepService: starts, shows, stops, resumes and deletes sweeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.training.config import ConfigError, FieldProblem, TrainingConfig
from app.training.document import parse_document
from control_plane.config_reading import require_short
from control_plane.execution import execution_problems
from control_plane.paging import page_size
from control_plane.planning import plan_run
from control_plane.requests import check_name, idempotency
from control_plane.rpc_errors import RpcError
from control_plane.state import Context, Servicer
from control_plane.sweeps.children import Child, children_of
from control_plane.sweeps.document import SweepPlan, of_child, read_plan
from control_plane.sweeps.driver import SweepDriver, child_request, resume_child, rungs_of
from control_plane.sweeps.messages import summary_message, sweep_message
from job_store.errors import NotFoundError, TransitionRefusedError
from job_store.records import SweepRecord, SweepStatus
from training_engine.v1 import sweep_pb2, sweep_pb2_grpc

_LONGEST_NAME = 150


class SweepServicer(Servicer, sweep_pb2_grpc.SweepServiceServicer):
    """See `sweep.proto` for what each method promises."""

    async def StartSweep(
        self, request: sweep_pb2.StartSweepRequest, context: Context
    ) -> sweep_pb2.StartSweepResponse:
        idempotency_key = idempotency(request, "StartSweep")
        record = await self._state.sweeps.answered(idempotency_key)
        if record is None:
            asked = _asked(request)
            plan = await self._plan(asked)
            name = check_name(str(asked.get("name") or ""), longest=_LONGEST_NAME)
            await self._state.journal.require()
            document = plan.to_document()
            record = await self._state.sweeps.create(name, document, idempotency_key)
        return sweep_pb2.StartSweepResponse(sweep=await self._whole(record))

    async def _plan(self, asked: dict[str, Any]) -> SweepPlan:
        """Return the plan of a sweep each of whose children could be started now."""
        plan = read_plan(asked, await self._config(asked))
        request = child_request(plan, "")
        if problems := execution_problems(request.execution, TrainingConfig()):
            raise ConfigError(problems)
        for number in plan.numbers:
            config = TrainingConfig.from_dict(plan.config_of(number))
            try:
                await plan_run(request, config, self._state, compared_by=plan.metric)
            except ConfigError as error:
                raise ConfigError(
                    [of_child(plan, number, each) for each in error.problems]
                ) from None
            except RpcError as error:
                error.violations = [of_child(plan, number, each) for each in error.violations]
                raise
        return plan

    async def _config(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration that a sweep is over."""
        given, config_id = asked.get("config"), asked.get("config_id")
        if (given is None) == (config_id is None):
            text = "a sweep is over one configuration; give either `config` or `config_id`"
            raise ConfigError([FieldProblem("config", text)])
        if config_id is not None:
            return dict(json.loads((await self._state.configs.get(str(config_id))).document))
        if not isinstance(given, Mapping):
            text = "`config` must be a mapping of keys to values (SDK and command line read a file)"
            raise ConfigError([FieldProblem("config", text)])
        return dict(given)

    async def GetSweep(
        self, request: sweep_pb2.GetSweepRequest, context: Context
    ) -> sweep_pb2.GetSweepResponse:
        record = await self._state.sweeps.get(request.sweep_id)
        return sweep_pb2.GetSweepResponse(sweep=await self._whole(record))

    async def ListSweeps(
        self, request: sweep_pb2.ListSweepsRequest, context: Context
    ) -> sweep_pb2.ListSweepsResponse:
        page = await self._state.sweeps.list(page_size(request.page_size), request.page_token)
        sweeps = [await self._summary(record) for record in page.items]
        return sweep_pb2.ListSweepsResponse(sweeps=sweeps, next_page_token=page.next_page_token)

    async def StopSweep(
        self, request: sweep_pb2.StopSweepRequest, context: Context
    ) -> sweep_pb2.StopSweepResponse:
        record = await self._state.sweeps.move(
            request.sweep_id,
            "stop",
            SweepStatus.STOPPED,
            [SweepStatus.RUNNING],
            request=idempotency(request, "StopSweep"),
        )
        await SweepDriver(self._state).advance(record.sweep_id)
        return sweep_pb2.StopSweepResponse(sweep=await self._summary(record))

    async def ResumeSweep(
        self, request: sweep_pb2.ResumeSweepRequest, context: Context
    ) -> sweep_pb2.ResumeSweepResponse:
        idempotency_key = idempotency(request, "ResumeSweep")
        if await self._state.sweeps.answered(idempotency_key) is None:
            await self._state.journal.require()
            await self._resume_failed(await self._state.sweeps.get(request.sweep_id))
        record = await self._state.sweeps.move(
            request.sweep_id,
            "resume",
            SweepStatus.RUNNING,
            [SweepStatus.STOPPED],
            request=idempotency_key,
        )
        return sweep_pb2.ResumeSweepResponse(sweep=await self._summary(record))

    async def _resume_failed(self, record: SweepRecord) -> None:
        """Queue the failed children of the present rung; the driver resumes the stopped ones."""
        if record.status is not SweepStatus.STOPPED:
            return
        plan, rungs = SweepPlan.of_document(record.document), rungs_of(record)
        members = rungs[-1].kept if rungs else plan.numbers
        children = await children_of(record.sweep_id, members, self._state)
        failed = [c for c in children.values() if c.has_failed and not c.failed_by_values]
        if failed:
            # Stopped as before, but driven: if this process dies now, a round stops the children.
            stopped = SweepStatus.STOPPED
            await self._state.sweeps.move(
                record.sweep_id, "resume", stopped, [stopped], message=record.message
            )
        for child in failed:
            await resume_child(record, child, plan.pause_of(len(rungs)), self._state)

    async def DeleteSweep(
        self, request: sweep_pb2.DeleteSweepRequest, context: Context
    ) -> sweep_pb2.DeleteSweepResponse:
        idempotency_key = idempotency(request, "DeleteSweep")
        if not await self._state.sweeps.was_deleted(idempotency_key):
            record = await self._state.sweeps.get(request.sweep_id)
            _refuse_active(record, await self._children(record))
            await self._state.sweeps.move(
                request.sweep_id,
                "delete",
                SweepStatus.DELETING,
                [SweepStatus.STOPPED, SweepStatus.SUCCEEDED, SweepStatus.DELETING],
                request=idempotency_key,
            )
        try:
            await SweepDriver(self._state).advance(request.sweep_id)
        except NotFoundError:
            pass  # all was deleted before
        return sweep_pb2.DeleteSweepResponse()

    async def _children(self, record: SweepRecord) -> dict[int, Child]:
        plan = SweepPlan.of_document(record.document)
        return await children_of(record.sweep_id, plan.numbers, self._state)

    async def _whole(self, record: SweepRecord) -> sweep_pb2.Sweep:
        return sweep_message(record, await self._children(record))

    async def _summary(self, record: SweepRecord) -> sweep_pb2.Sweep:
        return summary_message(record, await self._state.sweeps.children(record.sweep_id))


def _asked(request: sweep_pb2.StartSweepRequest) -> dict[str, Any]:
    """Return the document with what the request has beside it.

    Raises:
        ConfigError: It is no mapping, or has a key twice.
    """
    require_short(request.document, "document")
    asked, problems = parse_document(request.document)
    if problems:
        raise ConfigError(problems)
    for field in ("name", "dataset_path", "val_dataset_path"):
        if value := getattr(request, field):
            asked[field] = value
    return asked


def _refuse_active(record: SweepRecord, children: Mapping[int, Child]) -> None:
    active = [child.number for child in children.values() if child.is_active]
    if record.status is SweepStatus.RUNNING:
        raise TransitionRefusedError(record.sweep_id, record.status, "delete", "stop it first")
    if active and record.status is not SweepStatus.DELETING:
        text = f"child {active[0]} is not at rest yet; try again once it is"
        raise TransitionRefusedError(record.sweep_id, record.status, "delete", text)
