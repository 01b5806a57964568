"""Changes each condition of the scripts in turn: are the checks able to fail?

A guard is a condition under which a script, or a function of one, returns at once (`if … then
return …`); any other condition chooses between two ways to go on. The mutants of a condition: it
never holds; unless it is a guard, it always holds; and each of its parts, with `and` or `or`
between them, is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from model.state_table import STORE

SCRIPTS = STORE / "scripts"
NOT_OF_ONE_JOB = {
    *("create_item", "delete_item"),  # configurations, datasets and sweeps
    *("change_sweep", "settle_sweep"),
    *("heartbeat", "forget_workers", "leader", "artifact_store"),
    *("journal_entry", "journal_mark", "was_deleted"),  # change no field that another script reads
    *("holdings", "restore_item", "restore_job", "release_job"),  # of an empty server only
    *("explain_wait", "say_waiting", "update_job"),  # change messages, tags and notes only
    *("take_place", "renew_place", "leave_place"),  # places, which no other script reads
    *("fire_stalled", "note_delivery"),  # of jobs with alerts
    "append_system",  # appends what no other script reads
    # Readers:
    *("known_checkpoints", "recall", "read_job", "read_jobs", "read_queued", "read_feed"),
    *("read_chart", "read_samples"),
}
"""Scripts that no search runs; `test_scripts.py` says that it runs all others."""

_CONDITION = re.compile(r"\b(?:if|elseif)\b((?:(?!\bthen\b).)*)\bthen\b", re.DOTALL)
_RETURN = re.compile(r"(?:\s|--[^\n]*\n)*return\b")
_INCLUDE = re.compile(r"^--- @include (\w+)\n", re.MULTILINE)
_JOINT = re.compile(r"\s+(and|or)\s+")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One file of the scripts, with one condition changed."""

    file: str
    condition: str
    """As it is written, spaces aside; a number behind it where it is there twice."""
    change: str
    """`never`, `always`, or `without …`."""
    text: str
    """The whole file, changed."""

    @property
    def key(self) -> str:
        """How the table of verdicts names it."""
        return f"{self.file} | {self.condition} | {self.change}"


def mutants() -> list[Mutant]:
    """All mutants of all scripts, in order of files and places."""
    return [mutant for file in _files() for mutant in _mutants_of(file)]


def whole_scripts() -> list[str]:
    """The names of the scripts; other files are parts of several."""
    names = [path.stem for path in sorted(SCRIPTS.glob("*.lua"))]
    return [name for name in names if "@include prelude" in _source(name)]


@cache
def is_searched(file: str) -> bool:
    """Whether the searches run a script that has this file in it."""
    present: set[str] = set()
    for name in set(whole_scripts()) - NOT_OF_ONE_JOB:
        _assembled(name, {}, present)
    return file in present


def assembled(name: str, changed: Mutant) -> str:
    """The text of a script, with the mutant's file in place of the packaged one."""
    return _assembled(name, {changed.file: changed.text}, set())


def _assembled(name: str, changed: dict[str, str], present: set[str]) -> str:
    if name in present:
        return ""
    present.add(name)
    text = changed.get(name) or _source(name)
    return _INCLUDE.sub(lambda include: _assembled(include[1], changed, present), text)


@cache
def _source(name: str) -> str:
    return (SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")


def _files() -> list[str]:
    present: set[str] = set()
    for name in whole_scripts():
        _assembled(name, {}, present)
    return sorted(present)


def _mutants_of(file: str) -> Iterator[Mutant]:
    source, seen = _source(file), dict[str, int]()
    for found in _CONDITION.finditer(source):
        if _is_comment(source, found.start()):
            continue
        condition = " ".join(re.sub(r"--[^\n]*", "", found[1]).split()).replace("|", "¦")
        seen[condition] = seen.get(condition, 0) + 1
        named = condition if seen[condition] == 1 else f"{condition} ({seen[condition]})"
        is_guard = _RETURN.match(source, found.end()) is not None
        for change, changed in _changes(found[1], is_guard):
            text = source[: found.start(1)] + f" {changed} " + source[found.end(1) :]
            yield Mutant(file, named, change, text)


def _is_comment(source: str, place: int) -> bool:
    return "--" in source[source.rfind("\n", 0, place) + 1 : place]


def _changes(condition: str, is_guard: bool) -> Iterator[tuple[str, str]]:
    yield "never", "false"
    if not is_guard:
        yield "always", "true"
    parts = _parts(condition)
    if len(parts) > 1:
        for n, part in enumerate(parts):
            rest = parts[:n] + parts[n + 1 :]
            joined = rest[0][1] + "".join(f" {joint} {one}" for joint, one in rest[1:])
            yield f"without {' '.join(part[1].split())}", joined


def _parts(condition: str) -> list[tuple[str, str]]:
    """The operands of the outermost `and` and `or`, each with what joins it to the one before."""
    parts, joint, start, depth = list[tuple[str, str]](), "", 0, 0
    for found in re.finditer(r"[({]|[)}]|\s(?:and|or)\s", condition):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(found[0], 0)
        if depth == 0 and found[0].strip() in ("and", "or"):
            parts.append((joint, condition[start : found.start()].strip()))
            joint, start = found[0].strip(), found.end()
    return [*parts, (joint, condition[start:].strip())]
