"""Which files of a dataset are trained on, which validate, and which are left alone, and why.

Decided by names, layout and first records. Standard library only, since a control plane asks too.
In a folder one kind of file is the data:
- records, where there are any: text beside them is about the data and is not trained on;
- arrays of ids, where one is named for training, or where there is no other data;
- else text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from app.training.data.bystanders import is_about_data, reason_to_leave, require_no_pointer
from app.training.data.choice import Choice, line_for, require_no_choice
from app.training.data.errors import DataError
from app.training.data.folders import (
    Skipped,
    files_of,
    is_blob,
    is_inside,
    named,
    require_files,
)
from app.training.data.formats import (
    COMPRESSED,
    PLAIN_TEXT,
    RECORD_FORMS,
    DataFile,
    Form,
    ReadOptions,
    form_of_name,
    inner_name,
)
from app.training.data.json_lines import kind_of_json
from app.training.data.splits import Split, split_of
from app.training.data.tar_files import has_samples
from app.training.data.text_records import holds_json_lines, is_record
from app.training.reading import PathNotAllowedError, permitted

_TEXT_NOTES: Final = frozenset({"_temporary"})

Role = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of a dataset by their use."""

    files: tuple[DataFile, ...]
    """What was asked for."""
    validation: tuple[DataFile, ...] = ()
    """Files that the dataset itself holds for validation, beside those for training."""
    skipped: tuple[Skipped, ...] = ()


def select(path: Path, role: Role, options: ReadOptions) -> Selection:
    """Return the files of `path`, which is one file or a folder searched in sorted order.

    Hidden files and folders are ignored. A link is followed within the folder, and to the blobs of
    the same repository in the Hugging Face cache. What
    `options` chooses is meant for training alone.

    Raises:
        DataError: There is nothing to train on, or several kinds of data and no choice among them.
    """
    choice = options.choice if role == "train" else Choice()
    if not path.is_dir():
        require_no_choice(choice, path)
        return Selection((_only_file(path, options.text_column),))
    listing = _list_folder(path, options.text_column, choice)
    if choice.files:
        files = _chosen(listing)
    elif listing.records:
        files = _only_records(listing)
    elif _are_arrays_data(listing):
        files = listing.arrays
        listing.skip(
            listing.texts + listing.objects, "not ids, as the data beside it", is_data=False
        )
    else:
        files = _only_texts(listing)
        listing.skip(listing.arrays, "ids beside text")
        if not (choice.split or _is_divided(listing, files)):
            require_files(path, files, listing.skipped)
            return Selection(tuple(files), skipped=tuple(listing.skipped))
    require_files(path, files, listing.skipped)
    return _divided(listing, files, role, choice)


def _only_file(path: Path, text_column: str) -> DataFile:
    form = form_of_name(path)
    if form is None:
        raise DataError(f"{str(path)!r} is not named as data; rename it")
    require_no_pointer(path)
    if form == "json" and kind_of_json(path)[0] == "other":
        form = "text"
    elif form == "text" and holds_json_lines(path, text_column):
        form = "json lines"
    elif reason := _without_samples(path, form):
        raise DataError(f"{str(path)!r} is {reason}")
    return DataFile(path, form)


@dataclass
class _Listing:
    """The files of a folder by what they may be."""

    folder: Path
    records: list[DataFile] = field(default_factory=list)
    arrays: list[DataFile] = field(default_factory=list)
    texts: list[DataFile] = field(default_factory=list)
    objects: list[DataFile] = field(default_factory=list)
    """`.json` files of one object without text: a record of unknown fields, or no record."""
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, files: Sequence[DataFile], reason: str, *, is_data: bool = True) -> None:
        self.skipped += [
            Skipped(file.path, reason, is_data and not is_about_data(file.path)) for file in files
        ]

    def split(self, file: DataFile) -> Split | None:
        return split_of(file.path.relative_to(self.folder))


def _list_folder(folder: Path, text_column: str, choice: Choice) -> _Listing:
    listing = _Listing(folder)
    for path in choice.among(list(files_of(folder)), folder):
        form = form_of_name(path)
        if form in RECORD_FORMS and not choice.files and _is_note(path, folder):
            listing.skipped.append(Skipped(path, "its name begins with _", is_data=False))
        elif not choice.files and (reason := reason_to_leave(path)):
            listing.skipped.append(Skipped(path, reason, is_data=False))
        elif form is None or (reason := _unusable(path, folder) or _without_samples(path, form)):
            reason = reason or _unusable(path, folder) or _unknown(path)
            listing.skipped.append(Skipped(path, reason, is_data=not is_about_data(path)))
        else:
            require_no_pointer(path)
            _add(listing, path, form, text_column)
    return listing


