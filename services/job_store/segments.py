"""Which steps of each attempt readers see, from the job's attempt index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from job_store.keys import Keys
from job_store.records import AttemptRecord


@dataclass(frozen=True, slots=True)
class AttemptRange:
    """The visible steps of an attempt: `start < step <= end` (no end for the newest)."""

    attempt: int
    start: int
    end: int | None


def attempt_ranges(index: Mapping[bytes, bytes]) -> list[AttemptRange]:
    """Return the ranges of the stored attempt index, ascending; each ends at the next one's start.

    The first attempt starts at -1, so that a point logged at step 0 is visible.
    """
    starts = sorted(
        (int(number), int(json.loads(entry)["start_step"])) for number, entry in index.items()
    )
    ranges: list[AttemptRange] = []
    end: int | None = None
    for attempt, start in reversed(starts):
        ranges.append(AttemptRange(attempt, start if start > 0 else -1, end))
        end = start if end is None else min(end, start)
    return ranges[::-1]


@dataclass(frozen=True, slots=True)
class ClaimedRange:
    """An attempt that a worker has claimed, and the last of its steps that readers see."""

    claim_id: str
    end: int | None


def claimed_ranges(index: Mapping[bytes, bytes]) -> dict[int, ClaimedRange]:
    """Return the claimed attempts of the stored index, by number."""
    claims = {int(number): json.loads(entry).get("claim_id", "") for number, entry in index.items()}
    return {
        each.attempt: ClaimedRange(claims[each.attempt], each.end) for each in attempt_ranges(index)
    }


def attempt_showing(attempts: Sequence[AttemptRecord], step: int) -> int:
    """Return the attempt whose point of this step readers see."""
    for record in attempts:
        start = record.start_step if record.start_step > 0 else -1
        if start < step and (record.end_step is None or step <= record.end_step):
            return record.attempt
    raise LookupError(f"no attempt of the job shows step {step}; its first begins later")


class AttemptReads:
    """The commands that read what each attempt's streams hold."""

    PER_ATTEMPT = 3

    def __init__(self, keys: Keys, job_id: str, index: Mapping[bytes, bytes]) -> None:
        self.index = index
        self.numbers = sorted(int(number) for number in index)
        self.commands: list[tuple[Any, ...]] = []
        for n in self.numbers:
            self.commands += [
                ("HMGET", keys.job(job_id, "summary", n), "last", "points"),
                ("XLEN", keys.job(job_id, "metrics", n)),
                ("XREVRANGE", keys.job(job_id, "logs", n), "+", "-", "COUNT", 1),
            ]


def attempt_records(reads: AttemptReads, replies: Sequence[Any]) -> list[AttemptRecord]:
    """Return the records of the index, with the replies to `reads.commands`."""
    records = []
    ranges = {each.attempt: each for each in attempt_ranges(reads.index)}
    for i, n in enumerate(reads.numbers):
        entry = json.loads(reads.index[str(n).encode()])
        (last, _), points, log = replies[i * reads.PER_ATTEMPT : (i + 1) * reads.PER_ATTEMPT]
        records.append(
            AttemptRecord(
                attempt=n,
                claim_id=entry.get("claim_id", ""),
                worker_id=entry.get("worker_id", ""),
                start_step=int(entry["start_step"]),
                end_step=ranges[n].end,
                claimed_at=_time(entry, "claimed_at"),
                ended_at=_time(entry, "ended_at"),
                outcome=entry.get("outcome", ""),
                last_step=int(last) if last else None,
                last_log_seq=int(log[0][0].split(b"-")[0]) if log else None,
                points=points,
            )
        )
    return records


def _time(entry: Mapping[str, str], name: str) -> int | None:
    return int(entry[name]) if entry.get(name) else None
