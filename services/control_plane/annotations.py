"""Checks what people write on a job: the tags and the notes that they find it by later."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypedDict

from app.training.config import FieldProblem
from control_plane.errors import call_error, invalid_argument
from training_engine.v1 import job_pb2

MOST_TAGS = 20
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)
_TAG_RULE = (
    "it must be 1 to 64 letters, digits or any of ._:-, beginning with a letter or a digit; try "
    "words joined by -"
)
_NOTES_BYTES = 4096


class Changes(TypedDict):
    """What a call changes of a job."""

    add_tags: tuple[str, ...]
    remove_tags: tuple[str, ...]
    notes: str | None
    """None to keep them."""


def changes_of(request: job_pb2.UpdateJobRequest) -> Changes:
    """Return what a request changes.

    Raises:
        RpcError: A tag or the notes break a rule, or a tag is to be added and removed.
    """
    add = check_tags("add_tags", request.add_tags)
    remove = check_tags("remove_tags", request.remove_tags, most=None)
    for tag in add:
        if tag in remove:
            message = f"`{tag}` is in `add_tags` and in `remove_tags`; leave it out of one of them"
            raise invalid_argument("add_tags", message)
    notes = check_notes(request.notes) if request.HasField("notes") else None
    return Changes(add_tags=add, remove_tags=remove, notes=notes)


def check_tags(field: str, tags: Iterable[str], *, most: int | None = MOST_TAGS) -> tuple[str, ...]:
    """Return the tags, each once, in their order.

    Raises:
        RpcError: Some break the rule, or there are more than `most`; every fault is in it.
    """
    given = tuple(dict.fromkeys(tags))
    faults = [
        FieldProblem(field, f"the tag {tag[:80]!r} cannot be used; {_TAG_RULE}")
        for tag in given
        if not _TAG.fullmatch(tag)
    ]
    if most is not None and len(given) > most:
        rule = f"{most} are allowed at most; leave some out"
        faults.append(FieldProblem(field, f"there are {len(given)} tags; {rule}"))
    if faults:
        text = "; ".join(fault.message for fault in faults[:3])
        raise call_error("INVALID_ARGUMENT", f"`{field}`: {text}", faults)
    return given


def check_notes(notes: str) -> str:
    """Return the notes without space at their end, with plain line ends.

    Raises:
        RpcError: They are too long, or have characters that control a terminal.
    """
    text = notes.replace("\r\n", "\n").rstrip()
    size = len(text.encode())
    if size > _NOTES_BYTES:
        rule = f"{_NOTES_BYTES} bytes of UTF-8 are allowed at most; shorten them"
        raise invalid_argument("notes", f"`notes` has {size} bytes; {rule}")
    for character in text:
        if not (character.isprintable() or character in "\n\t"):
            rule = "they may have printable characters, line ends and tabs; leave it out"
            raise invalid_argument("notes", f"`notes` has the character {character!r}; {rule}")
    return text
