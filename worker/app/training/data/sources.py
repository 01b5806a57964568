"""Files of documents, read in pieces: text files, files of records, or a folder of them.

Every reader is a generator with bounded memory. It yields parts of a document (text, or arrays of
ids) and `DOCUMENT_END` after each document, so that the tokenizer can put its separator between
documents without knowing where they came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.training import progress
from app.training.config import TrainingConfig
from app.training.data.array_files import read_layout
from app.training.data.arrays import open_token_file
from app.training.data.cache import cache_directory
from app.training.data.column_files import release_freed_memory
from app.training.data.conversations import conversation_columns
from app.training.data.errors import DataError
from app.training.data.facts import memoized
from app.training.data.folders import (
    NOT_TEXT,
    Skipped,
    as_one,
    content_of_columns,
    mask_note,
    require_files,
    require_mostly_read,
    require_one_content,
    require_readable,
    skipping,
)
from app.training.data.formats import RECORD_FORMS, Content, DataFile, ReadOptions
from app.training.data.parts import DOCUMENT_END, Part, Piece, Place
from app.training.data.records import conversation_records, record_columns, record_pieces
from app.training.data.selection import Role, select
from app.training.data.text_files import decoded_blocks
from app.training.data.text_records import text_note
from app.training.data_warnings import warn, warnings_of
from app.training.home import expanded
from app.training.reading import permitted

_FIELDS: Final[Mapping[Role, str]] = {"train": "dataset_path", "validation": "val_dataset_path"}
_IDS_PER_PIECE: Final = 1 << 20
_YES: Final = "yes"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files in a fixed order that hold the same kind of content."""

    files: tuple[DataFile, ...]
    content: Content
    options: ReadOptions

    def pieces(self) -> Iterator[Piece]:
        """Yield all documents of all files in order."""
        for file in self.files:
            if file.form == "array":
                yield from _array_pieces(file.path, self.options)
            elif file.form in RECORD_FORMS:
                yield from record_pieces(file, self.content, self.options.text_column)
            else:
                yield from _text_pieces(file.path)
        release_freed_memory()

    @property
    def size(self) -> int:
        """Bytes of all files, as they are on the disk."""
        return sum(file.path.stat().st_size for file in self.files)

    def records(self) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        """Yield all records of all files in order, of each what makes a conversation."""
        for file in self.files:
            yield from conversation_records(file, self.options.text_column)
        release_freed_memory()


@dataclass(frozen=True, slots=True)
class CorpusWithValidation:
    """The data of a path, and its own validation data where a folder has such files."""

    corpus: Corpus
    validation: Corpus | None

    @property
    def size(self) -> int:
        """Bytes of all files, as they are on the disk."""
        return self.corpus.size + (self.validation.size if self.validation else 0)


def corpus_at(path: Path, config: TrainingConfig, role: Role) -> CorpusWithValidation:
    """Return the data of a path that a configuration names.

    Raises:
        DataError: Data that cannot be used; raised before the first step.
    """
    path = permitted(expanded(path))
    require_readable(path)
    with warnings_of(_FIELDS[role]):
        return find_corpus(path, ReadOptions.of(config), role)


def find_corpus(path: Path, options: ReadOptions, role: Role) -> CorpusWithValidation:
    """Return the data of `path`, see `select`.

    In a folder, files that are named as text and cannot be decoded as text are skipped. One warning
    names the skipped files, with the reasons.
    """
    selection = select(path, role, options)
    if not path.is_dir():
        return CorpusWithValidation(_corpus(path, selection.files, options), None)
    directory = cache_directory(path)
    files, unreadable = _readable(selection.files, directory)
    validation, others = _readable(selection.validation, directory)
    skipped = [*selection.skipped, *unreadable, *others]
    if skipped:
        warn("dataset_path", skipping(path, skipped))
    require_files(path, files, skipped)
    if not options.allow_skipped:
        require_mostly_read(path, [file.path for file in (*files, *validation)], skipped)
    corpus = _corpus(path, files, options)
    return CorpusWithValidation(corpus, _corpus(path, validation, options) if validation else None)


def _corpus(path: Path, files: Sequence[DataFile], options: ReadOptions) -> Corpus:
    looks = {file.path: _look(file, options) for file in files}
    for note in _notes(looks.values()):
        warn("dataset_path", note)
    contents = {path: content for path, (content, _) in looks.items()}
    return Corpus(tuple(files), require_one_content(path, contents), options)


def _readable(files: Sequence[DataFile], directory: Path) -> tuple[list[DataFile], list[Skipped]]:
    """Return the files without those that are named as text and hold other bytes."""
    with progress.working("reading", sum(file.path.stat().st_size for file in files)):
        problems = {file: _text_problem(file, directory) for file in files}
    skipped = [Skipped(file.path, problem) for file, problem in problems.items() if problem]
    return [file for file, problem in problems.items() if not problem], skipped


def _text_problem(file: DataFile, directory: Path) -> str | None:
    if file.form != "text":
        return None
    try:
        found = memoized(file.path, directory, "text", lambda: _decodes(file.path))
    except OSError:
        return NOT_TEXT
    return None if found == _YES else NOT_TEXT


def _decodes(path: Path) -> str:
    try:
        for _ in decoded_blocks(path):
            pass
    except DataError:
        return "no"
    return _YES


def notes_of(files: Sequence[DataFile], options: ReadOptions) -> list[str]:
    """Return what is to be said of how the files of a dataset are read.

    Raises:
        DataError: One of them cannot be read.
    """
    return _notes(_look(file, options) for file in files)


def _notes(looks: Iterable[tuple[Content, str | None]]) -> list[str]:
    return as_one([note for _, note in looks if note])


def content_of_file(file: DataFile, options: ReadOptions) -> Content:
    """Return whether a file holds text, conversations or ids, by its first record.

    Where a record has both text and ids, the text is taken: the configured `tokenizer` encodes it.
    """
    return _look(file, options)[0]


def _look(file: DataFile, options: ReadOptions) -> tuple[Content, str | None]:
    """Return what a file holds, and what is to be said of how it is read."""
    if file.form == "array":
        return "input_ids", read_layout(file.path, options).note or None
    if file.form not in RECORD_FORMS:
        return "text", text_note(file)
    columns = record_columns(file, options.text_column)
    content = content_of_columns(file.path, columns, options)
    if content == "text" and conversation_columns(columns) is not None:
        warn(
            "dataset_path",
            f"{str(file.path)!r} has `{options.text_column}` and conversations; the text is "
            "trained on, every token of it; set `data: {loss_on: completion}` to train on what the "
            "assistant wrote",
        )
    return content, text_note(file) or mask_note(file.path, columns, content)


def _array_pieces(path: Path, options: ReadOptions) -> Iterator[Piece]:
    tokens = open_token_file(path, options)
    for start in range(0, tokens.count, _IDS_PER_PIECE):
        ids = tokens.ids[start : start + _IDS_PER_PIECE].astype(np.int64)
        yield Part(ids, Place(path, "id", start + 1))
    yield DOCUMENT_END


def _text_pieces(path: Path) -> Iterator[Piece]:
    place = Place(path, "line", 1, runs_on=True)
    for text in decoded_blocks(path):
        yield Part(text, place)
        place = place.after(text)
    yield DOCUMENT_END
