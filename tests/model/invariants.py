"""What must hold in each state and of each move. Each check yields what is wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from model.actors import Actors, Bounds, Late, Move
from model.recorded_calls import MAX_RETRIES, attempt_and_step
from model.server import Step
from model.state_table import UNCHANGED, lines_for
from model.view import AT_REST, JOB_KEY, PREFIX, View

Wrong = Iterator[str]


# Of each state of the keys


def of_keys(view: View) -> Wrong:
    """All that the keys alone must fulfil."""
    if not view.record:
        yield from _of_a_job_that_is_gone(view)
        return
    yield from _of_the_lists(view)
    yield from _of_the_record(view)
    yield from _of_the_registry(view)


def _of_a_job_that_is_gone(view: View) -> Wrong:
    left = [key for key in view.keys if "request:" not in key and not key.endswith("jobs:sweep")]
    left = [key for key in left if not key.endswith("jobs:sweeping")]
    if left:
        yield f"the job is gone and left {left}"


def _of_the_lists(view: View) -> Wrong:
    states = view.indexes - {"all", "unsent", "delayed", "sweep", "sweeping"}
    if states != {view.state}:
        yield f"a job that is {view.state} is in the lists {sorted(states)}"
    if "all" not in view.indexes or f"{PREFIX}jobs:name:tiny" not in view.keys:
        yield "the job is not in the list of all, or of its name"
    waits = [name for name in ("unsent", "delayed") if name in view.indexes]
    if view.record["enqueued_at"] and view.state == "queued":
        waits.append("sent")
    expected = 1 if view.state == "queued" else 0
    if len(waits) != expected:
        yield f"a job that is {view.state} waits in {waits}"


def _of_the_record(view: View) -> Wrong:
    record, state = view.record, view.state
    whether = {
        "claim_id": view.is_held or (state in AT_REST and bool(record["claim_id"])),
        "running_since": view.is_held,
        "completed_at": state in AT_REST,
        "stop_requested_at": state == "stopping",
        "stop_deadline": state == "stopping",
    }
    for name, is_set in whether.items():
        if bool(record[name]) != is_set:
            yield f"a job that is {state} has {name} {record[name]!r}"
    if view.is_held:
        entry = view.attempts.get(view.attempt)
        if not entry or entry.claim != record["claim_id"] or entry.has_ended:
            yield f"claim {record['claim_id']} holds the job, and its attempt is {entry}"
    if any(n > view.attempt for n in view.attempts):
        yield f"there are attempts beyond the current one: {view.attempts}"
    if state == "queued" and record["error"]:
        yield "a job that waits shows an error"
    if int(record["consecutive_failures"]) > MAX_RETRIES + (state == "failed"):
        yield f"{record['consecutive_failures']} failures in a row, and the job is {state}"


def _of_the_registry(view: View) -> Wrong:
    data = set(view.keys.get(f"{JOB_KEY}:checkpoint_data", [])[::2])
    steps = list(view.registered.values())
    if len(set(steps)) != len(steps):
        yield f"two checkpoints are registered at one step: {steps}"
    if data != {*view.registered, *view.retired} or set(view.registered) & set(view.retired):
        yield f"registered {view.registered}, retired {view.retired}, records of {sorted(data)}"
    items = {key.split(":")[-1] for key in view.keys if key.startswith(f"{PREFIX}checkpoint:")}
    if items != set(view.registered):
        yield f"{sorted(items)} are found by their ids, {sorted(view.registered)} are registered"
    scored = view.keys.get(f"{JOB_KEY}:checkpoint_scores", [])[::2]
    best = scored[0] if scored else ""
    if view.record["best_checkpoint_id"] != best or not set(scored) <= set(view.registered):
        yield f"the best checkpoint is {view.record['best_checkpoint_id']!r}, not {best!r}"
    where = view.attempts.get(view.attempt)
    if view.state == "queued" and where and where.start not in (0, view.newest_step):
        yield f"the job waits to continue after step {where.start}, which has no checkpoint"


# Of what readers see


def of_readers(view: View, reply: Any) -> Wrong:
    """Each step once, in order, without a hole; the newest values are those of the last one."""
    seen = _steps_of(reply)
    if seen != list(range(1, len(seen) + 1)):
        yield f"readers see the steps {seen}"
    if view.record["visible_step"] != str(len(seen)):
        yield f"visible_step is {view.record['visible_step']}, readers see {seen}"
    latest = view.keys.get(f"{JOB_KEY}:latest", [])
    held = [step for n, steps in view.points.items() for step in steps if step <= view.end_of(n)]
    if latest or (seen and seen[-1] in held):
        packed = latest[1].encode("latin-1") if latest else struct.pack("<dd", -1, 0)
        if struct.unpack("<dd", packed) != (len(seen), 1 / max(1, len(seen))):
            yield f"the latest values are {struct.unpack('<dd', packed)} and readers see {seen}"


def _steps_of(reply: Any) -> list[int]:
    _, _, packed, files, _ = reply
    entry = struct.Struct("<dHHdd")
    raw = [(attempt, int(step)) for step, attempt, *_ in entry.iter_unpack(packed)]
    archived = []
    for attempt, first, last, stored in files:
        steps = range(int(first), int(last) + 1)
        if json.loads(stored)["first_step"] in steps:
            archived.append((int(attempt), json.loads(stored)["first_step"]))
    return [step for _, step in sorted(archived + raw)]


# Of a state with its actors


def of_files(view: View, actors: Actors, bounds: Bounds) -> Wrong:
    """What is registered has its file; what nothing refers to will be looked for."""
    registered = {attempt_and_step(id) for id in view.registered}
    if not registered <= actors.files:
        yield f"registered checkpoints without files: {sorted(registered - actors.files)}"
    if view.is_held:
        return
    # Files of a job that has succeeded may go: it is only extended by a person, who has deleted its
    # last checkpoint before.
    needed = {file for file in actors.files if view.may_begin_with(file)}
    needed = set() if view.state == "succeeded" else needed
    if needed & (actors.sweep or set()):
        yield f"the next attempt may begin with {sorted(needed)}, and a sweep deletes that"
    if not bounds.has_sweeps or view.state == "queued":
        return
    kept = {file for file in actors.files if file[0] == view.last_claimed}
    garbage = actors.files - registered - (set() if view.state == "succeeded" else kept)
    if garbage and not view.indexes & {"sweep", "sweeping"}:
        yield f"nothing will ever delete the files {sorted(garbage)}"


# Of each move


def of_move(before: View, move: Move, step: Step, after: View) -> Wrong:
    """What a call may do; the labels that it covers are those of `labels_of`."""
    if step.again:
        yield f"its repetition changes something: {step.again}"
    if move.is_usual and step.verdict != "ok":
        yield f"what happens by itself was answered {step.verdict}"
    if step.verdict not in ("ok", "none") and before.keys != after.keys:
        yield f"it was answered {step.verdict} and changed {changed_keys(before, after)}"
    if move.line:
        if not labels_of(before, move, step, after):
            said = f"{step.verdict}, then {after.state}, attempt {after.attempt}"
            yield f"{move.line} of a job that is {before.state}: {said}; no line of the table"
    elif (before.state, before.attempt) != (after.state, after.attempt):
        yield f"the job went from {before.state} to {after.state}"
    yield from _of_events(before, step, after)
    if before.record and after.record:
        yield from _of_counts(before, move, after)


def labels_of(before: View, move: Move, step: Step, after: View) -> list[str]:
    """The lines of the state table that describe what happened."""
    labels = []
    for line in lines_for(before.state, move.line):
        if line.then in UNCHANGED:  # "no change" is for late calls
            fits = step.verdict == line.then and before.keys == after.keys
        else:
            expected = before.attempt + (1 if line.is_next_attempt or line.states == ("–",) else 0)
            fits = after.state == line.then and (after.attempt == expected or after.state == "gone")
        if fits:
            labels.append(line.label)
    return labels


def of_late_call(view: View, late: Late, verdict: str) -> Wrong:
    """What a call may be answered that changes nothing."""
    if verdict.startswith("error") or late.expected not in ("", verdict):
        yield f"a late call, {late.call}: {verdict}"
    if late.line and not labels_of_late_call(view, late, verdict) and view.record:
        yield f"{late.line} of a job that is {view.state}: {verdict}; no line of the table"


def labels_of_late_call(view: View, late: Late, verdict: str) -> list[str]:
    """The lines of the state table that describe it."""
    return [
        line.label
        for line in lines_for(view.state, late.line)
        if line.then in UNCHANGED and (verdict == "refused") == (line.then == "refused")
    ]


def changed_keys(before: View, after: View) -> list[str]:
    """The keys that differ."""
    keys = sorted({*before.keys, *after.keys})
    return [key for key in keys if before.keys.get(key) != after.keys.get(key)]


def _of_events(before: View, step: Step, after: View) -> Wrong:
    moved = (before.state, before.attempt) != (after.state, after.attempt)
    states = [json.loads(data) for kind, data in _events(step) if kind == "state"]
    if moved and after.record:
        told = [(event["status"], event["attempt"]) for event in states]
        if told != [(after.state, after.record["attempt"])]:
            yield f"watchers hear of {told}, the job is {after.state}, attempt {after.attempt}"
    elif states:
        yield f"watchers hear of {states}, and the state has not changed"
    cut = [int(json.loads(data)["to_step"]) for kind, data in _events(step) if kind == "rewound"]
    if before.record and after.record:
        ends = [int(view.record["visible_step"]) for view in (before, after)]
        if cut != ([ends[1]] if ends[1] < ends[0] else []):
            yield f"watchers hear of cuts to {cut}; they saw up to {ends[0]}, now {ends[1]}"
    saved = [kind for kind, _ in _events(step) if kind == "checkpoint"]
    if len(saved) != len(set(after.registered) - set(before.registered)) and after.record:
        yield f"watchers hear of {len(saved)} checkpoints; now registered: {after.registered}"


def _events(step: Step) -> list[tuple[str, str]]:
    return list(zip(step.events[::2], step.events[1::2], strict=True))


def _of_counts(before: View, move: Move, after: View) -> Wrong:
    failed = int(before.record["consecutive_failures"])
    is_fresh = before.record["fresh_checkpoint"] == "1"
    new = set(after.registered) - set(before.registered)
    if move.line in ("lost", "crashed") and after.state in ("queued", "failed"):
        failed += 0 if is_fresh else 1
    elif move.line == "resume" or new:
        failed = 0
    if int(after.record["consecutive_failures"]) != failed:
        yield f"consecutive_failures is {after.record['consecutive_failures']}, not {failed}"
    fresh = "1" if new and move.line != "claim" else before.record["fresh_checkpoint"]
    if move.line == "claim" and after.is_held:
        fresh = "0"
    if after.record["fresh_checkpoint"] != fresh:
        yield f"fresh_checkpoint is {after.record['fresh_checkpoint']!r}, not {fresh!r}"
    if (
        move.name.endswith("disk full")
        and after.state == "queued"
        and "delayed" not in after.indexes
    ):
        yield "a retry after a full disk does not wait"
    if move.line == "claim" and after.is_held:
        yield from _of_a_claim(before, move, after)


def _of_a_claim(before: View, move: Move, after: View) -> Wrong:
    start, newest = after.start, after.newest_step
    record = after.record
    if start != newest or record["current_step"] != str(start):
        yield f"the attempt begins after {start}, its newest checkpoint is at {newest}"
    if record["resumed_from_step"] != (str(start) if start else ""):
        yield f"resumed_from_step is {record['resumed_from_step']!r}, the start {start}"
    found = attempt_and_step(move.call[7]) if move.call and move.call[7:] else (0, 0)
    expected = found[1] if before.may_begin_with(found) else before.newest_step
    if start != expected:
        yield f"the attempt begins after {start} and not after {expected}; found was {found}"
