"""Commands of the CLI that need the library, such as `export`, `tokenizer` and `inspect --local`.

Found through the entry-point group `training_engine.commands`. Importing this file is cheap: torch
is imported when a command runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from app.transformer.errors import ConfigError, FieldProblem

if TYPE_CHECKING:
    from app.training.sampled_text import SampledPiece

_USAGE = 2
"""The command line's exit code where a file cannot be read or an argument is refused."""
_REFUSED = 4
"""The command line's exit code where an existing file forbids what was asked."""
_INVALID_CONFIG = 6
"""The command line's exit code where a configuration is invalid."""


def export(
    checkpoint: Path,
    output: Path,
    *,
    as_json: bool = False,
    form: Literal["hf", "gguf", "peft"] = "hf",
    **options: Any,
) -> None:
    """Write a checkpoint as other libraries load it, see `app.training.export`.

    `options` are those of `export_checkpoint`, `export_gguf` or `export_adapter`, by `form`.
    """
    from app.training.errors import CheckpointError
    from app.training.export import export_adapter, export_checkpoint
    from app.training.tokenizer import TokenizerError
    from app.transformer.errors import UnsupportedModelError
    from app.transformer.export import NotRepresentableError

    try:
        if form == "gguf":
            from app.training.gguf_export import export_gguf

            files = export_gguf(checkpoint, output, **options)
        else:
            write = export_adapter if form == "peft" else export_checkpoint
            files = write(checkpoint, output, **options)
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        _fail("GGUF is written by a package; install it: pip install 'training-engine[gguf]'")
    except CheckpointError as error:
        _fail(str(error), _USAGE)
    except (TokenizerError, UnsupportedModelError, NotRepresentableError) as error:
        _fail(str(error))
    except OSError as error:
        kind = "file" if form == "gguf" else "folder"
        text = f"{output} cannot be written: {error.strerror or error}; choose another {kind}"
        _fail(text, _REFUSED if isinstance(error, FileExistsError) else 1)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "files": [path.name for path in files]}))
        return
    for path in files:
        typer.echo(f"wrote {path} ({path.stat().st_size:,} bytes)")
    if form == "hf" and not any(path.name == "tokenizer.json" for path in files):
        typer.echo("no tokenizer.json: the model was trained on ids of unknown origin")


def evaluate(
    checkpoint: Path, data: Path, *, averaged: bool = False, **options: Any
) -> dict[str, Any]:
    """Return the loss of a checkpoint file's model on data of this machine.

    `options` are those of `app.training.measured_data.measure_data`.

    Ends the command with a message for a checkpoint or data that cannot be read.
    """
    from dataclasses import asdict

    from app.training.data.errors import DataError
    from app.training.errors import CheckpointError
    from app.training.inference import load_trained
    from app.training.measured_data import measure_data

    try:
        with _progress_shown():
            loaded = load_trained(checkpoint, averaged=averaged)
            return asdict(measure_data(loaded, data, **options))
    except (CheckpointError, DataError, ValueError) as error:
        _fail(str(error), _USAGE)


