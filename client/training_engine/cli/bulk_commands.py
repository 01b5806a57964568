"""Commands that act on several jobs at once: stop, resume, delete, update."""

from __future__ import annotations

import fnmatch
import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from training_engine._finding import is_job_id, known_status
from training_engine.cli import completion
from training_engine.cli.exit_codes import exit_code
from training_engine.cli.job_commands import StatusOption, TagsOption, WatchOption, tell
from training_engine.cli.session import Session, connected
from training_engine.errors import InvalidArgumentError, NotFoundError, TrainingEngineError
from training_engine.records import BulkResult, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from training_engine._job import Job

_SHOWN = 10
"""Jobs that a question names."""

JobsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[JOB]...",
        help="Names or ids of jobs. In a name, * stands for any text and ? for one character; "
        "quote it.",
        autocompletion=completion.jobs,
    ),
]


def stop(
    session: Session,
    jobs: JobsArgument = None,
    every: Annotated[bool, typer.Option("--all", help="All queued and running jobs.")] = False,
    status: StatusOption = None,
    tags: TagsOption = None,
) -> None:
    """Ask jobs to save a checkpoint and stop.

    A pattern or --tag means the queued and running jobs that match it.
    """
    states = _states([JobStatus.QUEUED, JobStatus.RUNNING] if every else [], status)
    _require(jobs, states, tags)
    chosen, failures = _choose(session, jobs, states, tags, lambda job: not job.is_terminal)
    _report(session, session.engine.jobs.stop_many(chosen), failures, "asked to stop")


def delete(
    session: Session,
    jobs: JobsArgument = None,
    status: StatusOption = None,
    tags: TagsOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without a question.")] = False,
) -> None:
    """Delete jobs that are not running, with their history, logs and checkpoints.

    Asks first on a terminal. Without one, jobs that are named by a whole id or an exact name are
    deleted at once; a pattern, --status or --tag needs --yes. The beginning of an id is refused.
    """
    _require(jobs, status, tags)
    options = {"--status": status, "--tag": tags}
    broad = [job for job in jobs or [] if _is_pattern(job)]
    broad += [option for option, value in options.items() if value]
    if broad and not yes and not sys.stdin.isatty():
        raise typer.BadParameter(f"{broad[0]} would ask, and there is no terminal; add --yes")
    states = _states([], status)
    chosen, failures = _choose(session, jobs, states, tags, lambda job: True, whole=True)
    if chosen and not yes and sys.stdin.isatty():
        typer.confirm(_question(list(chosen.values())), abort=True)
    _report(session, session.engine.jobs.delete_many(chosen), failures, "deleted")


def resume(
    session: Session,
    jobs: JobsArgument = None,
    status: StatusOption = None,
    tags: TagsOption = None,
    max_steps: Annotated[int | None, typer.Option(help="Train to this step instead.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Continue one job from this one instead of the newest.")
    ] = None,
    from_start: Annotated[
        bool,
        typer.Option(
            "--from-start", help="Begin one job at step 0: history and checkpoints are cut."
        ),
    ] = False,
    watch: WatchOption = False,
) -> None:
    """Continue jobs that have ended.

    A pattern or --tag means the stopped and failed jobs that match it.
    """
    if jobs and len(jobs) == 1 and not (_is_pattern(jobs[0]) or status or tags):
        _resume_one(session, jobs[0], checkpoint, max_steps, from_start, watch)
        return
    if checkpoint or from_start or watch:
        raise typer.BadParameter("--checkpoint, --from-start and --watch are for one job; name it")
    _require(jobs, status, tags)
    chosen, failures = _choose(session, jobs, _states([], status), tags, _has_steps_left)
    results = session.engine.jobs.resume_many(chosen, max_steps=max_steps)
    _report(session, results, failures, "continues")


def _has_steps_left(job: Job) -> bool:
    return job.status in (JobStatus.STOPPED, JobStatus.FAILED)


def _resume_one(
    session: Session,
    job: str,
    checkpoint: str | None,
    max_steps: int | None,
    from_start: bool,
    watch: bool,
) -> None:
    resumed = session.engine.jobs.resume(
        session.job_id(job), checkpoint, max_steps=max_steps, from_start=from_start
    )
    begin = resumed.resumed_from_step or 0
    said = f"job {resumed.job_id} continues from step {begin} as attempt {resumed.attempt}"
    tell(session, resumed, said, watch=watch)


def update(
    session: Session,
    jobs: JobsArgument = None,
    status: StatusOption = None,
    tags: TagsOption = None,
    add_tags: Annotated[
        list[str] | None,
        typer.Option("--add-tag", metavar="TAG", help="Add this one; may come several times."),
    ] = None,
    remove_tags: Annotated[
        list[str] | None,
        typer.Option("--remove-tag", metavar="TAG", help="Remove it; may come several times."),
    ] = None,
    notes: Annotated[
        str | None, typer.Option(help="Notes in place of the present ones; '' removes them.")
    ] = None,
) -> None:
    """Change tags and notes of jobs, in whatever state they are."""
    if not add_tags and not remove_tags and notes is None:
        raise typer.BadParameter("nothing to change; give --add-tag, --remove-tag or --notes")
    _require(jobs, status, tags)
    chosen, failures = _choose(session, jobs, _states([], status), tags, lambda job: True)
    results = session.engine.jobs.update_many(
        chosen, add_tags=add_tags, remove_tags=remove_tags, notes=notes
    )
    _report(session, results, failures, "updated")


