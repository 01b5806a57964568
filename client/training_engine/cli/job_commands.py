"""Commands about one job, and their list, such as start, list, status, watch and logs."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from training_engine._finding import known_status
from training_engine.cli import completion
from training_engine.cli.exit_codes import JOB_FAILED, JOB_STOPPED, OK
from training_engine.cli.local_paths import (
    DatasetOption,
    SettingsOption,
    ValDatasetOption,
    chosen_data,
    is_config_id,
    read_config,
)
from training_engine.cli.output import ago, duration, number, phase_text, size
from training_engine.cli.session import MOST, Session, connected
from training_engine.cli.watch import watch_job
from training_engine.errors import InvalidConfigError, NotFoundError
from training_engine.records import EventKind, JobStatus, LogLine, SystemSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from training_engine._job import Job

JobArgument = Annotated[
    str,
    typer.Argument(metavar="JOB", help="Name or id of the job.", autocompletion=completion.jobs),
]
WatchOption = Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")]


StatusOption = Annotated[
    str | None,
    typer.Option(
        help=f"Only jobs in this state: {', '.join(JobStatus)}.",
        metavar="STATUS",
        autocompletion=completion.statuses,
    ),
]
TagsOption = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="Only jobs with this tag; may come several times."),
]


NewTagsOption = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="A tag to find it by; may come several times."),
]
NotesOption = Annotated[str | None, typer.Option(help="What to remember about it.")]


def start(
    session: Session,
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="YAML or JSON file, - for the standard input, or a stored configuration's id.",
        ),
    ],
    dataset: DatasetOption = None,
    val_dataset: ValDatasetOption = None,
    name: Annotated[str | None, typer.Option(help="A name to find it by.")] = None,
    tags: NewTagsOption = None,
    notes: NotesOption = None,
    priority: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(completion.PRIORITIES),
            help="The queue to wait in.",
            autocompletion=completion.priorities,
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="Trainer processes on each node.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(metavar="N", help="Workers that train it together.")
    ] = None,
    settings: SettingsOption = None,
    watch: WatchOption = False,
) -> None:
    """Start a training job."""
    asked_for = {"priority": priority, "processes": processes, "nodes": nodes}
    execution = {key: value for key, value in asked_for.items() if value is not None}
    stored = is_config_id(config)
    if stored and settings:
        raise typer.BadParameter("--set needs a file; a stored configuration stays as it is")
    train = chosen_data("--dataset", dataset, settings)
    validation = chosen_data("--val-dataset", val_dataset, settings)
    try:
        job = session.engine.jobs.start(
            config=None if stored else read_config(config, settings or []),
            config_id=config if stored else None,
            dataset_path=train,
            val_dataset_path=validation,
            name=name,
            tags=tags,
            notes=notes,
            execution=execution or None,
        )
    except InvalidConfigError as error:
        if train is None and any(problem.field == "dataset_path" for problem in error.problems):
            raise InvalidConfigError(
                f"{error}\n  name the data with --dataset PATH",
                code=error.code,
                errors=error.errors,
            ) from error
        raise
    for warning in job.warnings:
        session.output.note(f"warning: {warning}")
    tell(session, job, f"started job {job.job_id}", watch=watch)


def tell(session: Session, job: Job, said: str, *, watch: bool = False) -> None:
    """Print what has become of a job, and follow it where that was asked for."""
    if session.output.as_json:
        session.output.json(job) if not watch else session.output.json_line(job)
    else:
        session.output.line(said)
    if watch:
        _finish(watch_job(session, job.job_id, job.attempt))
    elif not session.output.as_json and not job.is_terminal:
        session.output.note(f"follow it: training-engine watch {job.job_id}")


def _finish(status: JobStatus) -> None:
    code = {JobStatus.FAILED: JOB_FAILED, JobStatus.STOPPED: JOB_STOPPED}.get(status, OK)
    if code:
        raise typer.Exit(code)


def list_jobs(
    session: Session,
    status: StatusOption = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of exactly this name.")] = None,
    tags: TagsOption = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Only jobs that have these words in name, id, tags or notes."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Jobs to show, newest first.")] = 50,
) -> None:
    """List jobs, newest first."""
    if name is not None and not name.strip():
        raise typer.BadParameter("--name is empty; leave it out for all jobs")
    matches = session.engine.jobs.list(
        status=known_status(status), name=name, tags=tags, search=search
    )
    jobs = list(islice(matches, limit + 1))
    more, jobs = len(jobs) > limit, jobs[:limit]
    if session.output.as_json:
        session.output.json({"jobs": jobs})
        return
    filters = {"status": status, "name": name, "search": search}
    chosen = [f"{word} {value!r}" for word, value in filters.items() if value]
    chosen += [f"tag {tag!r}" for tag in tags or []]
    empty = "no jobs yet; start one: training-engine start CONFIG --dataset PATH"
    if chosen:
        empty = f"no jobs with {' and '.join(chosen)}"
    if session.output.is_narrow:
        session.output.table(_NARROW_HEADS, map(_narrow_row, jobs), empty)
    else:
        session.output.table(_HEADS, map(_row, jobs), empty)
    if more:
        session.output.note(f"there are more; show them with --limit {2 * limit}")


_HEADS = ("JOB", "NAME", "STATUS", "STEP", "PROGRESS", "ATTEMPT", "ETA", "CREATED", "TAGS")
_NARROW_HEADS = ("JOB", "STATUS", "STEP", "ETA", "CREATED")


def _row(job: Job) -> tuple[object, ...]:
    progress = f"{job.progress:.0%}"
    name = "" if job.name == job.job_id else job.name
    steps, eta, tags = _steps(job), _eta(job), " ".join(job.tags)
    return job.job_id, name, job.status, steps, progress, job.attempt, eta, job.created_at, tags


def _narrow_row(job: Job) -> tuple[object, ...]:
    """Return what fits 80 columns. Every command takes the name, which is unique, for the id."""
    created = "" if job.created_at is None else ago(job.created_at, units=1)
    return job.name or job.job_id, job.status, _steps(job), _eta(job), created


def _steps(job: Job) -> str:
    return f"{job.current_step}/{job.max_steps}"


def _eta(job: Job) -> str:
    return "" if job.eta_seconds is None or job.is_terminal else duration(job.eta_seconds)


def status(session: Session, job: JobArgument) -> None:
    """Show the state of a job."""
    record = session.engine.jobs.find(job)
    if session.output.as_json:
        session.output.json(record)
        return
    session.output.fields(
        [
            ("job", record.job_id),
            ("name", record.name),
            ("tags", " ".join(record.tags)),
            ("notes", record.notes),
            ("status", record.status),
            ("phase", phase_text(record)),
            ("step", f"{record.current_step} of {record.max_steps} ({record.progress:.0%})"),
            *_latest(session, record),
            ("ran for", duration(record.running_seconds) if record.started_at else None),
            ("eta", duration(record.eta_seconds) if record.eta_seconds is not None else None),
            ("attempt", record.attempt),
            ("resumed from step", record.resumed_from_step),
            ("worker", record.worker_id),
            ("data", record.dataset_path),
            ("trains on", record.data_summary),
            ("runs on", record.environment),
            ("model", record.model_summary),
            ("begins with", (record.config or {}).get("initial_weights")),
            ("its adapter", (record.config or {}).get("initial_adapter")),
            ("forked from", _origin(record)),
            ("created", record.created_at),
            ("started", record.started_at),
            ("completed", record.completed_at),
            ("message", record.message),
            ("error", record.error),
            ("last lines", (record.log_tail or "").rstrip()),
            *(("warning", warning) for warning in record.warnings),
            *(("not bitwise", note) for note in record.exactness_notes),
        ]
    )


def _origin(job: Job) -> str | None:
    """Return where a fork comes from; None where it is no fork."""
    if job.parent_job_id is None:
        return None
    return f"step {job.fork_step} of {job.parent_job_id}, optimizer {job.fork_optimizer}"


def _latest(session: Session, job: Job) -> list[tuple[str, str]]:
    """Return the newest metrics, the user's own included."""
    try:
        point = session.engine.metrics.get(job.job_id)
    except NotFoundError:
        return []
    speed = f"{point.tokens_per_second:,.0f} tokens/s" if point.tokens_per_second else ""
    return [
        ("loss", number(point.loss)),
        ("validation loss", number(point.val_loss)),
        ("bits per byte", number(point.val_bits_per_byte)),
        ("learning rate", number(point.lr)),
        ("speed", speed),
        *((name, number(value) or "not finite") for name, value in point.custom.items()),
    ]


