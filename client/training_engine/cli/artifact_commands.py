"""Commands about checkpoints: checkpoints, download, export."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training_engine._home import expanded
from training_engine.cli import completion, extensions
from training_engine.cli.generate_command import generate
from training_engine.cli.job_commands import JobArgument
from training_engine.cli.session import Session, connected

if TYPE_CHECKING:
    from collections.abc import Callable

CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Id of a checkpoint; or a job, which means its best one.",
        autocompletion=completion.jobs,
    ),
]


def checkpoints(session: Session, job: JobArgument) -> None:
    """List a job's checkpoints, ascending by step."""
    session.output.records(
        "checkpoints",
        session.engine.checkpoints.list(session.job_id(job)),
        ("checkpoint_id", "step", "loss", "val_loss", "size_bytes", "is_best", "created_at"),
        empty="no checkpoints yet",
    )


def download(
    session: Session,
    checkpoint: CheckpointArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File or folder. Default: checkpoint_step_N.pt, here."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that holds something else.")
    ] = False,
) -> None:
    """Download a checkpoint and verify it; a broken download is taken up where it broke."""
    checkpoint = session.checkpoint_id(checkpoint)
    with _progress(session) as report:
        path = session.engine.checkpoints.download(
            checkpoint, output, overwrite=force, progress=report
        )
    answer = {"checkpoint_id": checkpoint, "path": str(path.absolute())}
    session.output.answer(answer, f"downloaded and verified {path}")


@contextmanager
def _progress(session: Session) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on stderr where that is a terminal."""
    if not sys.stderr.isatty() or session.output.as_json:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("download", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def export(
    session: Session,
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A checkpoint file, the id of one, or a job, which means its best one.",
            autocompletion=completion.jobs,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to; made if missing.")
    ],
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Take the average of the weights (`ema_decay`).")
    ] = False,
) -> None:
    """Write a checkpoint as Hugging Face config and safetensors.

    A file needs no service. AutoModelForCausalLM.from_pretrained(OUTPUT) loads the result.
    """
    write = partial(extensions.call, "export")
    # What looks like a file is never asked for by name: the error then names the file.
    file = expanded(checkpoint)
    if file.is_file() or checkpoint.endswith(".pt") or os.sep in checkpoint:
        write(file, output, session.output.as_json, averaged)
        return
    with (
        tempfile.TemporaryDirectory(prefix="training-engine-") as folder,
        _progress(session) as bar,
    ):
        checkpoint_id = session.checkpoint_id(checkpoint)
        path = session.engine.checkpoints.download(checkpoint_id, folder, progress=bar)
        write(path, output, session.output.as_json, averaged)


COMMANDS: dict[str, Callable[..., None]] = {
    "checkpoints": connected(checkpoints),
    "download": connected(download),
    "generate": connected(generate),
    "export": connected(export),
}
