"""Commands about checkpoints: checkpoints, download, generate, export."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training_engine._generation import TextPiece, TextPieces
from training_engine._home import expanded
from training_engine.cli import completion, extensions
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


def generate(
    session: Session,
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Id of a checkpoint; or a job, which means its best one; with --local, a file.",
            autocompletion=completion.jobs,
        ),
    ],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The text to continue.")] = "",
    max_tokens: Annotated[int | None, typer.Option(help="Tokens to sample; default 256.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 takes the likeliest token; default 1.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Only the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Only the likeliest with this probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal text.")] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="The prompt is a user's message: answer it as a model that was trained on "
            "conversations, by the chat template of its checkpoint.",
        ),
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Sample on this machine, without a service.")
    ] = False,
) -> None:
    """Continue a prompt with text sampled from a checkpoint, also while its job trains."""
    options = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "messages": [{"role": "user", "content": prompt}] if chat else None,
    }
    text = "" if chat else prompt
    pieces: Iterator[TextPiece]
    if local:
        sampling = {name: value for name, value in options.items() if value is not None}
        pieces = _pieces_of(extensions.call("generate", expanded(checkpoint), text, **sampling))
    else:
        checkpoint = session.checkpoint_id(checkpoint)
        pieces = session.engine.checkpoints.generate(checkpoint, text, **options)  # type: ignore[arg-type]
    if session.output.as_json:
        session.output.json({"checkpoint_id": checkpoint, "prompt": prompt, **_whole(list(pieces))})
        return
    with _waiting("loading the model, which may take a moment …"):
        first = next(pieces, TextPiece())
    print(text + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def _pieces_of(sampled: Iterable[Any]) -> Iterator[TextPiece]:
    """Text that is sampled here, as the service would send it."""
    pieces = TextPieces()
    for token in sampled:
        if (piece := pieces.take(asdict(token))) is not None:
            yield piece


def _whole(pieces: list[TextPiece]) -> dict[str, object]:
    """Return what REST says of a text that it sends whole."""
    return {
        "text": "".join(pieces),
        "token_ids": [token_id for piece in pieces for token_id in piece.token_ids],
        "finish_reason": pieces[-1].finish_reason if pieces else None,
    }


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """Say on stderr, where a person looks on, why nothing is to be seen yet."""
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


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
