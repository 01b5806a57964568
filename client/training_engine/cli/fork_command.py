"""The command that starts a job from a checkpoint of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from training_engine._finding import is_checkpoint_id
from training_engine.cli import completion
from training_engine.cli.job_commands import NewTagsOption, NotesOption, WatchOption, tell
from training_engine.cli.local_paths import (
    DatasetOption,
    ValDatasetOption,
    changes,
    chosen_data,
)
from training_engine.cli.session import Session, connected

if TYPE_CHECKING:
    from collections.abc import Callable

SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What changes in the configuration, e.g. learning_rate=1e-4. Repeatable.",
    ),
]


def fork(
    session: Session,
    origin: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT|JOB",
            help="Id of a checkpoint, or a job, whose best checkpoint is taken.",
            autocompletion=completion.jobs,
        ),
    ],
    latest: Annotated[
        bool, typer.Option("--latest", help="Of a job: its newest checkpoint, not its best.")
    ] = False,
    settings: SettingsOption = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="kept|fresh",
            help="kept: the run goes on after the checkpoint's step. fresh: a new run begins with "
            "its weights at step 0. Default: kept.",
        ),
    ] = None,
    dataset: DatasetOption = None,
    val_dataset: ValDatasetOption = None,
    name: Annotated[str | None, typer.Option(help="A name to find it by.")] = None,
    tags: NewTagsOption = None,
    notes: NotesOption = None,
    watch: WatchOption = False,
) -> None:
    """Start a job from a checkpoint of another, with changed settings."""
    checkpoint_id, job_id = _origin(session, origin, latest)
    job = session.engine.jobs.fork(
        checkpoint_id=checkpoint_id,
        job_id=job_id,
        config=changes(settings or []),
        optimizer=optimizer,
        dataset_path=chosen_data("--dataset", dataset, settings),
        val_dataset_path=chosen_data("--val-dataset", val_dataset, settings),
        name=name,
        tags=tags,
        notes=notes,
    )
    for warning in job.warnings:
        session.output.note(f"warning: {warning}")
    said = f"started job {job.job_id} from step {job.fork_step} of {job.parent_job_id}"
    tell(session, job, said, watch=watch)


def _origin(session: Session, origin: str, latest: bool) -> tuple[str | None, str | None]:
    """Return the id of a checkpoint, or that of a job whose best one is meant."""
    if is_checkpoint_id(origin):
        if latest:
            raise typer.BadParameter(f"{origin} is a checkpoint; --latest is for a job")
        return origin, None
    job_id = session.job_id(origin)
    # Without any, the service says so.
    newest = list(session.engine.checkpoints.list(job_id))[-1:] if latest else []
    return (newest[0].checkpoint_id, None) if newest else (None, job_id)


COMMANDS: dict[str, Callable[..., None]] = {"fork": connected(fork)}
