"""What workers, control planes and people may do next, and what each of them still knows.

An actor that has died is one that does nothing more, and one that is slow acts later. So there are
few local states: whatever any actor ever knew (a message, a claim, a request) may be used by any of
them at any later time. Moves change something; `late_calls` are all others, which must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from model import recorded_calls as calls
from model.recorded_calls import FIRST_MAX_STEPS, LARGER_MAX_STEPS, MAX_RETRIES, Call, token
from model.view import AT_REST, File, View

from job_store.reconcile import Seen
from job_store.records import OutcomeKind


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the checker stops: what is unbounded in life."""

    attempts: int = 2
    """No worker is lost, and no job resumed, in the last attempt."""
    steps: int = 2
    """A job ends at this step, whatever its `max_steps`."""
    has_zombies: bool = False
    """A worker that was declared lost goes on training and saving until it is replaced."""
    has_sweeps: bool = False
    """Control planes look for files that no record refers to, and people delete checkpoints."""
    has_archive: bool = False
    """Old points move to files, hidden ones are dropped, and trainers retire checkpoints."""
    has_pauses: bool = False
    """The job is a child of a sweep, which stops at a step."""


class Actors(NamedTuple):
    """What is not in the server: the disk, and how far each actor is with what it does."""

    measured: tuple[int, ...] = ()
    """The last step in each attempt's spool; its start where it has measured none."""
    files: frozenset[File] = frozenset()
    is_confirmed: bool = False
    """Whether the current attempt's trainer has said where it begins."""
    is_dead: bool = False
    """Whether the current attempt's trainer was killed, and no other process knows it yet."""
    sweep: frozenset[File] | None = None
    """What a control plane that sweeps is about to delete; None where none sweeps."""


class Move(NamedTuple):
    """One step of one actor."""

    name: str
    call: Call | None
    """None for what changes only the disk or the actor."""
    actors: Actors
    """Afterwards, where the call is accepted."""
    line: str = ""
    """What the state table calls it."""
    is_usual: bool = False
    """Whether it happens by itself sooner or later: no person asks for it, and nothing breaks."""


def settled(actors: Actors, before: View, after: View) -> Actors:
    """The actors after a call that led from one view to the other."""
    measured = list(actors.measured)
    for attempt, entry in after.attempts.items():
        if attempt > len(measured) and entry.claim:
            measured += [0] * (attempt - 1 - len(measured)) + [entry.start]
    if before.is_held and not after.is_held:  # the next trainer has said nothing yet
        actors = actors._replace(is_confirmed=False, is_dead=False)
    if not after.keys:
        return Actors()
    return actors._replace(measured=tuple(measured))


def moves(view: View, actors: Actors, bounds: Bounds) -> Iterator[Move]:
    """What may happen next."""
    yield from _of_people(view, actors, bounds)
    if view.record:
        yield from _of_workers_that_wait(view, actors, bounds)
        yield from _of_control_planes(view, actors, bounds)
    if view.is_held and not actors.is_dead:
        yield from _of_the_trainer(view, actors, bounds)
    elif bounds.has_zombies and view.state == "queued" and not actors.is_dead:
        zombie = view.attempt - 1
        if zombie in view.attempts and view.attempt not in view.attempts:
            yield from _training(view, actors, bounds, zombie)
    if bounds.has_sweeps:
        yield from _of_the_sweeper(view, actors)


def _of_people(view: View, actors: Actors, bounds: Bounds) -> Iterator[Move]:
    if view.state == "–":
        yield Move("start", calls.start(pauses=bounds.has_pauses), actors, "start")
        return
    if view.state == "gone":
        return
    if view.state in ("queued", "running"):
        yield Move("stop", calls.stop(), actors, "stop")
    if not view.is_held:
        yield Move("delete", calls.delete(), actors, "delete")
        if bounds.has_sweeps:
            for id in view.registered:
                yield Move(f"delete checkpoint {id[-5:]}", calls.delete_checkpoint(id), actors)
    if view.state in AT_REST and view.attempt < bounds.attempts:
        yield Move("resume", calls.resume(), actors, "resume")
        # A choice of what the job would begin with anyway is left out.
        later = any(view.may_begin_with(file) for file in actors.files)
        if view.registered or later:
            yield Move("resume from the start", calls.resume(from_start=True), actors, "resume")
        for id, step in view.registered.items():
            if step < view.newest_step or later:
                yield Move(f"resume from {id[-5:]}", calls.resume(id), actors, "resume")
        if view.record["max_steps"] == str(FIRST_MAX_STEPS):
            name = f"resume for {LARGER_MAX_STEPS} steps"
            yield Move(name, calls.resume(max_steps=LARGER_MAX_STEPS), actors, "resume")


