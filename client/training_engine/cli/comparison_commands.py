"""Commands that look at several jobs together: compare, curves, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training_engine.cli.bulk_commands import JobsArgument, chosen_ids
from training_engine.cli.job_commands import StatusOption, TagsOption
from training_engine.cli.output import number
from training_engine.cli.session import Session, connected
from training_engine.comparison import Comparison, series_csv
from training_engine.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from training_engine.records import Series

CsvOption = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]


def compare(
    session: Session,
    jobs: JobsArgument = None,
    status: StatusOption = None,
    tags: TagsOption = None,
    as_csv: CsvOption = False,
) -> None:
    """Show jobs side by side: best and last of each metric, and the fields that differ.

    Up to 50: those that are named, or that --status and --tag mean.
    """
    found = session.engine.jobs.compare(chosen_ids(session, jobs, status, tags))
    if as_csv:
        session.output.line(found.csv().rstrip("\n"))
    elif session.output.as_json:
        session.output.json({"jobs": list(found.rows()), "differences": _differences(found)})
    else:
        _show(session, found)


def _differences(found: Comparison) -> dict[str, dict[str, Any]]:
    ids = [job.job_id for job in found.jobs]
    return {name: dict(zip(ids, values, strict=True)) for name, values in found.differences.items()}


def _show(session: Session, found: Comparison) -> None:
    names = [job.name or job.job_id for job in found.jobs]
    heads = ["", *names]
    rows: list[list[Any]] = [
        ["status", *(job.status for job in found.jobs)],
        ["step", *(f"{job.current_step:,}" for job in found.jobs)],
    ]
    for metric in found.metrics:
        series = [found.of(job.job_id, metric) for job in found.jobs]
        best = [_best_text(each) for each in series]
        if any(best):
            rows.append([f"{metric}, best", *best])
        rows.append([f"{metric}, last", *(number(each.last) if each else "" for each in series)])
    for name, values in found.differences.items():
        rows.append([name, *("" if value is None else str(value) for value in values)])
    session.output.table(heads, rows, "no jobs")


def _best_text(series: Series | None) -> str:
    if series is None or series.best is None:
        return ""
    return f"{number(series.best)} @ {series.best_step:,}"


def curves(
    session: Session,
    jobs: JobsArgument = None,
    status: StatusOption = None,
    tags: TagsOption = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric; again for another. Default: the validation loss and the loss."
        ),
    ] = None,
    x_axis: Annotated[
        str,
        typer.Option(
            "--x",
            metavar="step|lineage_step|tokens|time|wall_time",
            help="What the points are placed by.",
        ),
    ] = "step",
    max_points: Annotated[int, typer.Option(help="Points of a curve at most.")] = 1000,
    smoothing: Annotated[
        float, typer.Option(help="Weight of the moving average, from 0 to less than 1.")
    ] = 0.0,
    from_x: Annotated[float | None, typer.Option("--from", help="Only from here on.")] = None,
    to_x: Annotated[float | None, typer.Option("--to", help="Only up to here.")] = None,
    log_x: Annotated[bool, typer.Option(help="Thin them for a logarithmic axis.")] = False,
) -> None:
    """Print curves of jobs as comma-separated values, smoothed and thinned as on the page."""
    answer = session.engine.metrics.series(
        job_ids=chosen_ids(session, jobs, status, tags),
        metrics=metric or ["val_loss", "loss"],
        x_axis=x_axis,
        max_points=max_points,
        smoothing=smoothing,
        from_x=from_x,
        to_x=to_x,
        log_x=log_x or None,
    )
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(series_csv(answer.series, x_axis).rstrip("\n"))


def report(
    session: Session,
    jobs: JobsArgument = None,
    status: StatusOption = None,
    tags: TagsOption = None,
    output: Annotated[
        Path, typer.Option(help="The file; - for the standard output. It is replaced.")
    ] = Path("report.html"),
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="A text that each job's best checkpoint continues; again for another."),
    ] = None,
) -> None:
    """Write jobs as one HTML file: curves, numbers, differences, configurations, samples."""
    text = session.engine.jobs.report(chosen_ids(session, jobs, status, tags), prompts=prompt or [])
    if str(output) == "-":
        session.output.line(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError(
            f"{output} cannot be written: {error.strerror}; choose another --output"
        ) from error
    session.output.answer({"output": str(output)}, f"wrote {output}")


COMMANDS: dict[str, Callable[..., None]] = {
    "compare": connected(compare),
    "curves": connected(curves),
    "report": connected(report),
}
