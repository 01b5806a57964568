"""Commands about sweeps: start, list, show, stop, resume, delete."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from training_engine.cli.exit_codes import JOB_STOPPED
from training_engine.cli.job_commands import WatchOption
from training_engine.cli.local_paths import (
    DatasetOption,
    SettingsOption,
    ValDatasetOption,
    chosen_data,
    read_sweep,
)
from training_engine.cli.output import number
from training_engine.cli.session import Session, connected
from training_engine.errors import InvalidArgumentError
from training_engine.records import Sweep, SweepChild

if TYPE_CHECKING:
    from collections.abc import Callable

SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="Id or name of the sweep.")]


def start(
    session: Session,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML or JSON file of the sweep, or -.")
    ],
    dataset: DatasetOption = None,
    val_dataset: ValDatasetOption = None,
    name: Annotated[str | None, typer.Option(help="A name to find it by.")] = None,
    settings: SettingsOption = None,
    watch: WatchOption = False,
) -> None:
    """Start a sweep: one configuration with many values."""
    sweep = session.engine.sweeps.start(
        read_sweep(file, settings or []),
        dataset_path=chosen_data("--dataset", dataset, settings),
        val_dataset_path=chosen_data("--val-dataset", val_dataset, settings),
        name=name,
    )
    _tell(session, sweep, f"started sweep {sweep.sweep_id} of {sweep.num_children} jobs", watch)


def _tell(session: Session, sweep: Sweep, said: str, watch: bool) -> None:
    session.output.answer(sweep, said)
    if watch:
        ended = session.engine.sweeps.wait(sweep.sweep_id)
        _show(session, ended)
        if ended.status != "succeeded":
            raise typer.Exit(JOB_STOPPED)


def list_sweeps(session: Session) -> None:
    """List sweeps, newest first."""
    session.output.records(
        "sweeps",
        session.engine.sweeps.list(),
        ("sweep_id", "name", "status", "num_children", "rungs_decided", "best_child", "created_at"),
        empty="no sweeps yet; start one: training-engine sweep start FILE",
    )


def show(session: Session, sweep: SweepArgument) -> None:
    """Show a sweep: its children by rank, and which parameters mattered."""
    _show(session, session.engine.sweeps.find(sweep))


def _show(session: Session, sweep: Sweep) -> None:
    if session.output.as_json:
        session.output.json(sweep)
        return
    rungs = f"{sweep.rungs_decided} of {len(sweep.rung_steps) + 1}"
    session.output.fields(
        [
            ("sweep", sweep.sweep_id),
            ("name", sweep.name),
            ("status", sweep.status),
            ("rungs", rungs if sweep.rung_steps else None),
            (
                "best",
                f"child {sweep.best_child}, {sweep.best_job_id or 'deleted'}"
                if sweep.best_child
                else None,
            ),
            ("message", sweep.message),
            *(
                (f"importance of {each.parameter}", f"{each.value:.2f}")
                for each in sweep.importance
                if each.value is not None
            ),
        ]
    )
    heads = (
        "RANK",
        "CHILD",
        "STATUS",
        "RUNG",
        "STEP",
        sweep.metric.upper(),
        *sweep.parameters,
        "JOB",
    )
    last = sweep.num_children + 1
    children = sorted(sweep.children, key=lambda each: (each.rank or last, each.number))
    session.output.table(
        heads, (_row(child, sweep.parameters) for child in children), "no children"
    )


def _row(child: SweepChild, parameters: tuple[str, ...]) -> tuple[object, ...]:
    values = [_shown(child.values.get(name)) for name in parameters]
    state = child.status or ("waits" if child.rank is None else "deleted")
    place = child.rank, child.number, state, child.rung, child.current_step
    return *place, number(child.score), *values, child.job_id or ""


def _shown(value: str | None) -> str:
    read = json.loads(value or "null")
    if isinstance(read, float):
        return number(read)
    return read if isinstance(read, str) else str(value)


def stop(session: Session, sweep: SweepArgument) -> None:
    """Stop all children of a sweep, each with a checkpoint."""
    stopped = session.engine.sweeps.stop(session.engine.sweeps.find(sweep).sweep_id)
    session.output.answer(stopped, f"{stopped.sweep_id} asked to stop")


def resume(session: Session, sweep: SweepArgument, watch: WatchOption = False) -> None:
    """Go on with a stopped sweep."""
    resumed = session.engine.sweeps.resume(session.engine.sweeps.find(sweep).sweep_id)
    _tell(session, resumed, f"sweep {resumed.sweep_id} goes on", watch)


def delete(
    session: Session,
    sweep: SweepArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without a question.")] = False,
) -> None:
    """Delete a sweep that does not run, with all its children.

    Asks first on a terminal. A name that several sweeps have is refused.
    """
    found = session.engine.sweeps.find(sweep)
    _refuse_twins(session, sweep)
    if not yes and sys.stdin.isatty():
        jobs = f"its {found.num_children} jobs, their history, logs and checkpoints"
        text = f"  {found.name}  {found.sweep_id}, {found.status}\nDelete this sweep with {jobs}?"
        typer.confirm(text, abort=True)
    session.engine.sweeps.delete(found.sweep_id)
    answer = {"sweep_id": found.sweep_id, "deleted": True}
    session.output.answer(answer, f"deleted {found.sweep_id}")


def _refuse_twins(session: Session, reference: str) -> None:
    twins = [each.sweep_id for each in session.engine.sweeps.list() if each.name == reference]
    if len(twins) > 1:
        raise InvalidArgumentError(
            f"{reference!r} is the name of more than one sweep; give the id of one: "
            f"{', '.join(twins[:5])}"
        )


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "sweep": (
        "Search over values of a configuration: grid, random, successive halving.",
        {
            "start": connected(start),
            "list": connected(list_sweeps),
            "show": connected(show),
            "stop": connected(stop),
            "resume": connected(resume),
            "delete": connected(delete),
        },
    ),
}
