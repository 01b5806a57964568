"""How the SDK spaces its tries during an outage."""

from __future__ import annotations

from training_engine._retry import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, RetryDeadline
from training_engine.errors import UnavailableError


def test_an_outage_of_an_hour_is_borne_with_delays_that_stay_bounded() -> None:
    patience = RetryDeadline(seconds=3600.0)
    error = UnavailableError("the control plane is away")
    delays = [patience.delay_after(error) for _ in range(2000)]
    assert FIRST_DELAY_SECONDS / 2 <= delays[0] <= FIRST_DELAY_SECONDS
    assert all(LONGEST_DELAY_SECONDS / 2 <= delay <= LONGEST_DELAY_SECONDS for delay in delays[5:])
    patience.progressed()
    assert patience.delay_after(error) <= FIRST_DELAY_SECONDS
