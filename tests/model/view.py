"""A state of the job's keys, as the checker looks at it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from model.recorded_calls import JOB, PREFIX

JOB_KEY = f"{PREFIX}job:{JOB}"
INDEX = f"{PREFIX}jobs:"
NAMED = (f"{INDEX}name:", f"{INDEX}tag:")
HELD = ("running", "stopping")
AT_REST = ("stopped", "failed", "succeeded")

File = tuple[int, int]
"""A complete checkpoint on disk: the attempt that saved it, and its step."""


class Attempt(NamedTuple):
    """An entry of the job's attempts."""

    claim: str
    """Empty where ResumeJob wrote the entry and no worker has claimed it."""
    start: int
    has_ended: bool


@dataclass(slots=True)
class View:
    """What the keys say. Steps are those of points and checkpoints."""

    keys: dict[str, list[Any]]
    record: dict[str, str] = field(init=False)
    attempts: dict[int, Attempt] = field(init=False)
    points: dict[int, list[int]] = field(init=False)
    """Steps in each attempt's stream."""
    published: dict[int, int] = field(init=False)
    """The last step that each attempt has published, archived and dropped ones included."""
    registered: dict[str, int] = field(init=False)
    """Steps by id, ascending."""
    retired: tuple[str, ...] = field(init=False)
    indexes: set[str] = field(init=False)
    """The lists that the job is in: `all`, `queued`, `unsent`, …"""

    def __post_init__(self) -> None:
        self.record = _pairs(self.keys.get(JOB_KEY, []))
        stored = _pairs(self.keys.get(f"{JOB_KEY}:attempts", []))
        self.attempts = {int(n): _attempt(entry) for n, entry in sorted(stored.items())}
        self.points = {
            n: [int(entry_id.split("-")[0]) for entry_id in entries[::3]]
            for n, entries in self._of_attempts("metrics").items()
        }
        self.published = {
            n: int(_pairs(content).get("last", "0"))
            for n, content in self._of_attempts("summary").items()
        }
        steps = _pairs(self.keys.get(f"{JOB_KEY}:checkpoints", []))
        self.registered = {id: int(step) for id, step in steps.items()}
        self.retired = tuple(self.keys.get(f"{JOB_KEY}:retired_checkpoints", []))
        self.indexes = {
            key.removeprefix(INDEX)
            for key, members in self.keys.items()
            if key.startswith(INDEX) and JOB in members and not key.startswith(NAMED)
        }

    def _of_attempts(self, part: str) -> dict[int, list[Any]]:
        prefix = f"{JOB_KEY}:{part}:"
        return {
            int(key.removeprefix(prefix)): content
            for key, content in self.keys.items()
            if key.startswith(prefix) and key.removeprefix(prefix).isdigit()
        }

    @property
    def state(self) -> str:
        """The job's state in the words of the table."""
        if self.record:
            return self.record["status"]
        return "gone" if self.keys else "–"

    @property
    def attempt(self) -> int:
        """The current attempt, 0 without a job."""
        return int(self.record.get("attempt", "0"))

    @property
    def is_held(self) -> bool:
        """Whether a worker has the job."""
        return self.state in HELD

    @property
    def start(self) -> int:
        """Where the current attempt begins; it has an entry."""
        return self.attempts[self.attempt].start

    @property
    def last_claimed(self) -> int:
        """The newest attempt that a worker has claimed; 0 where none was."""
        return max((n for n, entry in self.attempts.items() if entry.claim), default=0)

    @property
    def newest_step(self) -> int:
        """Of the newest registered checkpoint; 0 without one."""
        return max(self.registered.values(), default=0)

    def may_begin_with(self, found: File) -> bool:
        """Whether the next attempt begins with this file, if its worker finds it."""
        author, step = found
        last = max(self.attempts, default=0)
        if (
            not author or author != last or author != self.last_claimed
        ):  # or a person has chosen since
            return False
        is_newer = step > max(self.newest_step, self.attempts[last].start)
        return is_newer and step <= int(self.record["max_steps"])

    def published_of(self, attempt: int) -> int:
        """The last step that the attempt has published; its start without any."""
        return max(self.published.get(attempt, 0), self.attempts[attempt].start)

    def end_of(self, attempt: int) -> int:
        """Where its successors took over: readers see nothing of it beyond."""
        return min([entry.start for n, entry in self.attempts.items() if n > attempt], default=99)

    def lacks(self, attempt: int, measured: int) -> bool:
        """Whether readers miss points of the attempt, which has measured up to that step."""
        return min(measured, self.end_of(attempt)) > self.published_of(attempt)


def _pairs(flat: list[Any]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _attempt(entry: str) -> Attempt:
    claim, start, ended = entry.split(" ")
    return Attempt(claim, int(start), bool(ended))


def read_part(text: bytes) -> tuple[str, list[Any]]:
    """Key and content of a part."""
    key, _, content = text.decode("latin-1").partition("\n")
    return key, json.loads(content) or []
