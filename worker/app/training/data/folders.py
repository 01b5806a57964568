"""What is in a folder, and the words for what is wrong with it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from app.training.data.choice import line_for
from app.training.data.conversations import conversation_columns
from app.training.data.errors import ColumnsError, DataError
from app.training.data.formats import COMPRESSED, KINDS, Content, ReadOptions, form_of_name

_NAMES_IN_A_MESSAGE = 10
NOT_TEXT: Final = "not text in UTF-8 or UTF-16"
_LOGS: Final = {"_delta_log": "Delta Lake", ".hoodie": "Apache Hudi"}
"""Folders that say which files beside them are valid."""


_ARCHIVES: Final = frozenset(
    [".zip", ".7z", ".rar", ".lz4", ".lzma", ".lzo", ".br", ".sz", ".snappy", ".z", ".tbz", ".txz"]
)
_CACHE: Final = frozenset({"blobs", "snapshots"})
"""Folders of a repository in the cache of the Hugging Face hub."""


_MASKS: Final = ("labels", "loss_mask", "completion_mask", "assistant_masks")
"""Columns that say which ids of a record are trained on."""


class Skipped(NamedTuple):
    """A file of a folder that is not read."""

    path: Path
    reason: str
    is_data: bool = True
    """Whether it may be data that was meant to be read; only such files count as lost."""


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
    if form_of_name(path) is None or not path.suffix:
        raise _unknown_name(path)


def _unknown_name(path: Path) -> DataError:
    if path.suffix.lower() in _ARCHIVES:
        return DataError(
            f"{str(path)!r} is an archive, or compressed in a way that is not read; it must be "
            ".gz, .zst, .xz or .bz2 around text or records, or .tar; unpack it"
        )
    if path.suffix.lower() in COMPRESSED:
        return DataError(
            f"{str(path)!r} is compressed, and only text, JSON, CSV and TSV are read so, named for "
            f"example `.jsonl{path.suffix}`; unpack or rename it"
        )
    return DataError(
        f"{str(path)!r} has the extension {path.suffix!r}; it must be text (.txt, .md, source "
        "code), .json, .jsonl, .csv, .tsv, .parquet, .arrow, .bin, .ds or .npy; convert or rename "
        "it"
    )


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its folders in sorted order, hidden ones left out.

    Raises:
        DataError: For a table whose log decides which of its files are valid, and a repository in
            the cache of the hub.
    """
    for root, folders, names in os.walk(folder):
        for name in _LOGS.keys() & set(folders):
            raise DataError(
                f"{root!r} is a table of {_LOGS[name]}: the log in {name!r} says which files hold "
                "rows that were not removed, and it is not read; write the table out as plain "
                f"Parquet, with {_LOGS[name]}'s own reader, and train on that"
            )
        if folders and set(folders) >= _CACHE:
            raise _is_cached_repository(Path(root))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def _is_cached_repository(root: Path) -> DataError:
    snapshots = sorted(path for path in (root / "snapshots").iterdir() if path.is_dir())
    return DataError(
        f"{str(root)!r} is a repository in the cache of the Hugging Face hub, with every revision "
        "that was downloaded; one of them must be named; set `dataset_path` to "
        + (" or ".join(repr(str(path)) for path in snapshots) or "a folder in its `snapshots`")
    )


def is_inside(file: Path, folder: Path) -> bool:
    """Whether a regular file is in the folder, whatever links say."""
    try:
        return file.resolve().is_relative_to(folder.resolve()) and file.is_file()
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def is_blob(file: Path, folder: Path) -> bool:
    """Whether a file of a snapshot in the Hugging Face cache is a link to the cache's own blobs.

    The cache lays `snapshots/REVISION/NAME` as a link to `blobs/HASH` of the same repository.
    """
    try:
        real = folder.resolve()
        homes = [parent.parent for parent in real.parents if parent.name == "snapshots"]
        target = file.resolve()
        return target.is_file() and any(target.parent == home / "blobs" for home in homes)
    except (OSError, RuntimeError):
        return False


def named(files: Collection[Path]) -> str:
    """Return the names of files in a message; of many the first ten."""
    return _listed([repr(str(file)) for file in files])