_SAMPLE_HEADS = ("TIME", "CPU %", "MEMORY", "READ/S", "WRITTEN/S", "RECEIVED/S", "SENT/S", "GPU")


def system(
    session: Session,
    job: JobArgument,
    tail: Annotated[
        int, typer.Option("--tail", "-n", min=1, max=MOST, help="Only so many of the last samples.")
    ] = 20,
) -> None:
    """Show what a job's processes used: CPU, memory, disk, network, GPUs."""
    samples = session.engine.metrics.system(session.job_id(job)).samples[-tail:]
    if session.output.as_json:
        session.output.json({"samples": samples})
        return
    empty = "no samples yet; a trainer is sampled each 5 seconds"
    session.output.table(_SAMPLE_HEADS, map(_sample_row, samples), empty)


def _sample_row(sample: SystemSample) -> tuple[object, ...]:
    values = {name.removeprefix("system/"): value for name, value in sample.values.items()}
    gpus = [f"{name} {number(value)}" for name, value in values.items() if name.startswith("gpu_")]
    columns = ("memory", "disk_read", "disk_written", "network_received", "network_sent")
    found = [
        values.get(f"{what}_bytes", values.get(f"{what}_bytes_per_second")) for what in columns
    ]
    sizes = ["" if value is None else size(value) for value in found]
    return sample.created_at, number(values.get("cpu_percent")), *sizes, "  ".join(gpus)