def _add(listing: _Listing, path: Path, form: Form, text_column: str) -> None:
    if form == "json":
        _add_json(listing, path, text_column)
        return
    if form == "text" and holds_json_lines(path, text_column):
        form = "json lines"
    _list_of(listing, form).append(DataFile(path, form))


def _unknown(path: Path) -> str:
    """Why a file with such a name is not data."""
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        return "a pickle, which is never loaded"
    return "compressed as a whole; unpack it" if suffix in COMPRESSED else "not named as data"


def _unusable(path: Path, folder: Path) -> str | None:
    """Why a file cannot be data, whatever is in it."""
    # The search of a folder enters no links: what is no link itself is inside.
    if not (is_inside(path, folder) if path.is_symlink() else path.is_file()):
        if not is_blob(path, folder):
            return "not a file, or a link that leads out of the folder"
        try:
            permitted(path)
        except PathNotAllowedError:
            real = str(path.resolve())
            return f"a link to {real!r}, which is outside the folders that this job may read"
    if path.stat().st_size == 0:
        return "empty"
    return None if os.access(path, os.R_OK) else "cannot be read"


def _without_samples(path: Path, form: str) -> str | None:
    try:
        is_empty = form == "tar" and not has_samples(path)
    except DataError as error:
        return str(error)
    return "an archive without .txt and .json; unpack it" if is_empty else None


def _is_note(path: Path, folder: Path) -> bool:
    """Spark, Databricks and others begin the names of their own notes with an underscore."""
    return any(part.startswith("_") for part in path.relative_to(folder).parts)


def _list_of(listing: _Listing, form: str) -> list[DataFile]:
    if form in RECORD_FORMS:
        return listing.records
    return listing.arrays if form == "array" else listing.texts


def _add_json(listing: _Listing, path: Path, text_column: str) -> None:
    try:
        kind, fields = kind_of_json(path)
    except DataError:  # JSON with comments, or no JSON
        kind, fields = "object", frozenset()
    if kind == "records" or is_record(fields, text_column):
        listing.records.append(DataFile(path, "json"))
    elif kind == "object":
        listing.objects.append(DataFile(path, "json"))
    else:
        listing.texts.append(DataFile(path, "text"))


def _is_plain(file: DataFile) -> bool:
    named_so = inner_name(file.path).suffix.lower() in PLAIN_TEXT
    return named_so and not is_about_data(file.path)


def _only_records(listing: _Listing) -> list[DataFile]:
    trained = [file for file in listing.arrays if listing.split(file) == "train"]
    others = trained + [file for file in listing.texts if _is_plain(file)]
    code = [file for file in listing.texts if not is_about_data(file.path)]
    if others or _bytes_of(code) > _bytes_of(listing.records):  # fixtures within source code, say
        others = others or code
        raise _unclear(
            listing.folder,
            f"records ({_shown(listing.records)}) and, beside them, text or ids ({_shown(others)})",
            _line(listing.folder, listing.records),
            _line(listing.folder, others),
        )
    listing.skip(listing.texts + listing.objects, "not records, as the data beside it")
    listing.skip(listing.arrays, "ids beside records")
    return listing.records


def _chosen(listing: _Listing) -> list[DataFile]:
    """All that patterns chose, but for what is about the data rather than the data."""
    data = [*listing.records, *listing.arrays]
    texts = listing.texts + [DataFile(file.path, "text") for file in listing.objects]
    about = [file for file in texts if data and is_about_data(file.path)]
    listing.skip(about, "about the data beside it")
    return sorted([*data, *(set(texts) - set(about))])


def _bytes_of(files: Sequence[DataFile]) -> int:
    return sum(file.path.stat().st_size for file in files)


def _are_arrays_data(listing: _Listing) -> bool:
    if any(listing.split(file) == "train" for file in listing.arrays):
        return True
    return bool(listing.arrays) and all(is_about_data(file.path) for file in listing.texts)


def _only_texts(listing: _Listing) -> list[DataFile]:
    """Text, with the JSON objects among it; objects alone are records of unknown fields."""
    if all(is_about_data(file.path) for file in listing.texts) and listing.objects:
        listing.skip(listing.texts, "not records, as the data beside it")
        return listing.objects
    texts = listing.texts + [DataFile(file.path, "text") for file in listing.objects]
    notes = [file for file in texts if _is_note_of_text(file.path, listing.folder)]
    listing.skip(notes, "its name begins with _")
    return sorted(set(texts) - set(notes))


