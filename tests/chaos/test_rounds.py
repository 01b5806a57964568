"""Some rounds of chaos with one seed. `make chaos` runs as many as you like."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan import KINDS, LIVES, PROCESSES, VICTIMS, draw
from rounds import Rounds, describe

pytestmark = pytest.mark.slow


def test_a_seed_draws_the_same_rounds_again() -> None:
    assert draw(3, 14) == draw(3, 14)
    assert draw(3, 14) != draw(4, 14)


def test_every_fault_and_every_life_is_drawn() -> None:
    plans = [draw(1, number) for number in range(1, 301)]
    faults = {(fault.kind, fault.victim) for plan in plans for fault in plan.faults}
    assert faults == {
        *((kind, victim) for kind in KINDS for victim in VICTIMS[kind]), ("kill", "rank"),
    }  # fmt: skip
    killed = {fault.kills for plan in plans for fault in plan.faults if fault.kind == "trap"}
    assert killed == {*PROCESSES} - {"gateway"}
    assert {job.life for plan in plans for job in plan.jobs} == {*LIVES}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_rounds_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    rounds = Rounds(1, tmp_path)
    try:
        failed = [outcome for n in (1, 3, 8) if (outcome := rounds.run(n)).problems]
    finally:
        rounds.close()
    assert not failed, "\n".join(map(describe, failed))
    assert sum(len(outcome.made) for outcome in rounds.outcomes) >= 6