def _states(states: list[JobStatus], status: str | None) -> list[JobStatus]:
    return [*states, JobStatus(known_status(status) or status)] if status else states


def _require(*choices: object) -> None:
    if not any(choices):
        raise typer.BadParameter("name at least one job, or choose some by --status or --tag")


def chosen_ids(
    session: Session, jobs: list[str] | None, status: str | None, tags: list[str] | None
) -> list[str]:
    """Return the ids of the jobs that were named, or are in a state or have the tags.

    Raises:
        TrainingEngineError: A reference means no job, or none fits.
    """
    _require(jobs, status, tags)
    chosen, failures = _choose(session, jobs, _states([], status), tags, lambda job: True)
    for failure in failures:
        if failure.error is not None:
            raise failure.error
    if not chosen:
        raise NotFoundError("no job has this state and these tags", code="job_not_found")
    return list(chosen)


def _is_pattern(reference: str) -> bool:
    return any(character in reference for character in "*?")


def _choose(
    session: Session,
    references: list[str] | None,
    states: Sequence[JobStatus],
    tags: list[str] | None,
    fits: Callable[[Job], bool],
    *,
    whole: bool = False,
) -> tuple[dict[str, str], list[BulkResult]]:
    """Return the jobs that were named, or are in a state or have the tags, and what was not found.

    With a state, all jobs in it that have the tags; without one, those with the tags that fit. The
    jobs come as ids, each with a line that describes it.
    """
    chosen: dict[str, str] = {}
    failures = []
    for reference in dict.fromkeys(references or []):
        try:
            chosen |= _named(session, reference, fits, whole)
        except TrainingEngineError as error:
            failures.append(BulkResult(reference, error))
    for state in states:
        chosen |= _described(session.engine.jobs.list(status=state, tags=tags))
    if tags and not states:
        chosen |= _described(filter(fits, session.engine.jobs.list(tags=tags, page_size=1000)))
    return chosen, failures


def _described(jobs: Iterable[Job]) -> dict[str, str]:
    return {job.job_id: f"{job.name}  {job.status}, step {job.current_step}" for job in jobs}


def _named(
    session: Session, reference: str, fits: Callable[[Job], bool], whole: bool
) -> dict[str, str]:
    if is_job_id(reference):  # not looked up: a record that cannot be read can still be deleted
        return {reference: reference}
    if _is_pattern(reference):
        every = session.engine.jobs.list(page_size=1000)
        matching = [job for job in every if fnmatch.fnmatchcase(job.name, reference) and fits(job)]
        if not matching:
            raise NotFoundError(f"no job's name matches {reference!r}", code="job_not_found")
        return _described(matching)
    job = session.engine.jobs.find(reference)
    if whole and reference.strip() not in (job.name, job.job_id):
        raise InvalidArgumentError(
            f"{reference!r} is only the beginning of the id {job.job_id}; give the whole id or "
            "the exact name",
            code="ambiguous_job",
        )
    if whole:
        _require_unique(session, reference.strip())
    return _described([job])


def _require_unique(session: Session, name: str) -> None:
    """Refuse a name that several jobs have, as records of an older service may."""
    twins = [job.job_id for job in islice(session.engine.jobs.list(name=name, page_size=5), 5)]
    if len(twins) > 1:
        raise InvalidArgumentError(
            f"{name!r} is the name of more than one job; give the id of one: {', '.join(twins)}",
            code="ambiguous_job",
        )


def _question(jobs: Sequence[str]) -> str:
    """Return what a person is asked before jobs are deleted."""
    lines = [f"  {job}" for job in jobs[:_SHOWN]]
    if len(jobs) > _SHOWN:
        lines.append(f"  … and {len(jobs) - _SHOWN} more")
    what = "this job" if len(jobs) == 1 else f"these {len(jobs)} jobs"
    return "\n".join([*lines, f"Delete {what} with history, logs and checkpoints?"])


def _report(
    session: Session, results: list[BulkResult], failures: list[BulkResult], done: str
) -> None:
    """Say what became of each job, and exit as the first failure says."""
    results = [*results, *failures]
    if session.output.as_json:
        outcomes = [
            {"job_id": result.job_id, "error": str(result.error) if result.error else None}
            for result in results
        ]
        session.output.json({"jobs": outcomes})
    for result in results:
        if result.error:
            said = str(result.error)
            who = "" if result.job_id in said else f"{result.job_id}: "
            session.output.note(f"error: {who}{said}")
        elif not session.output.as_json:
            session.output.line(f"{result.job_id} {done}")
    if not results:
        session.output.note("no such jobs")
    failed = [result.error for result in results if result.error]
    if failed:
        raise typer.Exit(exit_code(failed[0]))


COMMANDS: dict[str, Callable[..., None]] = {
    "stop": connected(stop),
    "resume": connected(resume),
    "delete": connected(delete),
    "update": connected(update),
}
