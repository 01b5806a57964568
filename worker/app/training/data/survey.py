"""Finds out what names, sizes and first bytes tell about data, without reading all of it.

Standard library only and quick, whatever the size of the data, so that a control plane can refuse
at the start what a worker would refuse later. It is never stricter than `load_dataset`: what it
refuses is certain, and what it cannot decide it leaves to the worker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from app.training.data.array_files import read_layout
from app.training.data.compression import is_compressed
from app.training.data.errors import DataError
from app.training.data.folders import (
    NOT_TEXT,
    Skipped,
    as_one,
    content_of_columns,
    files_of,
    is_blob,
    is_inside,
    mask_note,
    require_files,
    require_mostly_read,
    require_one_content,
    require_readable,
    skipping,
)
from app.training.data.formats import Content, DataFile, ReadOptions, form_of_name
from app.training.data.json_lines import field_names, json_record, kind_of_json
from app.training.data.parquet_footer import read_footer
from app.training.data.parts import Place
from app.training.data.selection import Role, select
from app.training.data.tables import table_columns
from app.training.data.text_files import decoded_blocks, has_other_encoding
from app.training.data.text_records import text_note
from app.training.home import expanded

_LONGEST_FIRST_LINE = 1 << 20
_MOST_FILES = 1000
"""Files of a folder that are looked at; a larger folder is left to the worker."""
_LONGEST_JSON = 64 << 20
SEPARATOR_BYTES = 2
"""Of the separator that is assumed between documents; a record's braces take more."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a dataset; a field is None where that is unknown."""

    content: Content | None = None
    """What its documents are made of."""
    most: int | None = None
    """Largest size that it can have: in ids, or in bytes of text with separators of documents."""
    exact: bool = False
    """Whether `most` is its exact size."""
    warnings: tuple[str, ...] = ()
    """What is skipped, and why."""
    has_validation: bool = False
    """Whether the dataset itself holds files for validation."""


def survey(path: Path, options: ReadOptions, role: Role = "train") -> Survey:
    """Look at a dataset without reading it.

    Raises:
        DataError: For what cannot be trained on.
    """
    path = expanded(path)
    require_readable(path)
    try:
        look = _survey_folder if path.is_dir() else _survey_one_file
        return look(path, options, role)
    except OSError:
        return Survey()  # gone, or out of reach, since a moment ago


def _survey_one_file(path: Path, options: ReadOptions, role: Role) -> Survey:
    if is_compressed(path) or _is_long_json(path):
        return Survey()
    (file,) = select(path, role, options).files
    if file.form == "text" and (problem := _head_problem(path)):
        raise DataError(problem)
    return _survey_file(file, options)


def _survey_folder(folder: Path, options: ReadOptions, role: Role) -> Survey:
    files = list(islice(files_of(folder), _MOST_FILES + 1))
    if len(files) > _MOST_FILES or any(_is_left_to_worker(file, folder) for file in files):
        return Survey()
    selection = select(folder, role, options)
    problems = {file: _problem(file) for file in (*selection.files, *selection.validation)}
    skipped = [Skipped(file.path, NOT_TEXT) for file, problem in problems.items() if problem]
    skipped = [*selection.skipped, *skipped]
    usable = [file for file in selection.files if not problems[file]]
    require_files(folder, usable, skipped)
    if not options.allow_skipped:
        require_mostly_read(
            folder, [file.path for file in (*usable, *selection.validation)], skipped
        )
    found = [_survey_file(file, options) for file in usable]
    contents = {
        file.path: each.content
        for file, each in zip(usable, found, strict=True)
        if each.content is not None
    }
    sizes = [each.most for each in found if each.most is not None]
    is_known = len(contents) == len(found) == len(sizes)
    return Survey(
        require_one_content(folder, contents) if is_known else None,
        sum(sizes) + SEPARATOR_BYTES * (len(found) - 1) if is_known else None,
        warnings=(
            *([skipping(folder, skipped)] if skipped else []),
            *as_one([warning for each in found for warning in each.warnings]),
        ),
        has_validation=any(not problems[file] for file in selection.validation),
    )


def _is_left_to_worker(file: Path, folder: Path) -> bool:
    """Whether only the worker, which reads the data, can look at this file.

    That is so for a link to a cache's blob, which may be outside of all data roots, and for JSON
    whose first record may be very long.
    """
    return (is_blob(file, folder) and not is_inside(file, folder)) or _is_long_json(file)


def _is_long_json(file: Path) -> bool:
    if form_of_name(file) != "json" or not file.is_file():
        return False
    return file.stat().st_size > _LONGEST_JSON or is_compressed(file)


def _problem(file: DataFile) -> str | None:
    return _head_problem(file.path) if file.form == "text" else None


def _survey_file(file: DataFile, options: ReadOptions) -> Survey:
    path = file.path
    if is_compressed(path):
        return Survey()
    match file.form:
        case "array":
            layout = read_layout(path, options)
            return Survey("input_ids", layout.count, exact=True, warnings=_noted(layout.note))
        case "json lines":
            found, note = _json_lines(path, options), text_note(file)
            return replace(found, warnings=_noted(note) or found.warnings)
        case "json":
            return Survey(content_of_columns(path, kind_of_json(path)[1], options))
        case "csv" | "tsv":
            return Survey(
                content_of_columns(path, table_columns(path, options.text_column), options)
            )
        case "parquet":
            return _parquet(path, options)
        case "arrow" | "tar":
            return Survey()
    warnings = _noted(text_note(file))
    if has_other_encoding(path):
        return Survey("text", warnings=warnings)
    return Survey("text", path.stat().st_size, exact=True, warnings=warnings)


def _head_problem(path: Path) -> str | None:
    """Return what is wrong with the beginning of a text file."""
    try:
        if not is_compressed(path):
            list(islice(decoded_blocks(path), 2))  # a short file to its end
    except OSError as error:
        return f"{str(path)!r} cannot be opened ({error.strerror}); check the path"
    except DataError as error:
        return str(error)
    return None


def _json_lines(path: Path, options: ReadOptions) -> Survey:
    if has_other_encoding(path):
        return Survey()
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
    fields = frozenset(field_names(json_record(line, Place(path, "line", number))))
    content = content_of_columns(path, fields, options)
    if content == "conversation":
        return Survey(content)
    size = path.stat().st_size
    # An id takes two bytes at least, with its comma; text loses its quotes and more.
    most = size if content == "text" else size // 2
    return Survey(content, most, warnings=_noted(mask_note(path, fields, content)))


def _noted(note: str | None) -> tuple[str, ...]:
    return (note,) if note else ()


def _parquet(path: Path, options: ReadOptions) -> Survey:
    footer = read_footer(path)
    if footer is None:
        return Survey()
    column = options.text_column
    if column.split(".")[0] in footer.columns and column not in footer.columns:
        return Survey()  # a field of a struct, of which the footer's reader knows nothing
    content = content_of_columns(path, footer.columns, options)
    return Survey(content, warnings=_noted(mask_note(path, footer.columns, content)))