def samples(
    session: Session,
    job: JobArgument,
    step: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Only those of this step.")
    ] = None,
    tail: Annotated[
        int, typer.Option("--tail", "-n", min=1, max=MOST, help="Only the last so many steps.")
    ] = 3,
) -> None:
    """Show what a job's model made of its sample_prompts, step below step."""
    found = session.engine.metrics.samples(session.job_id(job), from_step=step, to_step=step)
    steps = list(found)[-tail:]
    if session.output.as_json:
        session.output.json({"steps": steps})
        return
    if not steps:
        of_step = f" of step {step}" if step else ""
        session.output.note(
            f"no samples{of_step}; they come with sample_prompts, after each evaluation"
        )
    for place, first in enumerate(steps[0].samples if steps else ()):
        session.output.line(f"--- {first.prompt}")
        for each in steps:
            session.output.line(f"step {each.step}: {each.samples[place].text}")


def alerts(session: Session, job: JobArgument) -> None:
    """Show which rules of a job's alerts have fired."""
    fired = session.engine.jobs.alerts(session.job_id(job)).alerts
    fields = ("created_at", "step", "attempt", "text", "delivery", "delivery_problem")
    session.output.records("alerts", fired, fields, "no alert has fired")


def watch(session: Session, job: JobArgument) -> None:
    """Follow a job live until it ends: bar, loss curve, speed; plain lines where piped."""
    _finish(watch_job(session, session.job_id(job)))


def logs(
    session: Session,
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends.")
    ] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=0, max=MOST, help="Only so many of the last lines."),
    ] = None,
) -> None:
    """Print what a job's trainer printed."""
    job = session.job_id(job)
    printed = _print_so_far(session, job, tail) if tail is not None or not follow else None
    if not follow:
        if printed is None:
            session.output.note("nothing was printed so far")
        return
    for event in session.engine.jobs.watch(job):
        line = event.data
        if not (event.kind is EventKind.LOG and isinstance(line, LogLine)):
            continue
        if printed is None or _place(line) > printed:
            _print_log(session, line)


def _print_so_far(session: Session, job_id: str, tail: int | None) -> tuple[int, int] | None:
    """Print the log, or its last lines; return the place of its last line, if it has any."""
    lines: Iterable[LogLine] = session.engine.jobs.logs(job_id)
    last = None
    if tail is not None:
        newest = deque(lines, maxlen=max(tail, 1))
        last = _place(newest[-1]) if newest else last
        lines = newest if tail else ()
    for line in lines:
        _print_log(session, line)
        last = _place(line)
    return last


def _place(line: LogLine) -> tuple[int, int]:
    """Where a line belongs: its attempt, and its number in it."""
    return line.attempt, line.sequence


def _print_log(session: Session, line: LogLine) -> None:
    if session.output.as_json:
        session.output.json_line(line)
    else:
        session.output.line(line.text)


COMMANDS: dict[str, Callable[..., None]] = {
    "start": connected(start),
    "list": connected(list_jobs),
    "status": connected(status),
    "watch": connected(watch),
    "system": connected(system),
    "samples": connected(samples),
    "alerts": connected(alerts),
    "logs": connected(logs),
}
