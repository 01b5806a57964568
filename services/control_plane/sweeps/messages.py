"""Sweeps as messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.conversion import timestamp
from control_plane.sweeps.children import Child
from control_plane.sweeps.document import SweepPlan
from control_plane.sweeps.driver import rungs_of
from control_plane.sweeps.importance import importance
from control_plane.sweeps.rungs import Rung, ordered, ranking
from job_store.records import SweepRecord, SweepStatus
from training_engine.v1 import sweep_pb2


def summary_message(record: SweepRecord, jobs: Mapping[int, str]) -> sweep_pb2.Sweep:
    """Return a sweep without its children; `jobs` are those that were started, by number."""
    plan, rungs = SweepPlan.of_document(record.document), rungs_of(record)
    best = ordered(rungs[-1].scores, plan.goal)[0] if rungs and rungs[-1].kept else None
    return sweep_pb2.Sweep(
        sweep_id=record.sweep_id,
        name=record.name or record.sweep_id,
        status=f"SWEEP_STATUS_{record.status.name}",
        message=record.message or None,
        method=plan.method,
        metric=plan.metric,
        goal=plan.goal,
        parameters=plan.parameters,
        num_children=len(plan.children),
        max_parallel=plan.max_parallel,
        rung_steps=plan.pauses,
        rungs_decided=len(rungs),
        best_child=best,
        best_job_id=jobs.get(best) if best is not None else None,
        created_at=timestamp(record.created_at),
    )


def sweep_message(record: SweepRecord, children: Mapping[int, Child]) -> sweep_pb2.Sweep:
    """Return a sweep with its children."""
    plan, rungs = SweepPlan.of_document(record.document), rungs_of(record)
    jobs = {each.number: each.job_id for each in children.values() if each.job}
    message = summary_message(record, jobs)
    ranks = ranking(rungs, plan.goal, is_over=record.status is SweepStatus.SUCCEEDED)
    message.children.extend(
        _child_message(child, plan.children[child.number - 1], rungs, ranks)
        for child in children.values()
    )
    if rungs:
        message.importance.extend(_importances(plan, rungs[0]))
    message.document = json.dumps(plan.asked, ensure_ascii=False)
    return message


def _child_message(
    child: Child, values: Mapping[str, Any], rungs: Sequence[Rung], ranks: Mapping[int, int]
) -> sweep_pb2.SweepChild:
    taken = [rung for rung in rungs if child.number in rung.scores]
    goes_on = bool(taken) and len(taken) == len(rungs) and child.number not in ranks
    return sweep_pb2.SweepChild(
        number=child.number,
        values={name: json.dumps(value) for name, value in values.items()},
        job_id=child.job.job_id if child.job else None,
        status=f"JOB_STATUS_{child.job.status.name}" if child.job else None,
        current_step=child.job.current_step if child.job else 0,
        rung=len(taken) + (goes_on or not rungs),
        score=taken[-1].scores[child.number] if taken else None,
        rank=ranks.get(child.number),
    )


def _importances(plan: SweepPlan, first: Rung) -> list[sweep_pb2.SweepImportance]:
    order = [n for n in ordered(first.scores, plan.goal) if first.scores[n] is not None]
    return [
        sweep_pb2.SweepImportance(
            parameter=name,
            value=importance({n: plan.children[n - 1][name] for n in order}, order),
        )
        for name in plan.parameters
    ]
