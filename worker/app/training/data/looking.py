"""Looks into the data of a configuration before it is trained on, in bounded time and memory.

The beginning of each file is read as training reads it, and tokenized; a short dataset is read
whole. Nothing is written, and torch is not imported.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from app.training import progress
from app.training.config import TrainingConfig
from app.training.data.array_files import read_layout
from app.training.data.documents import parts_and_breaks
from app.training.data.errors import DataError, require_id, require_row
from app.training.data.folders import require_readable
from app.training.data.formats import DataFile, ReadOptions
from app.training.data.inspection import FileReport, Inspection
from app.training.data.parquet_footer import read_footer
from app.training.data.parts import DocumentEnd, Part, Piece, Place
from app.training.data.pieces import cut_pieces
from app.training.data.sample_text import first_conversations, pieces_of, tokenizer_of_sample
from app.training.data.selection import Selection, select
from app.training.data.sources import content_of_file, notes_of
from app.training.data.tally import (
    WINDOWS,
    Bounds,
    Tally,
    estimated_tokens,
    fill_in_counts,
    source_reports,
)
from app.training.home import expanded
from app.training.preflight import VisibleData, inspect_run
from app.training.reading import PathNotAllowedError, permitted
from app.training.tokenizer import Ids, Tokenizer, TokenizerError
from app.transformer.errors import FieldProblem

__all__ = ["Bounds", "inspect_data"]

_MOST_FILES_LISTED = 200
_SMALLEST_PART = 1 << 16
_VOCABULARY = "name the configuration that the ids were made for"


def inspect_data(config: TrainingConfig, bounds: Bounds | None = None) -> Inspection:
    """Look into the data of a valid configuration, on this machine.

    Whatever is wrong with the data is among the `problems`; nothing is raised for it.
    """
    preflight = inspect_run(config, VisibleData.here(config))
    bounds = bounds or Bounds()
    inspection = Inspection(
        problems=list(preflight.problems),
        warnings=list(preflight.warnings),
        tokenizer=config.tokenizer,
    )
    try:
        selections = {name: _selected(path, config) for name, path in _paths(config).items()}
        files = [file for selection in selections.values() for file in selection.files]
        for name, selection in selections.items():
            _add_warnings(inspection, name, notes_of(selection.files, ReadOptions.of(config)))
        tokenizer = tokenizer_of_sample(files, config, bounds.characters)
    except (DataError, PathNotAllowedError, TokenizerError) as error:
        _add_problem(inspection, "dataset_path", str(error))
        return inspection
    tally = Tally(bounds, tokenizer, config.model_config.vocab_size, inspection)
    files_left = len(files)
    tokens_of_sources = []
    for name, selection in selections.items():
        tokens, files_before = tally.tokens, len(tally.reports)
        for file in selection.files:
            _read_beginning(name, file, config, tally, files_left)
            files_left -= 1
        _list_others(selection, inspection)
        read = tally.reports[files_before:]
        tokens_of_sources.append(estimated_tokens(tally.tokens - tokens, read))
    fill_in_counts(tally, config)
    inspection.sources = source_reports(tokens_of_sources, config)
    if tokenizer is not None and not inspection.problems:
        inspection.windows = first_conversations(files[0], config, tokenizer) or inspection.windows
    return inspection


def _paths(config: TrainingConfig) -> dict[str, Path]:
    paths = {"dataset_path": config.dataset_path} if config.dataset_path else {}
    sources = enumerate(config.data.sources)
    paths |= {f"data.sources[{number}].path": source.path for number, source in sources}
    return {name: expanded(path) for name, path in paths.items()}


def _selected(path: Path, config: TrainingConfig) -> Selection:
    try:
        path = permitted(path)
        require_readable(path)
        return select(path, "train", ReadOptions.of(config))
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror or error})") from error


def _read_beginning(
    name: str, file: DataFile, config: TrainingConfig, tally: Tally, files: int
) -> None:
    """Read the beginning of a file, its part of what is left."""
    report = FileReport(_name(file.path), "train", file.path.stat().st_size, file.form)
    _list(report, tally.inspection)
    tally.reports.append(report)
    if tally.is_out_of_time:
        tally.inspection.complete = False
        return
    reader = _Reader(report, max(tally.left // files, _SMALLEST_PART), tally)
    try:
        with progress.reporting_to(reader.count_bytes):
            _count(reader, file, config, tally)
        require_row(repr(report.path), reader.largest, tally.vocab_size, _VOCABULARY)
    except (DataError, PathNotAllowedError, TokenizerError) as error:
        report.reason = str(error)
        _add_problem(tally.inspection, name, report.reason)
    except OSError as error:
        report.reason = f"cannot be read ({error.strerror or error})"
    tally.left -= report.characters
    tally.inspection.complete &= report.complete
    _estimate_share(reader, file, ReadOptions.of(config))


class _Reader:
    """Counts the documents of one file on their way to the tokenizer, up to a limit."""

    def __init__(self, report: FileReport, limit: int, tally: Tally) -> None:
        self.report, self.bytes_read = report, 0
        self._limit, self._tally = limit, tally
        self.digests: list[bytes] = []
        """Of documents that the tokenizer has not come to."""
        self.largest = -1
        """Of the ids that the file itself holds."""

    def count_bytes(self, size: int) -> None:
        """Count bytes that were read."""
        self.bytes_read += size

    def require_ids(self, ids: Ids, place: Place) -> Ids:
        """Return the ids as they are.

        Raises:
            DataError: Some cannot be ids.
        """
        if ids.size:
            for token in (int(ids.min()), int(ids.max())):
                require_id(place, token)
            self.largest = max(self.largest, int(ids.max()))
        return ids

    def pieces(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces until the limit is reached."""
        digest, size = hashlib.blake2b(digest_size=8), 0
        pieces = iter(pieces)
        for piece in pieces:
            if isinstance(piece, DocumentEnd):
                self._end(digest, size)
                digest, size = hashlib.blake2b(digest_size=8), 0
            else:
                content = piece.content
                text = isinstance(content, str)
                digest.update(content.encode() if text else content.tobytes())  # type: ignore[union-attr]
                size += len(content)
                self.report.characters += len(content)
            yield piece
            if self.report.characters >= self._limit or self._tally.is_out_of_time:
                if size:
                    self._end(digest, size)
                following = (each for each in pieces if isinstance(each, Part))
                self.report.complete = next(following, None) is None
                return
        self.report.complete = True

    def _end(self, digest: hashlib.blake2b, size: int) -> None:
        self.report.documents += 1
        if size:
            self.digests.append(digest.digest())
        else:
            self._tally.inspection.empty_documents += 1