def _of_workers_that_wait(view: View, actors: Actors, bounds: Bounds) -> Iterator[Move]:
    if view.state != "queued" or view.attempt > bounds.attempts:
        return
    n = view.attempt
    is_sent = not view.indexes & {"unsent", "delayed"}
    deleted = {calls.attempt_and_step(id) for id in view.retired}
    found = [one for one in sorted(actors.files - deleted) if one[0] == view.last_claimed]
    for file in (None, *found):
        # A worker sees the newest file that it can read, or none; so each is possible.
        name = f"claim {n}" + (f", having found what {file[0]} saved at {file[1]}" if file else "")
        yield Move(name, calls.claim(n, found=file), actors, "claim", is_usual=is_sent)


def _of_control_planes(view: View, actors: Actors, bounds: Bounds) -> Iterator[Move]:
    n = view.attempt
    if "delayed" in view.indexes:
        yield Move(f"pause of {n} over", calls.release_retry(n), actors, is_usual=True)
    elif view.state == "queued":
        yield Move(f"message {n} sent", calls.mark_enqueued(n), actors, is_usual=True)
        yield Move(f"message {n} lost", calls.request_message(n), actors)
    if view.is_held and _may_be_lost(view, bounds):
        lost = calls.declare_lost(n, view.record["claim_id"])
        yield Move(f"lose {n}", lost, actors, "lost", is_usual=actors.is_dead)


def _may_be_lost(view: View, bounds: Bounds) -> bool:
    is_last = view.record["consecutive_failures"] == str(MAX_RETRIES)
    spent = is_last and view.record["fresh_checkpoint"] != "1"
    return view.state == "stopping" or spent or view.attempt < bounds.attempts


def _of_the_trainer(view: View, actors: Actors, bounds: Bounds) -> Iterator[Move]:
    n = view.attempt
    if _may_be_lost(view, bounds):
        yield Move(f"trainer {n} dies", None, actors._replace(is_dead=True))
        crash = calls.finish(token(n), OutcomeKind.CRASHED)
        yield Move(f"crashed {n}", crash, actors, "crashed")
        full = calls.finish(token(n), OutcomeKind.CRASHED, calls.DISK_FULL)
        yield Move(f"crashed {n}, disk full", full, actors, "crashed")
    if view.state == "stopping" or n < bounds.attempts:
        back = calls.finish(token(n), OutcomeKind.HANDED_BACK)
        yield Move(f"handed back {n}", back, actors, "handed_back")
    for kind in (OutcomeKind.FAILED, OutcomeKind.STOPPED):
        pauses = view.record["stop_at_step"]
        is_there = bool(pauses) and view.newest_step >= int(pauses)
        can_stop = kind is OutcomeKind.STOPPED and (view.state == "stopping" or is_there)
        end = calls.finish(token(n), kind)
        yield Move(f"{kind} {n}", end, actors, kind.value, is_usual=can_stop)
    for live in calls.signs_of_life(token(n)):
        yield Move(f"{live[0]} {n}", live, actors)
    if not actors.is_confirmed:
        yield from _confirmations(view, actors)
        return
    again = calls.confirm_start(token(n), view.start)
    yield Move(f"begin {n} again", again, actors, is_usual=True)
    yield from _training(view, actors, bounds, n)
    yield from _publishing(view, actors)
    yield from _registering(view, actors, bounds)
    if bounds.has_archive:
        yield from _archiving(view, actors)


def _confirmations(view: View, actors: Actors) -> Iterator[Move]:
    n, start = view.attempt, view.start
    damaged = {0, *view.registered.values()}
    for step in sorted(one for one in damaged | {start} if one <= start):
        measured = (*actors.measured[: n - 1], step)
        name = f"begin {n} after step {step}"
        confirmed = actors._replace(is_confirmed=True, measured=measured)
        yield Move(name, calls.confirm_start(token(n), step), confirmed, is_usual=step == start)


