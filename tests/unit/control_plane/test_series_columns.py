"""A history's copy by columns: small chunks that are joined, cuts through them, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from control_plane.series.blocks import Block
from control_plane.series.column_file import DamagedColumnsError
from control_plane.series.columns import STEP, Columns
from job_store.segments import ClaimedRange

ROWS = 600
"""Of a small chunk."""


def block(first: int, rows: int = ROWS) -> Block:
    """Neighbouring points; some metrics are logged late."""
    steps = np.arange(float(first), first + rows)
    values = {"loss": np.sin(steps)} | ({"late": steps + 0.5} if first > 3 * ROWS else {})
    return Block(steps, np.ones(rows), 1000 * steps, values)


def filled(path: Path, blocks: int) -> Columns:
    """Columns that are saved after each block, as while a job trains."""
    columns = Columns(path)
    for number in range(blocks):
        columns.append(block(1 + number * ROWS), {1: ClaimedRange("claim", None)})
        columns.save(least=ROWS)
    return columns


def chunks(path: Path) -> int:
    """How many the file has."""
    return path.read_bytes().count(b'{"rows":')


def check(columns: Columns, rows: int) -> None:
    steps = np.arange(1.0, rows + 1)
    assert np.array_equal(columns.column(STEP), steps)
    assert np.array_equal(columns.column("loss"), np.sin(steps))
    late = np.where(steps > 3 * ROWS, steps + 0.5, np.nan)
    assert np.array_equal(columns.column("late"), late, equal_nan=True)
    assert columns.last_step == rows


def test_what_is_saved_in_small_parts_is_joined_and_all_there(tmp_path: Path) -> None:
    path = tmp_path / "job.columns"
    columns = filled(path, 16)
    assert (columns.held_rows, chunks(path)) == (0, 16)
    check(Columns(path), 16 * ROWS)  # what a process that begins now reads
    columns = filled(tmp_path / "longer.columns", 40)
    assert chunks(tmp_path / "longer.columns") == 2 + 40 - 34
    for each in (columns, Columns(tmp_path / "longer.columns")):
        check(each, 40 * ROWS)


@pytest.mark.parametrize("end", [0, 1, 700, 4 * ROWS, 20 * ROWS + 5, 22 * ROWS])
def test_a_cut_through_chunks_keeps_what_is_before_it(tmp_path: Path, end: int) -> None:
    path = tmp_path / "job.columns"
    columns = filled(path, 22)
    columns.append(block(1 + 22 * ROWS, 9), {1: ClaimedRange("claim", None)})
    assert columns.cut_invisible({1: ClaimedRange("claim", end)})
    assert columns.rows == end
    if end > 3 * ROWS:
        check(columns, end)
    columns.append(block(end + 1, 22 * ROWS - end + 9), {1: ClaimedRange("claim", None)})
    columns.save(least=1)
    assert np.array_equal(Columns(path).column(STEP), np.arange(1.0, 22 * ROWS + 10))


def test_damaged_chunks_are_not_joined(tmp_path: Path) -> None:
    path = tmp_path / "job.columns"
    filled(path, 16)
    content = path.read_bytes()
    place = content.rindex(np.sin(np.arange(1.0, ROWS + 1) + 3 * ROWS).tobytes())
    path.write_bytes(content[:place] + b"????" + content[place + 4 :])
    columns = Columns(path)
    columns.append(block(1 + 16 * ROWS), {1: ClaimedRange("claim", None)})
    with pytest.raises(DamagedColumnsError):
        columns.save(least=ROWS)
    assert columns.held_rows >= ROWS