def _count(reader: _Reader, file: DataFile, config: TrainingConfig, tally: Tally) -> None:
    head_length = WINDOWS * config.get_sequence_length() + 1
    separator = _separator(file, config, tally.tokenizer)
    if tally.uncounted_size or tally.counts.any():  # an earlier file ends in a document
        tally.add_ids(separator, head_length)
    tokens = 0
    for ids in _encoded(reader, pieces_of(file, config), config, tally):
        if ids is not None:
            tokens += len(ids)
        else:
            _end_document(reader, tokens, tally)
            tokens = 0
        tally.add_ids(separator if ids is None else ids, head_length)
    if tokens:
        _end_document(reader, tokens, tally)


def _end_document(reader: _Reader, tokens: int, tally: Tally) -> None:
    reader.report.tokens += tokens
    tally.add_document(reader.digests.pop(0), tokens)


def _separator(file: DataFile, config: TrainingConfig, tokenizer: Tokenizer | None) -> Ids:
    """Return the ids between two documents; there are none between documents of ids."""
    text, none = config.data.document_separator, np.empty(0, dtype=np.int64)
    content = content_of_file(file, ReadOptions.of(config))
    if tokenizer is None or content == "input_ids":
        return none
    if content == "conversation" and text is None and tokenizer.end_of_text_id is None:
        return none
    if text is None and tokenizer.end_of_text_id is not None:
        return np.array([tokenizer.end_of_text_id])
    return tokenizer.encode("\n\n" if text is None else text)


def _encoded(
    reader: _Reader, pieces: Iterable[Piece], config: TrainingConfig, tally: Tally
) -> Iterator[Ids | None]:
    parts = parts_and_breaks(reader.pieces(pieces))
    for part in _cut_texts(parts, tally.tokenizer, config):
        if part is None:
            yield None
        elif isinstance(part.content, str):
            assert tally.tokenizer is not None
            yield tally.tokenizer.encode(part.content)
        else:
            yield reader.require_ids(np.asarray(part.content), part.place)


def _cut_texts(
    parts: Iterator[Part | None], tokenizer: Tokenizer | None, config: TrainingConfig
) -> Iterator[Part | None]:
    """Return text in pieces that can be encoded alone; ids as they are."""
    first = next(parts, None)
    if first is None:
        return iter(())
    whole = itertools.chain([first], parts)
    if isinstance(first.content, str) and tokenizer is not None:
        return cut_pieces(whole, tokenizer.cut, config.tokenizer)
    return whole


def _estimate_share(reader: _Reader, file: DataFile, options: ReadOptions) -> None:
    """Set the share of the file that was read: by rows, or by bytes unless it is compressed."""
    report = reader.report
    if report.complete:
        report.read_share = 1.0
    elif file.form == "parquet":
        footer = read_footer(file.path)
        report.read_share = report.documents / footer.rows if footer and footer.rows else None
    elif file.form == "array":
        report.read_share = report.tokens / read_layout(file.path, options).count
    elif reader.bytes_read and reader.bytes_read <= report.size_bytes:
        report.read_share = reader.bytes_read / report.size_bytes


def _list_others(selection: Selection, inspection: Inspection) -> None:
    for file in selection.validation:
        size = file.path.stat().st_size
        _list(FileReport(_name(file.path), "validation", size, file.form), inspection)
    for skipped in selection.skipped:
        size = skipped.path.stat().st_size if skipped.path.is_file() else 0
        _list(FileReport(_name(skipped.path), "skipped", size, reason=skipped.reason), inspection)


def _name(path: Path) -> str:
    """Return a path as text; a file system may hold names that are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def _list(file: FileReport, inspection: Inspection) -> None:
    if len(inspection.files) < _MOST_FILES_LISTED:
        inspection.files.append(file)
    else:
        inspection.more_files += 1


def _add_warnings(inspection: Inspection, name: str, notes: Sequence[str]) -> None:
    """Add what the preflight has not said: it does not look into compressed files."""
    said = {warning.message for warning in inspection.warnings}
    inspection.warnings += [FieldProblem(name, note) for note in notes if note not in said]


def _add_problem(inspection: Inspection, name: str, message: str) -> None:
    if message not in [problem.message for problem in inspection.problems]:
        inspection.problems.append(FieldProblem(name, message))