def _training(view: View, actors: Actors, bounds: Bounds, n: int) -> Iterator[Move]:
    step = actors.measured[n - 1]
    if step < bounds.steps:
        measured = (*actors.measured[: n - 1], step + 1)
        name = f"attempt {n} trains step {step + 1}"
        yield Move(name, None, actors._replace(measured=measured), is_usual=True)
    is_new = step > view.attempts[n].start or step == bounds.steps
    if step > 0 and is_new and (n, step) not in actors.files:
        files = actors.files | {(n, step)}
        yield Move(f"attempt {n} saves step {step}", None, actors._replace(files=files), "", True)


def _publishing(view: View, actors: Actors) -> Iterator[Move]:
    n = view.attempt
    lacking = [
        m
        for m, entry in view.attempts.items()
        if m < n and entry.claim and view.lacks(m, actors.measured[m - 1])
    ]
    for m in lacking[:1]:  # the oldest first, so that readers see no hole meanwhile
        first, last = view.attempts[m].start + 1, actors.measured[m - 1]
        name = f"{n} publishes what {m} did not"
        yield Move(name, calls.publish(token(n), first, last, m), actors, is_usual=True)
    if not lacking and view.lacks(n, actors.measured[n - 1]):
        first, last = view.start + 1, actors.measured[n - 1]
        yield Move(f"publish {n}", calls.publish(token(n), first, last), actors, is_usual=True)


def _registering(view: View, actors: Actors, bounds: Bounds) -> Iterator[Move]:
    n = view.attempt
    known = {*view.registered, *view.retired}
    mine = [step for m, step in sorted(actors.files) if m == n]
    for step in [step for step in mine if calls.checkpoint_id(n, step) not in known][:1]:
        if step <= view.published_of(n):  # in the order of steps, as a trainer saves them
            register = calls.register(token(n), n, step)
            yield Move(f"register {n} at {step}", register, actors, is_usual=True)
    if view.newest_step == actors.measured[n - 1] == bounds.steps:
        done = calls.finish(token(n), OutcomeKind.SUCCEEDED)
        yield Move(f"succeeded {n}", done, actors, "succeeded", is_usual=True)


def _archiving(view: View, actors: Actors) -> Iterator[Move]:
    n = view.attempt
    for m, steps in view.points.items():
        if steps and steps[0] <= view.end_of(m):
            archive = calls.archive(token(n), m, steps[0])
            yield Move(f"archive step {steps[0]} of {m}", archive, actors)
        elif steps:
            yield Move("drop hidden points", calls.drop_hidden_points(token(n)), actors)
    oldest = next(iter(view.registered), "")
    if len(view.registered) > 1:
        yield Move(f"retire {oldest[-5:]}", calls.unregister(token(n), oldest), actors)


def _of_the_sweeper(view: View, actors: Actors) -> Iterator[Move]:
    if "sweep" in view.indexes:
        yield Move("a sweep is due", calls.due_sweeps(), actors)
    if "sweeping" not in view.indexes:
        return
    for id in view.retired:
        file = calls.attempt_and_step(id)
        if file in actors.files:
            rest = actors._replace(files=actors.files - {file})
            yield Move(f"delete the file of retired {id[-5:]}", None, rest)
        else:
            yield Move(f"forget {id[-5:]}", calls.forget_checkpoint(id), actors)
    if actors.sweep is None and not view.retired:
        yield Move("look for files", None, actors._replace(sweep=_superfluous(view, actors)))
    elif actors.sweep is not None:
        rest = actors._replace(files=actors.files - actors.sweep, sweep=None)
        yield Move("delete what nothing refers to", None, rest)


def _superfluous(view: View, actors: Actors) -> frozenset[File]:
    """As `control_plane.leftovers` has it: files of attempts that are over, without a record."""
    if view.state == "gone":
        return actors.files
    over = view.attempt if view.state == "succeeded" else view.last_claimed - 1
    kept = {calls.attempt_and_step(id) for id in (*view.registered, *view.retired)}
    return frozenset(file for file in actors.files if file[0] <= over and file not in kept)


