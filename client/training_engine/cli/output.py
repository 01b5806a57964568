"""How commands print: tables for people, JSON with the names of REST for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from training_engine.records import JobRecord, JobStatus, to_plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {
    JobStatus.QUEUED: "yellow",
    JobStatus.RUNNING: "cyan",
    JobStatus.STOPPING: "magenta",
    JobStatus.STOPPED: "magenta",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "red",
}


_WIDE_CHARACTERS = 110
"""Width of a terminal in which the widest table fits: ten columns and an id."""


@dataclass
class Output:
    """Where a command's answer goes."""

    as_json: bool = False

    @cached_property
    def console(self) -> Console:
        """Standard output. Where it is not a terminal, lines are never folded: ids stay whole."""
        from rich.console import Console

        class PlainConsole(Console):
            """Raises where the reader has gone away, as in `| head`; rich would exit itself."""

            def on_broken_pipe(self) -> None:
                raise BrokenPipeError

        return PlainConsole(
            width=None if sys.stdout.isatty() else 1000, highlight=False, soft_wrap=False
        )

    @property
    def is_narrow(self) -> bool:
        """True on a terminal that is too narrow for the widest table."""
        return sys.stdout.isatty() and self.console.width < _WIDE_CHARACTERS

    def json(self, value: Any) -> None:
        """Print a record, or a dict of records, as JSON."""
        print(json.dumps(to_plain(value), indent=2, ensure_ascii=False), flush=True)

    def json_line(self, value: Any) -> None:
        """Print a record as one line of JSON, line and line break in one write."""
        sys.stdout.write(json.dumps(to_plain(value), ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """Print a line for people, as it is."""
        print(text, flush=True)

    def note(self, text: str) -> None:
        """Print a line beside the answer, on stderr."""
        print(text, file=sys.stderr, flush=True)

    def answer(self, value: Any, sentence: str) -> None:
        """Print a record as JSON for programs, or a sentence about it for people."""
        if self.as_json:
            self.json(value)
        else:
            self.line(sentence)

    def records(self, name: str, records: Iterable[Any], fields: Sequence[str], empty: str) -> None:
        """Print records as JSON, `{name: [...]}`, or as a table of some of their fields.

        Where a table would have no rows, `empty` is printed on stderr.
        """
        if self.as_json:
            self.json({name: list(records)})
            return
        rows = ([_field(record, field) for field in fields] for record in records)
        self.table([_head(field) for field in fields], rows, empty)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
        """Print rows under heads; where there are none, print `empty` on stderr."""
        from rich.table import Column, Table

        # The first column names the row: on a narrow terminal it is folded, never cut.
        table = Table(
            Column(heads[0], overflow="fold"),
            *heads[1:],
            box=None,
            pad_edge=False,
            header_style="bold",
        )
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        if table.row_count:
            self.console.print(table)
        else:
            self.note(empty)

    def fields(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Print names and values, leaving out what is None or empty."""
        from rich.text import Text

        cells = [(name, _cell(value)) for name, value in rows if value not in (None, "")]
        width = max((len(name) for name, _ in cells), default=0) + 2
        for name, value in cells:
            first_line, *more_lines = value.split("\n") or [Text()]
            # The terminal wraps: a value that is copied from it has no line breaks of ours.
            self.console.print(Text(name.ljust(width)) + first_line, soft_wrap=True)
            for line in more_lines:
                self.console.print(Text(" " * width) + line, soft_wrap=True)


_HEADS = {"hostname": "HOST", "last_heartbeat": "LAST HEARD", "is_best": "BEST"}


def _head(field: str) -> str:
    """Return the head of a field's column: SIZE for `size_bytes`, CREATED for `created_at`."""
    for suffix in ("_id", "_at", "_bytes"):
        field = field.removesuffix(suffix)
    return _HEADS.get(field, field.replace("_", " ").upper())


def _field(record: Any, field: str) -> Any:
    """Return a field of a record as tables show it: sizes with units, `*` for true."""
    value = getattr(record, field)
    if field.endswith("_bytes"):
        return size(value)
    if isinstance(value, bool):
        return "*" if value else ""
    return number(value) if isinstance(value, float) else value


def _cell(value: Any) -> Text:
    from rich.text import Text

    if isinstance(value, JobStatus):
        return Text(value, style=_STYLES[value])
    if isinstance(value, datetime):
        return Text(ago(value))
    return Text("" if value is None else str(value))


def phase_text(job: JobRecord) -> str:
    """Return what a job's trainer does now, e.g. `validating 12/80`; empty while it trains."""
    if job.phase in (None, "training"):
        return ""
    done, total = job.phase_done or 0, job.phase_total
    if job.phase == "training_tokenizer":  # its progress is counted in seconds
        return f"training the tokenizer, {duration(done)}"
    if not total:
        return str(job.phase)
    if not is_preparing(job):
        return f"{job.phase} {done}/{total}"
    text = f"{job.phase} {size(done)} of {size(total)}"
    if not (speed := job.phase_per_second):
        return text
    return f"{text}, {size(speed)}/s, {duration((total - done) / speed)} left"


def is_preparing(job: JobRecord) -> bool:
    """Whether a job's trainer reads or tokenizes its data, and counts their bytes."""
    return job.phase in ("reading", "tokenizing") and bool(job.phase_total)


def ago(time: datetime, units: int = 2) -> str:
    """Return how long ago a time was, in its largest `units` units, e.g. `3 h 20 min ago`."""
    return f"{duration((datetime.now(UTC) - time).total_seconds(), units)} ago"


def duration(seconds: float, units: int = 2) -> str:
    """Return seconds in their largest `units` units or fewer, e.g. `3 h 20 min`."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, unit_seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, unit_seconds)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:units] if not part.startswith("0 ")) or "0 s"


def size(count: float) -> str:
    """Return bytes in a unit that suits them, e.g. `1.4 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def number(value: float | None) -> str:
    """Return a measured number in four digits; an empty text for None."""
    return "" if value is None else f"{value:.4g}"
