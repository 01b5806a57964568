"""Pauses after failures."""

from __future__ import annotations

from service_runtime.backoff import pause_seconds


def test_the_pause_before_a_retry_doubles_up_to_the_longest() -> None:
    pauses = [pause_seconds(failures, 30.0, 600.0) for failures in (0, 1, 2, 3, 4, 5, 6, 10_000)]
    assert pauses == [30.0, 30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    assert pause_seconds(1, 30.0, 10.0) == 10.0
