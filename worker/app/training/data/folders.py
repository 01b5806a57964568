"""Which files of a folder are data, and of what kind. Standard library only, see `survey`."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from app.training.data.errors import DataError
from app.training.data.formats import (
    ARRAY_EXTENSIONS,
    RECORD_EXTENSIONS,
    TEXT_EXTENSIONS,
    Content,
)

_NAMES_IN_A_MESSAGE = 10


def require_readable(path: Path) -> None:
    """Raise `DataError` unless `path` is a folder, or a file of a known kind that can be opened."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            return
        if not stat.S_ISREG(mode):  # opening a pipe might wait for ever
            raise DataError(
                f"the dataset {str(path)!r} is a pipe, socket or device; it must be a regular file "
                "or a folder, since it is read more than once; write the data to a file"
            )
        path.open("rb").close()
    except OSError as error:
        raise DataError(
            f"the dataset {str(path)!r} cannot be opened ({error.strerror}); it must "
            "be a readable file or folder; check the path"
        ) from error
    known = TEXT_EXTENSIONS | RECORD_EXTENSIONS | ARRAY_EXTENSIONS
    if path.suffix.lower() not in known:
        raise DataError(
            f"{str(path)!r} has the extension {path.suffix!r}; it must be text (.txt, .md, source "
            "code), .jsonl, .parquet, .bin or .npy; convert or rename it"
        )


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its folders in sorted order, hidden ones left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def is_inside(file: Path, folder: Path) -> bool:
    """Whether a regular file is in the folder, whatever links say."""
    try:
        return file.resolve().is_relative_to(folder.resolve()) and file.is_file()
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def named(files: Collection[Path]) -> str:
    """The names of files in a message; of many the first ten."""
    names = ", ".join(repr(str(file)) for file in list(files)[:_NAMES_IN_A_MESSAGE])
    more = len(files) - _NAMES_IN_A_MESSAGE
    return f"{names} and {more} more" if more > 0 else names


def require_files(folder: Path, usable: Collection[Path], skipped: Collection[Path]) -> None:
    """Raise `DataError` for a folder with nothing to train on."""
    if usable:
        return
    found = f"it holds only {named(skipped)}" if skipped else "it is empty"
    raise DataError(
        f"the dataset {str(folder)!r} is a folder without usable files ({found}); it must hold "
        "text (.txt, .md, source code), .jsonl or .parquet; check the path"
    )


def require_one_content(path: Path, contents: Iterable[Content]) -> Content:
    """The one kind of content of a dataset. Raises `DataError` where there are two."""
    kinds = set(contents)
    if len(kinds) > 1:
        raise DataError(
            f"the dataset {str(path)!r} mixes text and `input_ids`; a folder must "
            "hold one of them; move them into two folders"
        )
    return kinds.pop()


def content_of_columns(path: Path, columns: Collection[str]) -> Content:
    """Text wins over ids, so that `tokenizer` is obeyed. Raises `DataError` for neither."""
    if "text" in columns:
        return "text"
    if "input_ids" in columns:
        return "input_ids"
    raise DataError(
        f"{str(path)!r} has the columns {sorted(columns)}; it must have `text` or `input_ids`; "
        "rename the column that holds the text"
    )
