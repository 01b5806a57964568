"""Files of documents, read in pieces: text files, JSON Lines, Parquet, or a folder of them.

Every reader is a generator with bounded memory. It yields pieces of a document (text, or arrays of
ids) and `DOCUMENT_END` after each document, so that the tokenizer can put its separator between
documents without knowing where they came from.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.data.errors import DataError

logger = logging.getLogger(__name__)

_TEXT_EXTENSIONS = """
    .txt .text .md .markdown .rst .tex .org .adoc .log .csv .tsv
    .py .pyi .ipynb .c .h .cc .cpp .cxx .hpp .cu .cuh .m .mm .rs .go .java .kt .kts .scala .swift
    .js .jsx .mjs .ts .tsx .css .scss .html .htm .xml .svg .json .yaml .yml .toml .ini .cfg .conf
    .sh .bash .zsh .fish .ps1 .bat .rb .php .pl .lua .r .jl .hs .ml .clj .ex .exs .erl .el .lisp
    .vim .sql .proto .graphql .cmake .gradle .tf .dockerfile .mk .asm .s .f90 .v .sv .vhd .dart .cs
    .fs .vb .nim .zig .d
"""

TEXT_EXTENSIONS: Final = frozenset(_TEXT_EXTENSIONS.split())
"""What counts as text. In a folder, files without an extension (README, Makefile) do too."""

RECORD_EXTENSIONS: Final = frozenset({".jsonl", ".parquet"})

PIECE_CHARACTERS: Final = 1 << 20
"""Text is handed on in pieces of about this many characters, which bounds memory."""

_LONGEST_LOOK_BACK = 1 << 16  # characters searched for a good place to cut
_ROWS_PER_BATCH = 1024
_NAMES_IN_A_WARNING = 10


class DocumentEnd:
    """Marks the end of a document among its pieces."""


DOCUMENT_END: Final = DocumentEnd()

Piece = str | npt.NDArray[np.int64] | DocumentEnd
Content = Literal["text", "input_ids"]


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
        names = ", ".join(str(file) for file in skipped[:_NAMES_IN_A_WARNING])
        more = len(skipped) - _NAMES_IN_A_WARNING
        logger.warning(
            "%d files in %s are not UTF-8 text or cannot be read and are skipped: %s%s",
            len(skipped),
            path,
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
    if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
        return False
    if suffix in RECORD_EXTENSIONS:
        return os.access(file, os.R_OK)
    return (suffix in TEXT_EXTENSIONS or not suffix) and _is_text(file)


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
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        first = next(_json_records(path), None)
        if first is None:
            raise DataError(f"{str(path)!r} is empty; it must hold records; check the path")
        columns = set(first[1])
    elif suffix == ".parquet":
        columns = set(_open_parquet(path).schema_arrow.names)
    else:
        return "text"
    if "text" in columns:
        return "text"
    if "input_ids" in columns:
        return "input_ids"
    raise DataError(
        f"{str(path)!r} has the columns {sorted(columns)}; it must have `text` or `input_ids`; "
        "rename the column that holds the text"
    )


def _pieces_of(path: Path, content: Content) -> Iterator[Piece]:
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _json_lines_pieces(path, content)
    if suffix == ".parquet":
        return _parquet_pieces(path, content)
    return _text_pieces(path)


def _text_pieces(path: Path) -> Iterator[Piece]:
    carry = ""
    for text in _decoded_blocks(path):
        carry += text
        if len(carry) >= PIECE_CHARACTERS:
            cut = _good_cut(carry)
            yield carry[:cut]
            carry = carry[cut:]
    if carry:
        yield carry
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


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            progress.advanced(len(line))
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:  # UnicodeDecodeError is one
                raise DataError(
                    f"line {number} of {str(path)!r} is not JSON in UTF-8 ({error}); each line "
                    "must be one JSON object; repair or remove the line"
                ) from error
            if not isinstance(record, dict):
                raise DataError(
                    f"line {number} of {str(path)!r} is a {type(record).__name__}; each line must "
                    'be one JSON object such as {"text": "..."}; repair or remove the line'
                )
            yield number, record


def _json_lines_pieces(path: Path, content: Content) -> Iterator[Piece]:
    for number, record in _json_records(path):
        value = record.get(content)
        where = f"line {number} of {str(path)!r}"
        if content == "text":
            if not isinstance(value, str):
                raise _wrong_field(where, "text", "a string", value)
            yield value
        else:
            yield _ids_array(value, where)
        yield DOCUMENT_END


def _ids_array(value: object, where: str) -> npt.NDArray[np.int64]:
    if not isinstance(value, list) or not all(type(i) is int for i in value):
        raise _wrong_field(where, "input_ids", "a list of integers", value)
    try:
        return np.array(value, dtype=np.int64)
    except OverflowError as error:
        raise _wrong_field(where, "input_ids", "a list of 64-bit integers", value) from error


def _wrong_field(where: str, name: str, rule: str, value: object) -> DataError:
    shown = "missing" if value is None else repr(value)[:60]
    return DataError(
        f"`{name}` in {where} is {shown}; it must be {rule}; repair or remove the record"
    )


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as Parquet ({error}); it must be a whole Parquet file; "
            "write it again"
        ) from error


def _parquet_pieces(path: Path, content: Content) -> Iterator[Piece]:
    import pyarrow as pa

    with _open_parquet(path) as file:
        if content not in file.schema_arrow.names:
            raise DataError(
                f"{str(path)!r} has the columns {sorted(file.schema_arrow.names)}; it must have "
                f"`{content}` like the other files; rename its column"
            )
        kind = file.schema_arrow.field(content).type
        if not _is_kind(kind, content):
            rule = "strings" if content == "text" else "lists of integers"
            raise DataError(
                f"column `{content}` of {str(path)!r} holds {kind}; it must hold {rule}; "
                "convert the column"
            )
        for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=[content]):
            progress.advanced(batch.nbytes)
            column = batch.column(0)
            if column.null_count:
                raise _wrong_field(f"a row of {str(path)!r}", content, "present", None)
            if content == "text":
                for text in column.to_pylist():
                    yield text
                    yield DOCUMENT_END
            else:  # ids of neighbouring documents simply follow each other
                flat = column.flatten().cast(pa.int64())
                yield flat.to_numpy(zero_copy_only=False)
                yield DOCUMENT_END


def _is_kind(kind: Any, content: Content) -> bool:
    import pyarrow.types as types

    if content == "text":
        return bool(types.is_string(kind) or types.is_large_string(kind))
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_integer(kind.value_type))