def tokenizer(
    action: Annotated[Literal["train"], typer.Argument(metavar="train", help="What to do.")],
    path: Annotated[str, typer.Argument(help="The text: a file or folder, as `dataset_path`.")],
    vocab_size: Annotated[int, typer.Option(help="Ids at most, 257 or more.")] = 4096,
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("tokenizer.json"),
    text_column: Annotated[str, typer.Option(help="Field of records with the text.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a byte-level BPE tokenizer on a text and write its tokenizer.json.

    A configuration names the file as its `tokenizer`; `tokenizer: {train: bpe, vocab_size: N}` does
    both at once. The same text gives the same file. Of a text beyond 268 million characters, pieces
    at even distances are taken.
    """
    from app.training.data.errors import DataError
    from app.training.data.training_text import train_tokenizer
    from app.training.tokenizer_files import TokenizerError

    try:
        _require_place(output)
        with _progress_shown():
            trained = train_tokenizer(path, vocab_size, text_column)
        with output.open("x", encoding="utf-8") as file:
            file.write(trained.definition)
    except (DataError, TokenizerError) as error:
        _fail(str(error), _USAGE)
    except ConfigError as error:
        _fail(str(error), _INVALID_CONFIG)
    except FileExistsError:
        _fail(f"{output} is there already; choose another --output, or remove it", _REFUSED)
    except OSError as error:
        _fail(f"{output} cannot be written: {error.strerror}; choose another --output")
    if as_json:
        typer.echo(json.dumps({"output": str(output), "vocab_size": trained.vocab_size}))
    else:
        typer.echo(f"wrote {output} ({trained.vocab_size:,} ids); name it as `tokenizer`")


def generate(
    checkpoint: Path,
    prompt: str,
    *,
    messages: Sequence[Mapping[str, str]] = (),
    prompts: Sequence[str] = (),
    averaged: bool = False,
    **options: Any,
) -> Iterator[SampledPiece]:
    """Continue a prompt with the model of a checkpoint file, on this machine, token by token.

    Args:
        messages: a conversation to answer, in place of the prompt.
        prompts: several texts to continue, in place of the prompt.
        averaged: sample from the average of the weights.
        options: as `app.training.sampled_text.sample_pieces` takes them.

    Ends the command with a message for a checkpoint that cannot be read, or arguments out of range.
    """
    from app.training.errors import CheckpointError
    from app.training.inference import load_trained
    from app.training.sampled_text import answer_pieces, sample_batch, sample_pieces

    try:
        loaded = load_trained(checkpoint, averaged=averaged)
        if prompts:
            return sample_batch(loaded.model, loaded.tokenizer, prompts, **options)
        if messages:
            turns = [(message["role"], message["content"]) for message in messages]
            return answer_pieces(loaded, turns, **options)
        return sample_pieces(loaded.model, loaded.tokenizer, prompt, **options)
    except (CheckpointError, ValueError) as error:
        _fail(str(error), _USAGE)


def inspect(dataset_path: str | None, document: str | dict[str, Any]) -> dict[str, Any]:
    """Return what a look into data on this machine found, as the service's answer has it.

    Args:
        dataset_path: wins over the document's; None where that names the data.
        document: a configuration as a mapping, or as YAML or JSON text.

    Raises:
        ConfigError: The configuration has problems, or names no data.
    """
    from app.training.config import TrainingConfig
    from app.training.data.looking import inspect_data
    from app.training.document import parse_document

    values, problems = parse_document(document) if isinstance(document, str) else (document, [])
    if dataset_path is not None:
        values = {**values, "dataset_path": dataset_path}
    config, of_values = TrainingConfig.read(values)
    problems = problems + of_values
    if not problems and config.dataset_path is None and not config.data.sources:
        message = "`dataset_path` is not set; name the data, or a configuration that does"
        problems = [FieldProblem("dataset_path", message)]
    if problems:
        raise ConfigError(problems)
    logging.getLogger("app").addHandler(logging.NullHandler())  # the answer has the warnings
    return inspect_data(config).to_dict()


@contextmanager
def _progress_shown() -> Iterator[None]:
    """Until the end of the block, the standard error shows how far the data are read."""
    from rich.console import Console

    from app.training.terminal import preparation_shown

    console, lines = Console(stderr=True), logging.StreamHandler()
    log = logging.getLogger("app.training.preparation")
    if not console.is_terminal:
        log.addHandler(lines)
        log.setLevel(logging.INFO)
    try:
        with preparation_shown(console, shown=True):
            yield
    finally:
        log.removeHandler(lines)


def _require_place(output: Path) -> None:
    """Refuse, before the work that may take minutes, a file that could not be written after it."""
    if output.exists():
        raise FileExistsError
    if not output.parent.is_dir():
        _fail(f"{output.parent} is not a folder; make it, or choose another --output", _USAGE)


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)