def skipping(folder: Path, skipped: Collection[Skipped]) -> str:
    """Return the warning of files that are not read."""
    return f"{len(skipped)} files in {str(folder)!r} are skipped: {_explained(skipped)}"


def as_one(notes: Sequence[str]) -> list[str]:
    """Return the first of the notes on a dataset's files, and of how many files more it is true."""
    more = len(notes) - 1
    return [notes[0] + f" (and {more} files more)" * (more > 0)] if notes else []


def _explained(skipped: Collection[Skipped]) -> str:
    """Return the names of files in a message with the reason of each; of many the first ten."""
    return _listed([f"{str(each.path)!r} ({each.reason})" for each in skipped])


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_IN_A_MESSAGE
    return ", ".join(names[:_NAMES_IN_A_MESSAGE]) + (f" and {more} more" if more > 0 else "")


def require_files(folder: Path, usable: Collection[object], skipped: Collection[Skipped]) -> None:
    """Raise `DataError` for a folder with nothing to train on."""
    if usable:
        return
    found = f"it holds only {_explained(skipped)}" if skipped else "it is empty"
    raise DataError(
        f"the dataset {str(folder)!r} is a folder without usable files ({found}); it must hold "
        "text (.txt, .md, source code) or records (.jsonl, .parquet and others); check the path"
    )


def require_mostly_read(folder: Path, read: Collection[Path], skipped: Collection[Skipped]) -> None:
    """Raise `DataError` where more bytes are skipped than read."""
    lost = [each for each in skipped if each.is_data]
    lost_bytes, read_bytes = _size([each.path for each in lost]), _size(read)
    if lost_bytes > read_bytes:
        raise DataError(
            f"{lost_bytes:,} bytes in {str(folder)!r} would be skipped and {read_bytes:,} bytes "
            f"read; more must be read than skipped ({_explained(lost)}); choose what is meant by "
            "`data: {files: [...]}`, move the others away, or set `data: {allow_skipped: true}`"
        )


def _size(paths: Collection[Path]) -> int:
    """Bytes of files; of those that cannot be reached none."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def require_one_content(path: Path, contents: Mapping[Path, Content]) -> Content:
    """Return the one kind of content of a dataset's files.

    Raises:
        DataError: There are two.
    """
    kinds = set(contents.values())
    if len(kinds) > 1:
        of = {kind: [file for file in contents if contents[file] == kind] for kind in kinds}
        mixed = [kind for kind in KINDS if kind in kinds]
        raise DataError(
            f"the dataset {str(path)!r} mixes {' and '.join(KINDS[kind] for kind in mixed)}: "
            + ", ".join(f"{KINDS[kind]} in {named(of[kind])}" for kind in mixed)
            + "; it must be one of them; choose with "
            + " or ".join(line_for(path, of[kind]) for kind in mixed)
        )
    return kinds.pop()


def mask_note(path: Path, columns: Collection[str], content: Content) -> str | None:
    """Return what to say of ids that have a mask beside them."""
    masks = [name for name in _MASKS if name in columns]
    if content != "input_ids" or not masks:
        return None
    return (
        f"{str(path)!r} has `{masks[0]}` beside `input_ids`; it is not read, and every id is "
        "trained on; to train on answers alone, give the conversations as `messages`"
    )


def content_of_columns(path: Path, columns: Collection[str], options: ReadOptions) -> Content:
    """Return what records with such columns hold.

    Text wins over a conversation, unless `data` says how to take that. Both win over ids: the
    configured `tokenizer` encodes them.

    Raises:
        DataError: For none of them.
    """
    is_conversation = conversation_columns(columns) is not None
    if options.text_column in columns and not (is_conversation and options.wants_conversations):
        return "text"
    if is_conversation:
        return "conversation"
    if "input_ids" in columns:
        return "input_ids"
    raise ColumnsError(
        f"{str(path)!r} has the columns {sorted(columns)}; it must have `{options.text_column}`, a "
        "conversation (`messages`, `prompt` and `completion`, or `instruction` and `output`), or "
        "`input_ids`",
        "set `text_column` to the one that holds the text",
    )
