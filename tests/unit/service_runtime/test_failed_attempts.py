"""Wrong tokens are slowed; who never sends one never waits."""

from __future__ import annotations

import pytest

from service_runtime.failed_attempts import FailedAttempts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock) -> FailedAttempts:
    return FailedAttempts(clock)


def guesses(failures: FailedAttempts, clock: Clock, address: str, seconds: float) -> int:
    """Wrong tokens that a client gets looked at which tries ten times a second."""
    made = 0
    end = clock.now + seconds
    while clock.now < end:
        if failures.seconds_to_wait(address) == 0:
            failures.failed(address)
            made += 1
        clock.now += 0.1
    return made


def test_a_client_fails_ten_times_at_once_and_then_once_in_six_seconds(
    failures: FailedAttempts, clock: Clock
) -> None:
    assert guesses(failures, clock, "10.0.0.1", seconds=63) == 20
    assert 0 < failures.seconds_to_wait("10.0.0.1") <= 6
    assert failures.seconds_to_wait("10.0.0.2") == 0
    clock.now += 3600
    assert guesses(failures, clock, "10.0.0.1", seconds=1) == 10


def test_whether_any_failure_is_still_counted(failures: FailedAttempts, clock: Clock) -> None:
    assert not failures.has_any()
    failures.failed("10.0.0.1")
    clock.now += 5.9
    assert failures.has_any()
    clock.now += 0.2
    assert not failures.has_any()


def test_many_clients_together_are_slowed_and_lock_nobody_out(
    failures: FailedAttempts, clock: Clock
) -> None:
    attackers = [f"10.0.{n // 250}.{n % 250}" for n in range(500)]
    seen = 0
    for _ in range(5):
        for attacker in attackers:
            if failures.seconds_to_wait(attacker) == 0:
                failures.failed(attacker)
                seen += 1
    assert seen == 500  # one each, instead of five
    assert all(failures.seconds_to_wait(attacker) > 60 for attacker in attackers)
    assert failures.seconds_to_wait("192.0.2.1") == 0
    clock.now += 600
    assert not any(map(failures.seconds_to_wait, attackers))


def test_the_addresses_of_one_network_are_one_client(failures: FailedAttempts) -> None:
    for n in range(10):
        failures.failed(f"2001:db8::{n:x}")
    assert failures.seconds_to_wait("2001:db8::ffff") > 0
    assert failures.seconds_to_wait("2001:db8:0:1::1") == 0
    for _ in range(10):
        failures.failed("::ffff:192.0.2.1")
    assert failures.seconds_to_wait("192.0.2.1") > 0
    assert failures.seconds_to_wait("192.0.2.2") == 0


def test_what_is_remembered_is_bounded(failures: FailedAttempts, clock: Clock) -> None:
    for n in range(12_000):
        failures.failed(f"client-{n}")
    assert len(failures._clients) == 10_000
