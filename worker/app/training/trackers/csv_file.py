"""`metrics.csv`: a line of column names, then one line for each step."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from app.training.checkpoint_file import write_atomically
from app.training.trackers.protocol import Line, TrackedRun
from app.training.trackers.requirements import require_folder

FILE = "metrics.csv"


class CsvFile:
    """Writes metrics as CSV; a value that a step does not have is empty.

    The file is replaced when it begins or gets a column, so that a trainer of an earlier attempt
    that still lives writes to a file without a name.
    """

    name = "csv"

    def __init__(self) -> None:
        self._path = Path()
        self._columns = ["step"]
        self._file: TextIO | None = None

    def require(self, run: TrackedRun) -> None:
        require_folder(run.folder, self.name)

    def start(self, run: TrackedRun) -> None:
        self._path = run.folder / FILE
        self._columns, rows = read_rows(self._path, run.step)
        self._replace(rows)

    def log(self, lines: Sequence[Line]) -> None:
        new = [name for line in lines for name in line.metrics if name not in self._columns]
        if new:
            _, rows = read_rows(self._path, lines[0].step - 1)
            self._columns += dict.fromkeys(new)
            self._replace(rows)
        assert self._file is not None
        self._file.write(self._text({"step": line.step, **line.metrics} for line in lines))
        self._file.flush()

    def flush(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def finish(self) -> None:
        if self._file is not None:
            self.flush()
            self._file.close()

    def _replace(self, rows: list[dict[str, str]]) -> None:
        if self._file is not None:
            self._file.close()
        names = self._text([dict(zip(self._columns, self._columns, strict=True))])
        write_atomically(self._path, names + self._text(rows))
        self._file = self._path.open("a", encoding="utf-8", newline="")

    def _text(self, rows: Any) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()


def read_rows(path: Path, last_step: int) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a file, the first alone without one, and its rows up to a step."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ["step"], []
    whole = text[: text.rfind("\n") + 1]  # a killed writer may have left half a line
    reader = csv.DictReader(io.StringIO(whole))
    columns = list(reader.fieldnames or [])
    if "step" not in columns:
        return ["step"], []
    return columns, [row for row in reader if _is_sound(row) and int(row["step"]) <= last_step]


def _is_sound(row: Mapping[Any, Any]) -> bool:
    return None not in row and None not in row.values() and row["step"].isdecimal()
