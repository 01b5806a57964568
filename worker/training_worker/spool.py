"""The spool: every logged point of an attempt, on disk before it is sent anywhere.

One line for each point: step, time, values, and the texts that were sampled at the step, if any, in
Python's JSON, which has NaN and Infinity. The
trainer appends; the publisher reads from the file, so that an outage of any length costs no memory;
the next attempt reads what its predecessor left.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from job_store.history_records import MetricPoint

FILE_NAME = "metrics.spool"
_PART = re.compile(r"spool-\d{16}\.part", re.ASCII)
_BATCH_BYTES = 1 << 18
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def part_name(start: int) -> str:
    """Return the name of the stored part of a spool that begins at byte `start`; names ascend."""
    return f"spool-{start:016d}.part"


def is_part(name: str) -> bool:
    """Whether a file is a stored part of a spool."""
    return _PART.fullmatch(name) is not None


class SpoolWriter:
    """Appends to an attempt's spool, from one thread."""

    def __init__(self, folder: Path) -> None:
        # Unbuffered: a line is with the kernel, which outlives this process, when append returns.
        self._file = (folder / FILE_NAME).open("ab", buffering=0)
        self.end = self._file.tell()

    def append(
        self, step: int, time_ms: int, values: Mapping[str, float], samples: Sequence[str] = ()
    ) -> None:
        """Add a point, with what was sampled at its step.

        Raises:
            OSError: The disk is full; no part of the point is in the file.
        """
        parts = [step, time_ms, dict(values), *([samples] if samples else [])]
        line = _ENCODER.encode(parts).encode() + b"\n"
        try:
            self._write(line)
        except OSError as error:
            self._file.truncate(self.end)  # half a line would spoil the next one
            raise OSError(
                error.errno,
                f"the point of step {step} could not be written ({error.strerror}); metrics must "
                "not be lost silently; free some space, and resume from the last checkpoint",
                self._file.name,
            ) from error
        self.end += len(line)

    def _write(self, line: bytes) -> None:
        """Write all of it: on a filling disk an unbuffered file takes a part, without an error."""
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]

    def sync(self) -> None:
        """Make everything appended so far survive a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SpoolReader:
    """Reads a spool forwards, whole lines only."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE_NAME
        self._file = path.open("rb", buffering=0) if path.exists() else None
        self.offset = 0
        """Bytes whose points were handed out and `advance`d over."""

    def peek(self) -> tuple[list[MetricPoint], int]:
        """Return the next points, and the offset behind them; the same ones until `advance`."""
        if self._file is None:
            return [], self.offset
        handle = self._file.fileno()
        waiting = os.fstat(handle).st_size - self.offset
        if waiting <= 0:
            return [], self.offset
        size = _BATCH_BYTES
        data = os.pread(handle, size, self.offset)
        while b"\n" not in data and size < waiting:  # a line with samples is longer than a batch
            size *= 2
            data = os.pread(handle, size, self.offset)
        whole = data[: data.rfind(b"\n") + 1]
        points = [point for line in whole.splitlines() if (point := _parse(line))]
        return points, self.offset + len(whole)

    def advance(self, offset: int) -> None:
        """Go on behind `offset`: the points before it are delivered."""
        self.offset = offset

    def seek_behind(self, step: int) -> None:
        """Go on with the first point after this step. Points ascend, so this bisects."""
        if self._file is None:
            return
        with open(self._file.fileno(), "rb", closefd=False) as file:
            low, high = 0, file.seek(0, os.SEEK_END)
            while low < high:
                middle = (low + high) // 2
                file.seek(max(0, middle - 1))
                if middle:
                    file.readline()  # to the start of a line
                start = file.tell()
                point = _parse(file.readline()) if start < high else None
                if point is None or point.step > step:
                    high = middle
                else:
                    low = file.tell()
        self.offset = low

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _parse(line: bytes) -> MetricPoint | None:
    """Return a point, or None for a line that a power cut left behind."""
    try:
        step, time_ms, values, *samples = json.loads(line)
        return MetricPoint(step, values, time_ms, tuple(*samples))
    except (ValueError, TypeError):
        return None
