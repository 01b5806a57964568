"""Charts: buckets read from packed replies, and merged to the number asked for."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence

from job_store.history_records import Bucket, Extent, HistoryPoint

_ENTRY_HEAD = struct.Struct("<dHH")
_LENGTH = struct.Struct("<I")
_HEAD_DOUBLES = 5
# index, first step, last step, count, time; then (min, max, last) for each column.


def unpack_entries(
    schemas: Mapping[bytes, bytes], packed: bytes | memoryview, first: int, last: float
) -> Iterator[tuple[int, int, int, dict[str, float]]]:
    """Yield step, attempt, time and values of the entries that `visible.lua` packed, ascending."""
    columns: dict[int, tuple[tuple[str, ...], struct.Struct]] = {}
    for names, number in schemas.items():
        split = tuple(names.decode().split(","))
        columns[int(number)] = (split, struct.Struct(f"<{len(split) + 1}d"))
    offset = 0
    while offset < len(packed):
        step, attempt, schema = _ENTRY_HEAD.unpack_from(packed, offset)
        names_of, layout = columns[schema]
        body = offset + _ENTRY_HEAD.size
        offset = body + layout.size
        if step < first:
            continue
        if step > last:
            return
        time_ms, *values = layout.unpack_from(packed, body)
        yield int(step), attempt, int(time_ms), dict(zip(names_of, values, strict=True))


def unpack_points(
    schemas: Mapping[bytes, bytes],
    packed: bytes | memoryview,
    first: int = 0,
    last: float = math.inf,
) -> Iterator[HistoryPoint]:
    """Yield the packed points of the steps `first` to `last`."""
    for step, attempt, time_ms, values in unpack_entries(schemas, packed, first, last):
        yield HistoryPoint(step, time_ms, attempt, values)


def unpack_buckets(columns: Sequence[str], packed: bytes) -> Iterator[Bucket]:
    """Return the buckets of one attempt, from a reply of `read_chart`."""
    offset = 0
    while offset < len(packed):
        (size,) = _LENGTH.unpack_from(packed, offset)
        offset += _LENGTH.size
        doubles = struct.unpack_from(f"<{size // 8}d", packed, offset)
        offset += size
        _, first, last, count, time_ms = doubles[:_HEAD_DOUBLES]
        metrics = {}
        triples = iter(doubles[_HEAD_DOUBLES:])
        for name, low, high, final in zip(columns, triples, triples, triples, strict=False):
            if final == final:  # not NaN: logged in this bucket
                metrics[name] = Extent(low, high, final)
        yield Bucket(int(first), int(last), int(count), int(time_ms), metrics)


def bucket_of(points: Sequence[HistoryPoint]) -> Bucket:
    """Return neighbouring points as a bucket.

    A value that is not finite counts as not logged, as in stored summaries.
    """
    metrics: dict[str, Extent] = {}
    for point in points:
        for name, value in point.values.items():
            if not math.isfinite(value):
                continue
            metrics[name] = _joined(metrics.get(name), Extent(value, value, value))
    last = points[-1]
    return Bucket(points[0].step, last.step, len(points), last.time_ms, metrics)


def _joined(before: Extent | None, after: Extent) -> Extent:
    if before is None:
        return after
    return Extent(min(before.min, after.min), max(before.max, after.max), after.last)


def buckets_of(points: Sequence[HistoryPoint], max_points: int) -> list[Bucket]:
    """Return at most `max_points` buckets with equal numbers of points, except for the last."""
    group = max(1, -(-len(points) // max_points))
    return [bucket_of(points[i : i + group]) for i in range(0, len(points), group)]


def merge(first: Bucket, second: Bucket) -> Bucket:
    """Return two neighbours as one bucket."""
    metrics = dict(first.metrics)
    for name, extent in second.metrics.items():
        metrics[name] = _joined(metrics.get(name), extent)
    return Bucket(
        first.first_step,
        second.last_step,
        first.count + second.count,
        second.time_ms,
        metrics,
    )


def join_small(buckets: Sequence[Bucket], size: int) -> list[Bucket]:
    """Merge neighbours that together have at most `size` points: the pieces at the edges."""
    joined: list[Bucket] = []
    for bucket in buckets:
        if joined and joined[-1].count + bucket.count <= size:
            joined[-1] = merge(joined[-1], bucket)
        else:
            joined.append(bucket)
    return joined


def reduce_to(buckets: Sequence[Bucket], max_points: int) -> list[Bucket]:
    """Return at most `max_points` buckets; equal numbers of neighbours are merged."""
    if len(buckets) <= max_points:
        return list(buckets)
    group = -(-len(buckets) // max_points)
    reduced = []
    for start in range(0, len(buckets), group):
        merged = buckets[start]
        for bucket in buckets[start + 1 : start + group]:
            merged = merge(merged, bucket)
        reduced.append(merged)
    return reduced
