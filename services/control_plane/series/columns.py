"""One job's visible history by columns: old rows in a file, the newest in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from control_plane.series.blocks import Block
from control_plane.series.column_file import ColumnFile
from control_plane.series.growing import Floats, Growing
from job_store.segments import ClaimedRange

STEP, TIME, ATTEMPT = "@step", "@time", "@attempt"
"""Columns besides the metrics, whose names have no such sign."""

CHUNK_ROWS = 8192
"""Rows of a chunk that is left as it is. Smaller ones are joined later."""

_MOST_SMALL = 16
"""Small chunks at the end of the file before they become one."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Neighbouring rows of one attempt."""

    attempt: int
    claim: str
    start: int
    end: int
    """The row behind its last one."""
    last_step: float


class Columns:
    """The points that readers see of a job, one row each, ascending by step."""

    def __init__(self, path: Path | None) -> None:
        self._file = ColumnFile(path) if path is not None else None
        self._newest = _no_columns()
        self._spans: list[_Span] = []
        self._file_rows = 0
        if self._file is not None:
            self._load(self._file)

    def _load(self, file: ColumnFile) -> None:
        file.open()
        for chunk in file.chunks:
            steps = file.column(chunk, STEP)
            end = 0
            for attempt, claim, count in chunk.spans:
                end += count
                self._note(attempt, claim, count, float(steps[end - 1]))
            self._file_rows += chunk.rows

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._file_rows + self.held_rows

    @property
    def held_rows(self) -> int:
        """How many of them are in memory alone."""
        return self._newest[STEP].size

    @property
    def last_step(self) -> int:
        """Step of the last row; -1 where there is none."""
        return int(self._spans[-1].last_step) if self._spans else -1

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that a row may have."""
        chunks = self._file.chunks if self._file is not None else []
        names = [*[name for chunk in chunks for name in chunk.names], *self._newest]
        return [name for name in dict.fromkeys(names) if not name.startswith("@")]

    @property
    def nbytes(self) -> int:
        """Bytes of memory held, the file's not counted."""
        return sum(column.nbytes for column in self._newest.values())

    def column(self, name: str, first: int = 0) -> Floats:
        """Return a column from row `first` on; NaN where a row lacks it.

        Raises:
            DamagedColumnsError: The file is damaged.
        """
        parts: list[Floats] = []
        start = 0
        for chunk in self._file.chunks if self._file is not None else ():
            if first < start + chunk.rows:
                assert self._file is not None
                parts.append(self._file.column(chunk, name)[max(0, first - start) :])
            start += chunk.rows
        held = self._newest.get(name)
        newest = held.values if held else np.full(self._newest[STEP].size, np.nan)
        return np.concatenate([*parts, newest[max(0, first - start) :]])

    def append(self, block: Block, claims: Mapping[int, ClaimedRange]) -> None:
        """Append rows behind the last one, up to the first one of an attempt without a claim."""
        for start, end in _runs(block.attempts):
            attempt = int(block.attempts[start])
            if attempt not in claims or block.steps[start] <= self.last_step:
                return
            self._append(block.part(start, end))
            self._note(attempt, claims[attempt].claim_id, end - start, float(block.steps[end - 1]))

    def _append(self, block: Block) -> None:
        before = self._newest[STEP].size
        given = {STEP: block.steps, TIME: block.times, ATTEMPT: block.attempts, **block.values}
        for name in given.keys() - self._newest.keys():
            self._newest[name] = Growing()
            self._newest[name].extend(np.full(before, np.nan))
        lacking = np.full(len(block), np.nan)
        for name, column in self._newest.items():
            column.extend(given.get(name, lacking))

    def _note(self, attempt: int, claim: str, count: int, last_step: float) -> None:
        last = self._spans[-1] if self._spans else None
        start = last.end if last else 0
        end = start + count
        if last and (last.attempt, last.claim) == (attempt, claim):
            start = self._spans.pop().start
        self._spans.append(_Span(attempt, claim, start, end, last_step))

    def cut_invisible(self, claims: Mapping[int, ClaimedRange]) -> bool:
        """Drop the rows that readers do not see any more; return whether there were any."""
        for span in self._spans:
            known = claims.get(span.attempt)
            if known is None or known.claim_id != span.claim:
                self._cut(span.start)
                return True
            if known.end is not None and span.last_step > known.end:
                steps = self.column(STEP, span.start)[: span.end - span.start]
                self._cut(span.start + int(np.searchsorted(steps, known.end, side="right")))
                return True
        return False

    def _cut(self, rows: int) -> None:
        while self._file is not None and rows < self._file_rows:
            self._hold_last_chunk(self._file)
            self._cut_newest(max(0, rows - self._file_rows))
        self._cut_newest(rows - self._file_rows)
        spans = [span for span in self._spans if span.start < rows]
        if spans and spans[-1].end > rows:
            last_step = float(self.column(STEP, rows - 1)[0])
            spans[-1] = replace(spans[-1], end=rows, last_step=last_step)
        self._spans = spans

    def _cut_newest(self, rows: int) -> None:
        for column in self._newest.values():
            column.cut(rows)

    def _hold_last_chunk(self, file: ColumnFile) -> None:
        """Hold the last chunk of the file in memory, before the rows that are there already."""
        chunk, later = file.chunks[-1], self._newest
        lacking = np.full(later[STEP].size, np.nan)
        held: dict[str, Growing] = {}
        for name in (*chunk.names, *(later.keys() - set(chunk.names))):
            held[name] = Growing()
            held[name].extend(file.column(chunk, name))
            held[name].extend(later[name].values if name in later else lacking)
        self._newest = held
        self._file_rows -= chunk.rows
        file.drop_last()

    def save(self, *, least: int = CHUNK_ROWS) -> None:
        """Move the rows in memory to the file, where they are `least` or more.

        Raises:
            OSError: The file cannot be written.
            DamagedColumnsError: The file is damaged, in what is joined with these rows.
        """
        if self._file is None or self.held_rows < least:
            return
        if self._ends_in_small_chunks(self._file):
            for _ in range(_MOST_SMALL):
                self._hold_last_chunk(self._file)
        columns = {name: column.values for name, column in self._newest.items()}
        self._file.append(columns, self._spans_from(self._file_rows))
        self._file_rows = self.rows
        self._newest = _no_columns()

    def _ends_in_small_chunks(self, file: ColumnFile) -> bool:
        last = file.chunks[-_MOST_SMALL:]
        return len(last) == _MOST_SMALL and all(chunk.rows < CHUNK_ROWS for chunk in last)

    def _spans_from(self, row: int) -> list[tuple[int, str, int]]:
        spans = [span for span in self._spans if span.end > row]
        return [(span.attempt, span.claim, span.end - max(row, span.start)) for span in spans]

    def delete(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.delete()


def _no_columns() -> dict[str, Growing]:
    return {STEP: Growing(), TIME: Growing(), ATTEMPT: Growing()}


def _runs(attempts: Floats) -> Iterator[tuple[int, int]]:
    """Yield where neighbouring rows of one attempt begin and end."""
    places = np.flatnonzero(np.diff(attempts)) + 1
    yield from pairwise([0, *places.tolist(), len(attempts)])
