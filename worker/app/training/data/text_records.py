"""Files that are named as text, or have no ending, and hold records in their lines.

wikiextractor and Spark's writer of text leave out the ending, and so do the dumps of Reddit.
Standard library only: a control plane asks it too.
"""

from __future__ import annotations

from pathlib import Path

from app.training.data.bystanders import is_about_data
from app.training.data.conversations import conversation_columns
from app.training.data.formats import PLAIN_TEXT, DataFile, form_of_name, inner_name
from app.training.data.json_lines import fields_of_lines


def holds_json_lines(path: Path, text_column: str) -> bool:
    """Whether a file that is named as plain text has records in its lines."""
    return _may_hold_json_lines(path) and is_record(fields_of_lines(path), text_column)


def _may_hold_json_lines(path: Path) -> bool:
    return inner_name(path).suffix.lower() in ("", *PLAIN_TEXT) and not is_about_data(path)


def _lines_note(path: Path, fields: frozenset[str]) -> str:
    return (
        f"{str(path)!r} is read as text, and its lines are JSON objects with the fields "
        f"{sorted(fields)}: their braces are trained on; set `text_column` to the field that holds "
        "the text, or name the file `.log` if that is meant"
    )


def text_note(file: DataFile) -> str | None:
    """Return what to say of a file that is named as text and has records in its lines."""
    if file.form == "text" and _may_hold_json_lines(file.path):
        fields = fields_of_lines(file.path)
        return _lines_note(file.path, fields) if fields else None
    if file.form != "json lines" or form_of_name(file.path) != "text":
        return None
    return (
        f"{str(file.path)!r} is named as text and holds records, which are read as from a `.jsonl` "
        "file; to train on its lines as they are, name it `.log`"
    )


def is_record(fields: frozenset[str], text_column: str) -> bool:
    """Whether records with such fields can be trained on."""
    return bool(fields & {text_column, "input_ids"}) or conversation_columns(fields) is not None
