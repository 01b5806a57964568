"""What a look into a dataset found, as plain values and as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from app.transformer.errors import FieldProblem

Use = Literal["train", "validation", "skipped"]


@dataclass
class FileReport:
    """A file of the data and what was read of it."""

    path: str
    use: Use
    size_bytes: int
    form: str | None = None
    """How it is read; None for a skipped one."""
    reason: str | None = None
    """Why it is skipped, or what is wrong with it."""
    documents: int = 0
    characters: int = 0
    tokens: int = 0
    complete: bool = False
    """Whether all of it was read; else the counts are those of its beginning."""
    read_share: float | None = None
    """Share of the file that was read, in [0, 1]; None where that is unknown."""


@dataclass
class LengthCount:
    """Documents of similar length."""

    tokens_from: int
    """They have as many tokens as this or more, and fewer than twice as many."""
    documents: int


@dataclass
class WindowSegment:
    """Text of a window that is trained on, or is not."""

    text: str
    trained: bool


@dataclass
class WindowReport:
    """One of the first windows of `sequence_length + 1` tokens, decoded."""

    tokens: int
    segments: list[WindowSegment]


@dataclass
class SourceReport:
    """How often a source of a mixture is gone through."""

    path: str
    share: float
    """Of the samples, in [0, 1]."""
    estimated_tokens: int | None
    """Of all of its training data; None where it cannot be estimated."""
    epochs: float | None
    """How often `max_steps` goes through it; None where that cannot be estimated."""


@dataclass
class Inspection:
    """A look into the data of a configuration. Counts are of what was read for training."""

    files: list[FileReport] = field(default_factory=list)
    more_files: int = 0
    """Files that are not listed."""
    documents: int = 0
    empty_documents: int = 0
    duplicate_documents: int = 0
    """Documents that are equal to an earlier one."""
    characters: int = 0
    tokens: int = 0
    complete: bool = True
    """Whether all of the training data was read."""
    estimated_tokens: int | None = None
    """Of all training data; None where it cannot be estimated."""
    lengths: list[LengthCount] = field(default_factory=list)
    tokenizer: str = ""
    vocabulary_used: int = 0
    """Ids that occur."""
    unknown_share: float = 0.0
    """Share of the tokens that replace unknown text."""
    rare_share: float = 0.0
    """Share of the tokens whose id occurs once."""
    epochs: float | None = None
    """How often `max_steps` goes through the data; None where that cannot be estimated, and for a
    mixture."""
    sources: list[SourceReport] = field(default_factory=list)
    """Of a mixture, in their order."""
    windows: list[WindowReport] = field(default_factory=list)
    problems: list[FieldProblem] = field(default_factory=list)
    """What keeps a run from its first step."""
    warnings: list[FieldProblem] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return dataclasses.asdict(self)


def summary(found: Inspection) -> str:
    """Return what was found, in one line."""
    much = "" if found.complete else "at least "
    parts = [
        f"{much}{found.documents:,} documents",
        f"{found.tokens:,} tokens",
        *([f"about {found.estimated_tokens:,} in all"] if _is_estimated(found) else []),
        *([f"{found.epochs:.3g} epochs in max_steps"] if found.epochs is not None else []),
        *([f"{found.empty_documents:,} empty"] if found.empty_documents else []),
        *([f"{found.duplicate_documents:,} duplicates"] if found.duplicate_documents else []),
        *([f"{skipped} files skipped"] if (skipped := _count(found, "skipped")) else []),
    ]
    return ", ".join(parts)


def _is_estimated(found: Inspection) -> bool:
    return not found.complete and found.estimated_tokens is not None


def _count(found: Inspection, use: Use) -> int:
    return sum(file.use == use for file in found.files)


def report(found: Inspection) -> Iterator[str]:
    """Yield the lines of a page for a terminal."""
    for problem in found.problems:
        yield f"error: {problem.message}"
    for warning in found.warnings:
        yield f"warning: {warning.message}"
    for file in found.files:
        yield f"{file.use:10}  {file.form or '-':10}  {file.path}  {_words(file)}"
    if found.more_files:
        yield f"and {found.more_files:,} more files"
    yield summary(found)
    for source in found.sources:
        times = "" if source.epochs is None else f", gone through {source.epochs:.3g} times"
        yield f"{source.share:.4g} of the samples are of {source.path}{times}"
    if found.tokens:
        yield (
            f"tokenizer {found.tokenizer}: {found.vocabulary_used:,} ids occur, "
            f"{found.unknown_share:.2%} of the tokens are unknown text, {found.rare_share:.2%} "
            "occur once"
        )
    yield from _histogram(found.lengths)
    for number, window in enumerate(found.windows, 1):
        yield f"window {number}, {window.tokens} tokens: {_shown(window)}"


def _words(file: FileReport) -> str:
    if file.use == "skipped":
        return f"({file.reason})"
    if file.use == "validation":
        return f"({file.size_bytes:,} bytes)"
    read = "" if file.complete else ", the beginning of it"
    counts = f"{file.documents:,} documents, {file.tokens:,} tokens{read}"
    return counts if file.reason is None else f"{counts}; {file.reason}"


_WIDTH = 40


def _histogram(lengths: list[LengthCount]) -> Iterator[str]:
    most = max((length.documents for length in lengths), default=0)
    for length in lengths:
        bar = "#" * max(1, _WIDTH * length.documents // most)
        yield f"{length.tokens_from:>10,} tokens and more  {bar} {length.documents:,}"


def _shown(window: WindowReport) -> str:
    """Return the window's text, with double square brackets around what is not trained on."""
    texts = (
        segment.text if segment.trained else f"[[{segment.text}]]" for segment in window.segments
    )
    return repr("".join(texts))
