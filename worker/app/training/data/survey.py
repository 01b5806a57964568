"""What can be told of data at once, from names, sizes and first bytes.

Standard library only and quick, whatever the size of the data, so that a control plane can refuse
at the start what a worker would refuse later. It is never stricter than `load_dataset`: what it
refuses is certain, and what it cannot tell it leaves open.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.training.data.array_files import read_layout
from app.training.data.errors import DataError
from app.training.data.folders import (
    content_of_columns,
    files_of,
    is_inside,
    require_files,
    require_one_content,
    require_readable,
)
from app.training.data.formats import (
    ARRAY_EXTENSIONS,
    RECORD_EXTENSIONS,
    Content,
    is_document_name,
)
from app.training.data.json_lines import json_record
from app.training.data.parquet_footer import read_footer
from app.training.data.parts import Place
from app.training.home import expanded

_HEAD_BYTES = 1 << 16
_LONGEST_FIRST_LINE = 1 << 20
_MOST_FILES = 1000
"""Files of a folder that are looked at; a larger folder is left to the worker."""
_SEPARATOR_BYTES = 2


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a dataset; None for what is not."""

    content: Content | None = None
    """Text or ids."""
    most: int | None = None
    """Ids, or bytes of text with the separators between documents; no more than that."""
    exact: bool = False
    """Whether there are exactly so many."""


def survey(path: Path, vocab_size: int) -> Survey:
    """Look at a dataset without reading it. Raises `DataError` for what cannot be trained on."""
    path = expanded(path)
    require_readable(path)
    try:
        if path.is_dir():
            return _folder(path)
        if path.suffix.lower() in ARRAY_EXTENSIONS:
            return Survey("input_ids", read_layout(path, vocab_size).count, exact=True)
        return _file(path)
    except OSError:
        return Survey()  # gone, or out of reach, since a moment ago


def _folder(folder: Path) -> Survey:
    files = list(islice(files_of(folder), _MOST_FILES + 1))
    usable = [file for file in files if _may_be_usable(file, folder)]
    if len(files) > _MOST_FILES:
        return Survey()
    require_files(folder, usable, files)
    found = [_file(file) for file in usable]
    contents = [each.content for each in found if each.content is not None]
    sizes = [each.most for each in found if each.most is not None]
    if len(contents) < len(found) or len(sizes) < len(found):
        return Survey()
    most = sum(sizes) + _SEPARATOR_BYTES * (len(found) - 1)
    return Survey(require_one_content(folder, contents), most)


def _may_be_usable(file: Path, folder: Path) -> bool:
    suffix = file.suffix.lower()
    if not is_document_name(suffix) or not is_inside(file, folder):
        return False
    return suffix in RECORD_EXTENSIONS or _head_problem(file) is None


def _file(path: Path) -> Survey:
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _json_lines(path)
    if suffix == ".parquet":
        return _parquet(path)
    size = path.stat().st_size
    if problem := _head_problem(path):
        raise DataError(problem)
    return Survey("text", size, exact=True)


def _head_problem(path: Path) -> str | None:
    """What is wrong with the beginning of a text file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _HEAD_BYTES)
    except OSError as error:
        return f"{str(path)!r} cannot be opened ({error.strerror}); check the path"
    except UnicodeDecodeError as error:
        return (
            f"{str(path)!r} is not UTF-8: byte {error.start} is 0x{head[error.start]:02x}; text "
            "must be UTF-8; convert it with `iconv -f latin1 -t utf-8`"
        )
    return None


def _json_lines(path: Path) -> Survey:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_FIRST_LINE):
            number += 1
            if line.strip():
                break
            if number >= _MOST_FILES:
                return Survey()
    if not line:
        raise DataError(f"{str(path)!r} is empty; it must hold records; check the path")
    if len(line) == _LONGEST_FIRST_LINE:
        return Survey()
    content = content_of_columns(path, set(json_record(line, Place(path, "line", number))))
    size = path.stat().st_size
    # An id takes two bytes at least, with its comma; text loses its quotes and more.
    return Survey(content, size if content == "text" else size // 2)


def _parquet(path: Path) -> Survey:
    footer = read_footer(path)
    return Survey() if footer is None else Survey(content_of_columns(path, footer.columns))