def _is_note_of_text(path: Path, folder: Path) -> bool:
    """Source code has names that begin with an underscore, and an ending."""
    *folders, name = path.relative_to(folder).parts
    return bool(_TEXT_NOTES & set(folders)) or (name.startswith("_") and "." not in name)


def _is_divided(listing: _Listing, files: Sequence[DataFile]) -> bool:
    """Whether names divide the files. Source code has a train.py and tests of its own."""
    if files and files[0].form != "text":
        return True
    plain = [file for file in files if _is_plain(file)]
    splits = {listing.split(file) for file in plain}
    others = [file for file in files if not (_is_plain(file) or is_about_data(file.path))]
    return "train" in splits and len(splits - {None}) > 1 and len(others) <= len(plain)


def _divided(listing: _Listing, files: Sequence[DataFile], role: Role, choice: Choice) -> Selection:
    if not choice.files and files[0].form == "text":
        listing.skip([file for file in files if not _is_plain(file)], "not plain text as the data")
        files = [file for file in files if _is_plain(file)]
    of = _by_split(listing, files)
    if choice.split is not None:
        of["train"], of[None] = _of_split(listing, files, choice), []
    elif choice.files:
        of["train"], of[None] = sorted(of["train"] + of[None]), []
    elif of["train"] and of[None]:
        raise _half_named(listing.folder, of["train"], of[None])
    files = _for_role(role, of, choice)
    chosen = set(files)
    if not chosen:
        raise _nothing_to_train_on(listing.folder, of["validation"] + of["test"])
    validation = [file for file in of["validation"] if role == "train" and file not in chosen]
    tests = [file for file in of["test"] if file not in chosen]
    listing.skip(tests, "test data, left alone", is_data=False)
    return Selection(tuple(files), tuple(validation), tuple(listing.skipped))


_BySplit = dict[Split | None, list[DataFile]]


def _by_split(listing: _Listing, files: Sequence[DataFile]) -> _BySplit:
    of: _BySplit = {"train": [], "validation": [], "test": [], None: []}
    for file in files:
        of[listing.split(file)].append(file)
    return of


def _of_split(listing: _Listing, files: Sequence[DataFile], choice: Choice) -> list[DataFile]:
    """Return the files of the split that `choice` names; skip other training files."""
    members = [file for file in files if choice.takes(file.path.relative_to(listing.folder))]
    taken = set(members)
    if not members:
        raise DataError(
            f"`data.split` is {choice.split!r}, and none of the files in "
            f"{str(listing.folder)!r} is named for it ({_shown(files)}); a file belongs to a "
            "part by a word in its name or folder; correct `data.split`, or choose with "
            "`data.files`"
        )
    others = [file for file in files if listing.split(file) in ("train", None)]
    left_out = [file for file in others if file not in taken]
    listing.skip(left_out, f"not of {choice.split!r}", is_data=False)
    return members


def _for_role(role: Role, of: _BySplit, choice: Choice) -> list[DataFile]:
    trained = of["train"] or of[None]
    if role == "validation":
        return of["validation"] or trained or of["test"]
    if choice.files:  # those for validation alone were chosen to be trained on
        return trained or of["validation"] or of["test"]
    return trained


def _shown(files: Sequence[DataFile]) -> str:
    return named([file.path for file in files])


def _unclear(folder: Path, content: str, *choices: str) -> DataError:
    return DataError(
        f"the dataset {str(folder)!r} holds {content}; what to train on must be clear; choose with "
        f"{' or '.join(choices)}"
    )


def _half_named(
    folder: Path, trained: Sequence[DataFile], unnamed: Sequence[DataFile]
) -> DataError:
    return _unclear(
        folder,
        f"files named for training ({_shown(trained)}) and files named for nothing "
        f"({_shown(unnamed)})",
        "`data: {split: train}`",
        f"{_line(folder, [*trained, *unnamed])} for both",
    )


def _line(folder: Path, files: Sequence[DataFile]) -> str:
    return line_for(folder, [file.path for file in files])


def _nothing_to_train_on(folder: Path, files: Sequence[DataFile]) -> DataError:
    part = split_of(files[0].path.relative_to(folder)) if files else None
    return DataError(
        f"the dataset {str(folder)!r} holds only files named for validation or tests "
        f"({_shown(files)}); there must be some for training; to train on these, choose with "
        f"`data: {{split: {part}}}`"
    )
