"""Commands about checkpoints: checkpoints, download, export, evaluate."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training_engine._home import expanded
from training_engine.cli import completion, extensions
from training_engine.cli.generate_command import generate
from training_engine.cli.job_commands import JobArgument
from training_engine.cli.local_paths import absolute
from training_engine.cli.session import Session, connected
from training_engine.records import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable

_POINTS_OF_CARD = 200

CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Id of a checkpoint; or a job, which means its best one.",
        autocompletion=completion.jobs,
    ),
]

_FileOrCheckpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A checkpoint file, the id of one, or a job, which means its best one.",
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
def _progress(
    session: Session, work: str = "download"
) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on stderr where that is a terminal."""
    if not sys.stderr.isatty() or session.output.as_json:
        yield None
        return
    from rich import progress
    from rich.console import Console

    of_bytes = (progress.DownloadColumn(binary_units=True), progress.TransferSpeedColumn())
    of_tokens = (progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    columns = (progress.BarColumn(), *(of_bytes if work == "download" else of_tokens))
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(work, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


class WeightType(StrEnum):
    """Types of an exported model's weights."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class ExportFormat(StrEnum):
    """Kinds of an export."""

    HF = "hf"
    GGUF = "gguf"
    PEFT = "peft"


class Quantization(StrEnum):
    """Types of the weights in GGUF."""

    F16 = "f16"
    Q8_0 = "q8_0"


def export(
    session: Session,
    checkpoint: _FileOrCheckpoint,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to; made if missing.")
    ],
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Take the average of the weights (`ema_decay`).")
    ] = False,
    dtype: Annotated[
        WeightType | None, typer.Option(help="Type of the weights. Default: as they are.")
    ] = None,
    max_shard_gb: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1e9, help="Larger weights are divided into files; default 5."),
    ] = None,
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format", help="Hugging Face's, GGUF for llama.cpp, or the adapter for peft."
        ),
    ] = ExportFormat.HF,
    quantization: Annotated[Quantization | None, typer.Option(help="Of GGUF; default f16.")] = None,
) -> None:
    """Write a checkpoint as Hugging Face config, safetensors and tokenizer, with a model card.

    A file needs no service. AutoModelForCausalLM.from_pretrained(OUTPUT) loads the result. With
    --format gguf OUTPUT is a file that llama.cpp runs, and a Modelfile for Ollama is beside it.
    Adapters (`lora`) are merged; --format peft writes them alone.
    """
    hf, gguf = ExportFormat.HF, ExportFormat.GGUF
    shard_bytes = max_shard_gb and int(max_shard_gb * 1e9)
    given: dict[str, Any] = {"averaged": averaged}
    for flag, owner, name, value in (
        ("--dtype", hf, "dtype", dtype and dtype.value),
        ("--max-shard-gb", hf, "shard_bytes", shard_bytes),
        ("--quantization", gguf, "quantization", quantization and quantization.value),
    ):
        if value is not None and owner is not form:
            raise typer.BadParameter(f"{flag} does not go with --format {form.value}")
        given |= {} if value is None else {name: value}
    write = partial(extensions.call, "export", as_json=session.output.as_json, form=form.value)
    with _checkpoint_file(session, checkpoint) as (file, points):
        if form is ExportFormat.HF:
            given["points"] = points
        write(file, output, **given)


def evaluate(
    session: Session,
    checkpoint: _FileOrCheckpoint,
    data: Annotated[
        str, typer.Option("--data", help="Text, records or ids: a path, or the id of a dataset.")
    ],
    stride: Annotated[
        int | None, typer.Option(min=1, help="Ids between windows; default: they do not overlap.")
    ] = None,
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Take the average of the weights (`ema_decay`).")
    ] = False,
    separate_documents: Annotated[
        bool,
        typer.Option("--separate-documents", help="Measure each document alone, as lm_eval does."),
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Measure on this machine what a service has.")
    ] = False,
) -> None:
    """Measure the loss of a checkpoint on data: loss, perplexity, bits per byte.

    A worker of the service measures, also while the job trains, and reads the data where it runs.
    A file is measured on this machine, without a service.
    """
    options: dict[str, Any] = {
        "stride": stride,
        "averaged": averaged,
        "separate_documents": separate_documents,
    }
    if local or _is_file(checkpoint):
        with _checkpoint_file(session, checkpoint) as (file, _):
            found = extensions.call("evaluate", file, expanded(data), **options)
    else:
        checkpoint_id = session.checkpoint_id(checkpoint)
        with _progress(session, "evaluate") as report:
            measured = session.engine.checkpoints.evaluate(
                checkpoint_id, _named(data), **options, progress=report
            )
        found = to_plain(measured)
    bits = "" if found["bits_per_byte"] is None else f"  bits per byte {found['bits_per_byte']:.6g}"
    text = f"loss {found['loss']:.6g}  perplexity {found['perplexity']:.6g}{bits}"
    session.output.answer(found, f"{text}  over {found['tokens']:,} tokens")


def _named(data: str) -> str:
    """Return data as the service takes it: an absolute path or dataset://ID."""
    is_dataset_id = data.startswith("ds_") and not Path(data).exists()
    return f"dataset://{data}" if is_dataset_id else absolute(data) or data


@contextmanager
def _checkpoint_file(session: Session, checkpoint: str) -> Iterator[tuple[Path, Any]]:
    """Yield a checkpoint's file on this machine, and of a downloaded one points of its history."""
    if _is_file(checkpoint):
        yield expanded(checkpoint), None
        return
    with tempfile.TemporaryDirectory(prefix="training-engine-") as folder:
        checkpoint_id = session.checkpoint_id(checkpoint)
        with _progress(session) as bar:
            path = session.engine.checkpoints.download(checkpoint_id, folder, progress=bar)
        yield path, _history(session, checkpoint_id)


def _is_file(checkpoint: str) -> bool:
    """Whether it names a file: what looks like one is never asked for, so an error names it."""
    looks_like_one = checkpoint.endswith(".pt") or os.sep in checkpoint
    return looks_like_one or expanded(checkpoint).is_file()


def _history(session: Session, checkpoint_id: str) -> list[dict[str, float | None]]:
    """Return points of the history that led to a checkpoint, for its model card."""
    found = session.engine.checkpoints.get(checkpoint_id)
    points = session.engine.metrics.history(
        found.job_id, to_step=found.step, max_points=_POINTS_OF_CARD
    )
    return [{"step": p.step, "loss": p.loss, "val_loss": p.val_loss} for p in points]


COMMANDS: dict[str, Callable[..., None]] = {
    "checkpoints": connected(checkpoints),
    "download": connected(download),
    "generate": connected(generate),
    "export": connected(export),
    "evaluate": connected(evaluate),
}
