"""What a look into data found, as lines for a terminal; and the look without a service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training_engine._record_base import read
from training_engine.cli import extensions
from training_engine.cli.output import size
from training_engine.errors import InvalidArgumentError, InvalidConfigError
from training_engine.records import InspectedFile, InspectedWindow, Inspection, LengthCount

_BAR_WIDTH = 40


def look_here(data: str | None, document: str | dict[str, Any]) -> Inspection:
    """Look into data by the library on this machine.

    Raises:
        InvalidArgumentError: The data are an uploaded dataset.
        InvalidConfigError: The configuration has problems, or names no data.
        MissingExtraError: The library is not installed.
    """
    if data is not None and "://" in data:
        raise InvalidArgumentError(
            f"{data} is a dataset of a service; without one a file or folder is looked into; name "
            "one, or start the service with `training-engine up`"
        )
    try:
        return read(Inspection, extensions.call("inspect", data, document))
    except ValueError as error:
        raise InvalidConfigError(str(error)) from error


def inspection_lines(inspection: Inspection) -> Iterator[str]:
    """Yield what is wrong first, then the files, the counts and the first windows."""
    for problem in inspection.problems:
        yield f"error: {problem}"
    for warning in inspection.warnings:
        yield f"warning: {warning}"
    for file in inspection.files:
        yield f"{file.use:10}  {file.form or '-':10}  {size(file.size_bytes):>9}  {_file(file)}"
    if inspection.more_files:
        yield f"and {inspection.more_files:,} more files"
    yield from _counts(inspection)
    yield from _histogram(inspection.lengths)
    for number, window in enumerate(inspection.windows, 1):
        yield f"window {number}, {window.tokens} tokens: {_text(window)!r}"


def _file(file: InspectedFile) -> str:
    about = f"{file.path}" if file.reason is None else f"{file.path}: {file.reason}"
    if file.use != "train":
        return about
    part = "" if file.complete else ", the beginning alone"
    return f"{about} ({file.documents:,} documents, {file.tokens:,} tokens{part})"


def _counts(inspection: Inspection) -> Iterator[str]:
    whole = "" if inspection.complete else " of the part that was read"
    yield (
        f"{inspection.documents:,} documents, {inspection.characters:,} characters, "
        f"{inspection.tokens:,} tokens{whole}; {inspection.empty_documents:,} empty, "
        f"{inspection.duplicate_documents:,} copies"
    )
    if not inspection.complete and inspection.estimated_tokens is not None:
        yield f"about {inspection.estimated_tokens:,} tokens in all"
    if inspection.epochs is not None:
        yield f"max_steps goes through the data {inspection.epochs:.3g} times"
    for source in inspection.sources:
        times = (
            ""
            if source.epochs is None
            else f"; max_steps goes through it {source.epochs:.3g} times"
        )
        yield f"{source.share:.4g} of the samples are of {source.path}{times}"
    if inspection.tokens:
        yield (
            f"tokenizer {inspection.tokenizer}: {inspection.vocabulary_used:,} different ids; "
            f"{inspection.unknown_share:.2%} of the tokens are unknown text, "
            f"{inspection.rare_share:.2%} occur once"
        )


def _histogram(lengths: tuple[LengthCount, ...]) -> Iterator[str]:
    most = max((length.documents for length in lengths), default=0)
    for length in lengths:
        bar = "█" * max(1, _BAR_WIDTH * length.documents // most)
        yield f"{length.tokens_from:>10,} tokens and more  {bar} {length.documents:,}"


def _text(window: InspectedWindow) -> str:
    """Return the window's text, with double square brackets around what is not trained on."""
    return "".join(
        segment.text if segment.trained else f"[[{segment.text}]]" for segment in window.segments
    )
