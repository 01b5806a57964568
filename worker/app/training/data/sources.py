"""Files of documents, read in pieces: text files, files of records, or a folder of them.

Every reader is a generator with bounded memory. It yields parts of a document (text, or arrays of
ids) and `DOCUMENT_END` after each document, so that the tokenizer can put its separator between
documents without knowing where they came from.
"""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.training import progress
from app.training.data.errors import DataError
from app.training.data.formats import RECORD_EXTENSIONS, Content, is_document_name
from app.training.data.parts import DOCUMENT_END, Part, Piece, Place
from app.training.data.records import record_columns, record_pieces

logger = logging.getLogger(__name__)

PIECE_CHARACTERS: Final = 1 << 20
"""Text is handed on in pieces of about this many characters, which bounds memory."""

_LONGEST_LOOK_BACK = 1 << 16  # characters searched for a good place to cut
_NAMES_IN_A_WARNING = 10


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
    for file in _walk(path):
        (files if _is_usable(file, path) else skipped).append(file)
    if skipped:
        names = ", ".join(repr(str(file)) for file in skipped[:_NAMES_IN_A_WARNING])
        more = len(skipped) - _NAMES_IN_A_WARNING
        logger.warning(
            "%d files in %r are not UTF-8 text or cannot be read and are skipped: %s%s",
            len(skipped),
            str(path),
            names,
            f" and {more} more" if more > 0 else "",
        )
    if not files:
        raise DataError(
            f"the dataset {str(path)!r} is a folder without usable files; it must hold text "
            "(.txt, .md, source code), .jsonl or .parquet; check the path"
        )
    contents = {_content_of(file) for file in files}
    if len(contents) > 1:
        raise DataError(
            f"the dataset {str(path)!r} mixes text and `input_ids`; a folder must "
            "hold one of them; move them into two folders"
        )
    return Corpus(tuple(files), contents.pop())


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def _is_usable(file: Path, folder: Path) -> bool:
    suffix = file.suffix.lower()
    if not is_document_name(suffix) or not _is_inside(file, folder):
        return False
    return os.access(file, os.R_OK) if suffix in RECORD_EXTENSIONS else _is_text(file)


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether a regular file is in the folder, whatever links say."""
    try:
        return file.resolve().is_relative_to(folder.resolve()) and file.is_file()
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def _is_text(file: Path) -> bool:
    try:
        for text in _decoded_blocks(file):
            if "\0" in text:
                return False
    except (OSError, DataError):
        return False
    return True


def _content_of(path: Path) -> Content:
    """Tell text from ids by the first record; `text` wins, so that `tokenizer` is obeyed."""
    if path.suffix.lower() not in RECORD_EXTENSIONS:
        return "text"
    columns = record_columns(path)
    if "text" in columns:
        return "text"
    if "input_ids" in columns:
        return "input_ids"
    raise DataError(
        f"{str(path)!r} has the columns {sorted(columns)}; it must have `text` or `input_ids`; "
        "rename the column that holds the text"
    )


def _pieces_of(path: Path, content: Content) -> Iterator[Piece]:
    if path.suffix.lower() in RECORD_EXTENSIONS:
        return record_pieces(path, content)
    return _text_pieces(path)


def _text_pieces(path: Path) -> Iterator[Piece]:
    carry, place = "", Place(path, "line", 1, runs_on=True)
    for text in _decoded_blocks(path):
        carry += text
        if len(carry) >= PIECE_CHARACTERS:
            cut = _good_cut(carry)
            yield Part(carry[:cut], place)
            place = place.after(carry[:cut])
            carry = carry[cut:]
    if carry:
        yield Part(carry, place)
    yield DOCUMENT_END


def _good_cut(text: str) -> int:
    """Return where to cut so that no word, and no run of white space, is divided.

    Byte-pair tokenizers split text before merging; between a letter or digit and white space all
    of the usual ones do, so pieces get the same ids as the whole. Text without such a place in its
    last 65,536 characters is cut at its end.
    """
    for i in range(len(text) - 1, max(1, len(text) - _LONGEST_LOOK_BACK), -1):
        if text[i].isspace() and text[i - 1].isalnum():
            return i
    return len(text)


def _decoded_blocks(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with path.open("rb") as file:
        while True:
            block = file.read(PIECE_CHARACTERS)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{str(path)!r} is not UTF-8: byte {read - pending + error.start} is "
                    f"0x{error.object[error.start]:02x}; text must be UTF-8; convert it with "
                    "`iconv -f latin1 -t utf-8`"
                ) from error
            if text:
                yield text
            if not block:
                return
            read += len(block)
            progress.advanced(len(block))
