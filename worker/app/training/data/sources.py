"""Files of documents, read in pieces: text files, files of records, or a folder of them.

Every reader is a generator with bounded memory. It yields parts of a document (text, or arrays of
ids) and `DOCUMENT_END` after each document, so that the tokenizer can put its separator between
documents without knowing where they came from.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.training.data.errors import DataError
from app.training.data.folders import (
    content_of_columns,
    files_of,
    is_inside,
    named,
    require_files,
    require_one_content,
)
from app.training.data.formats import RECORD_EXTENSIONS, Content, is_document_name
from app.training.data.parts import DOCUMENT_END, Part, Piece, Place
from app.training.data.records import record_columns, record_pieces
from app.training.data.text_files import decoded_blocks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files in a fixed order that hold the same kind of content."""

    files: tuple[Path, ...]
    content: Content

    def pieces(self) -> Iterator[Piece]:
        """Yield all documents of all files in order."""
        for path in self.files:
            yield from _pieces_of(path, self.content)


def find_corpus(path: Path) -> Corpus:
    """Return the files of `path`, which is one file or a folder searched in sorted order.

    In a folder, hidden files and folders are ignored; a file that is not text, cannot be read, or
    is a link that leads out of the folder is skipped with one warning that names them.
    """
    if not path.is_dir():
        return Corpus((path,), _content_of(path))
    files: list[Path] = []
    skipped: list[Path] = []
    for file in files_of(path):
        (files if _is_usable(file, path) else skipped).append(file)
    if skipped:
        logger.warning(
            "%d files in %r are not UTF-8 text or cannot be read and are skipped: %s",
            len(skipped),
            str(path),
            named(skipped),
        )
    require_files(path, files, skipped)
    return Corpus(tuple(files), require_one_content(path, map(_content_of, files)))


def _is_usable(file: Path, folder: Path) -> bool:
    suffix = file.suffix.lower()
    if not is_document_name(suffix) or not is_inside(file, folder):
        return False
    return os.access(file, os.R_OK) if suffix in RECORD_EXTENSIONS else _is_text(file)


def _is_text(file: Path) -> bool:
    try:
        for text in decoded_blocks(file):
            if "\0" in text:
                return False
    except (OSError, DataError):
        return False
    return True


def _content_of(path: Path) -> Content:
    """Tell text from ids by the first record; `text` wins, so that `tokenizer` is obeyed."""
    if path.suffix.lower() not in RECORD_EXTENSIONS:
        return "text"
    return content_of_columns(path, record_columns(path))


def _pieces_of(path: Path, content: Content) -> Iterator[Piece]:
    if path.suffix.lower() in RECORD_EXTENSIONS:
        return record_pieces(path, content)
    return _text_pieces(path)


def _text_pieces(path: Path) -> Iterator[Piece]:
    place = Place(path, "line", 1, runs_on=True)
    for text in decoded_blocks(path):
        yield Part(text, place)
        place = place.after(text)
    yield DOCUMENT_END
