"""A loss curve in braille: each character cell holds 2 by 4 dots."""

from __future__ import annotations

from collections.abc import Sequence

_BLANK = 0x2800
# Bit of a dot in its cell, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_LABEL_WIDTH = 8


def draw(values: Sequence[float], width: int, height: int) -> list[str]:
    """Return the lines of a chart, highest value first, with labels at top and bottom.

    Args:
        values: What to draw, oldest first, spread evenly over the width; finite numbers.
        width: Characters in a line, labels included, > 10.
        height: Lines, > 0.
    """
    if not values:
        return []
    columns = _columns(values, 2 * (width - _LABEL_WIDTH - 1))
    low, high = min(map(min, columns)), max(map(max, columns))
    span = (high - low) or 1.0
    bottom = 4 * height - 1
    cells = [[_BLANK] * (width - _LABEL_WIDTH - 1) for _ in range(height)]
    for x, (least, greatest) in enumerate(columns):
        # A column holds all its values, so that a spike is seen however long the run.
        for y in range(
            round((high - greatest) / span * bottom), round((high - least) / span * bottom) + 1
        ):
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    labels = [""] * height
    labels[-1] = f"{low:.4g}"
    labels[0] = f"{high:.4g}"
    return [
        f"{label:>{_LABEL_WIDTH}} {''.join(map(chr, row)).rstrip(chr(_BLANK))}".rstrip()
        for label, row in zip(labels, cells, strict=True)
    ]


def _columns(values: Sequence[float], count: int) -> list[tuple[float, float]]:
    """Return the smallest and greatest value of each of `count` columns of dots."""
    if 1 < len(values) < count:
        values = _stretched(values, count)
    count = min(count, len(values))
    columns = []
    for x in range(count):
        begin = x * len(values) // count
        part = values[begin : max(begin + 1, (x + 1) * len(values) // count)]
        columns.append((min(part), max(part)))
    return columns


def _stretched(values: Sequence[float], count: int) -> list[float]:
    """Return `count` values on the straight lines between the given ones."""
    stretched = []
    for x in range(count):
        place = x * (len(values) - 1) / (count - 1)
        left = min(int(place), len(values) - 2)
        share = place - left
        stretched.append(values[left] * (1 - share) + values[left + 1] * share)
    return stretched