class Late(NamedTuple):
    """A call of an actor that does not know what has happened since."""

    call: Call
    line: str = ""
    """What the state table calls it."""
    expected: str = ""
    """What it is answered, where only one answer is right."""


def late_calls(view: View) -> list[Late]:
    """Calls that must change nothing: stale tokens, second messages, old and refused requests."""
    n, state = view.attempt, view.state
    late = [Late(call) for call in _late_calls_of_control_planes(view)]
    late += [
        Late(calls.claim(m, by=f"rival-{m}"), "claim" if m == n else "", "none")
        for m in (n - 1, n, n + 1)
        if m > 0 and (state, m) != ("queued", n)
    ]
    if view.record and state != "queued":
        # The answer to the first one was lost; the worker may train if it still has the job.
        late.append(Late(calls.claim(n), "claim", "ok" if view.is_held else "none"))
    if view.is_held:
        late.append(Late(calls.publish(token(n), 1, 0), expected="ok"))
        late.append(Late(calls.drop_hidden_points(token(n), kept=99), expected="none"))
        renewed = calls.declare_lost(n, view.record["claim_id"], Seen("lease_count", "no more"))
        late.append(Late(renewed, expected="none"))
        # Registered before, and their files may be gone: the call was repeated, and comes late.
        earlier = [calls.register(token(n), n, step) for step in range(1, view.newest_step)]
        late += [Late(call, expected="ok") for call in earlier]
        beyond = calls.confirm_start(token(n), view.newest_step + 5)
        late.append(Late(beyond, expected="refused"))
        if view.published_of(n) > view.start > 0:
            late.append(Late(calls.confirm_start(token(n), 0), expected="refused"))
        if n > 1 and view.published_of(n) > view.start:
            complete = calls.publish(token(n), 1, 1, n - 1)
            late.append(Late(complete, expected="refused"))
    for m in range(1, n + 1):
        is_live = view.is_held and m == n
        late += _writes(m, f"rival-{m}" if is_live else calls.claim_id(m))
    return late + _requests(view)


def _late_calls_of_control_planes(view: View) -> list[Call]:
    n = view.attempt
    late = [calls.forget_checkpoint(id) for id in (*view.registered, calls.checkpoint_id(99, 1))]
    for m in (n - 1, n, n + 1):
        if m > 0 and (view.state, m) != ("queued", n):
            late += [calls.mark_enqueued(m), calls.request_message(m), calls.release_retry(m)]
    return late


def _writes(attempt: int, claim: str) -> list[Late]:
    """All that a worker sends with a token, and what is said of it."""
    held = token(attempt, claim)
    ends = [Late(calls.finish(held, kind), kind.value) for kind in OutcomeKind]
    others = [
        *calls.signs_of_life(held),
        *calls.texts(held),
        calls.confirm_start(held, 0),
        calls.publish(held, 1, 3),
        calls.publish(held, 1, 3, 1),
        calls.register(held, attempt, 1),
        calls.unregister(held, calls.checkpoint_id(1, 1)),
        calls.drop_hidden_points(held),
        calls.archive(held, 1, 1),
    ]
    return [Late(calls.declare_lost(attempt, claim), "lost"), *ends, *map(Late, others)]


def _requests(view: View) -> list[Late]:
    """The start again, which was answered, and what the state refuses."""
    if view.state == "–":
        return []
    late = [Late(calls.start(), expected="ok"), Late(calls.start("other"), expected="reused")]
    refused = "refused" if view.record else "not_found"
    if view.state not in ("queued", "running"):
        late.append(Late(calls.stop(), "stop", "ok" if view.state == "stopping" else refused))
    if view.state not in AT_REST:
        wishes = (calls.resume(), calls.resume(from_start=True), calls.resume(max_steps=9))
        late += [Late(call, "resume", refused) for call in wishes]
    if view.is_held or not view.record:
        late.append(Late(calls.delete(), "delete", refused))
    unknown = calls.checkpoint_id(99, 1)
    removal = calls.delete_checkpoint(unknown)
    late.append(Late(removal, expected="refused" if view.is_held else "not_found"))
    if view.state in AT_REST:
        late.append(Late(calls.resume(unknown), expected="not_found"))
        if view.newest_step:
            fewer = calls.resume(max_steps=view.newest_step)
            late.append(Late(fewer, expected="refused"))
    return late
