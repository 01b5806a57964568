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
    is_checkpoint = is_checkpoint_id(origin)
    job = session.engine.jobs.fork(
        checkpoint_id=origin if is_checkpoint else None,
        job_id=None if is_checkpoint else session.job_id(origin),
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


COMMANDS: dict[str, Callable[..., None]] = {"fork": connected(fork)}
