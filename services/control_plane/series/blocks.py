"""Packed points of the history as arrays, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control_plane.series.growing import Floats

_FIRST_GUESS = 256


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring points that have the same metrics."""

    steps: Floats
    attempts: Floats
    times: Floats
    """Milliseconds since the epoch, by the worker's clock."""
    values: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.steps)

    def part(self, start: int, end: int) -> Block:
        """Return the points from place `start` to before `end`."""
        rows = slice(start, end)
        values = {name: column[rows] for name, column in self.values.items()}
        return Block(self.steps[rows], self.attempts[rows], self.times[rows], values)

    def between(self, first: float, last: float) -> Block:
        """Return the points of the steps `first` to `last`."""
        start = int(np.searchsorted(self.steps, first, side="left"))
        return self.part(start, int(np.searchsorted(self.steps, last, side="right")))


def joined(blocks: Iterable[Block]) -> Block:
    """Return blocks as one, ascending by step; NaN where a point lacks a metric."""
    ordered = sorted((each for each in blocks if len(each)), key=lambda block: block.steps[0])
    rows = sum(map(len, ordered))
    steps, attempts, times = np.empty((3, rows))
    names = dict.fromkeys(name for block in ordered for name in block.values)
    values = {name: np.full(rows, np.nan) for name in names}
    start = 0
    for block in ordered:
        part = slice(start, start + len(block))
        steps[part], attempts[part], times[part] = block.steps, block.attempts, block.times
        for name, column in block.values.items():
            values[name][part] = column
        start += len(block)
    return Block(steps, attempts, times, values)


def read_blocks(schemas: Mapping[bytes, bytes], packed: bytes | memoryview) -> Iterator[Block]:
    """Yield the points that `visible.lua` packed, in their order.

    An entry is a step (double), an attempt and a schema (uint16 each), a time and the values of the
    schema's metrics (doubles). Neighbours of one schema are read together.
    """
    layouts = {int(number): _layout(names) for names, number in schemas.items()}
    offset, guess = 0, _FIRST_GUESS
    while offset < len(packed):
        schema = int(np.frombuffer(packed, "<u2", 1, offset + 10)[0])
        names, dtype = layouts[schema]
        most = min((len(packed) - offset) // dtype.itemsize, guess)
        rows = np.frombuffer(packed, dtype, most, offset)
        others = np.flatnonzero(rows["schema"] != schema)
        count = int(others[0]) if len(others) else most
        guess = 2 * count + _FIRST_GUESS
        offset += count * dtype.itemsize
        yield _block(names, rows[:count])


def _layout(columns: bytes) -> tuple[list[str], np.dtype[np.void]]:
    names = columns.decode().split(",")
    fields = [("step", "<f8"), ("attempt", "<u2"), ("schema", "<u2")]
    return names, np.dtype([*fields, ("numbers", "<f8", (len(names) + 1,))])


def _block(names: list[str], rows: NDArray[np.void]) -> Block:
    numbers = rows["numbers"]
    values = {name: numbers[:, place + 1] for place, name in enumerate(names)}
    return Block(rows["step"], rows["attempt"].astype(float), numbers[:, 0], values)
