"""The scripts of the job store, from all states that they can reach. See README.md beside this."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
from model.actors import Bounds
from model.checker import Checker, Report, ViolationError, uncovered
from model.mutants import NOT_OF_ONE_JOB, whole_scripts
from model.recorded_calls import FIRST_MAX_STEPS
from model.server import ModelServer, packaged

PROFILES = {
    "moves": Bounds(attempts=2, steps=1, has_zombies=True),
    "files": Bounds(attempts=1, steps=2, has_zombies=True, has_sweeps=True, has_archive=True),
    "points": Bounds(attempts=2, steps=1, has_archive=True, has_pauses=True),
}
LARGER = {
    "steps": Bounds(attempts=2, steps=2),
    "sweeps": Bounds(attempts=2, steps=1, has_zombies=True, has_sweeps=True),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    server = ModelServer(tmp_path_factory.mktemp("model"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def visit(server: ModelServer) -> Callable[[str], Report]:
    """Visits all states of a profile, once however often it is asked for."""

    @cache
    def visited(profile: str) -> Report:
        server.use(packaged)
        report = Checker(server, (PROFILES | LARGER)[profile]).run()
        print(f"\n{profile}: {report}")  # pytest -s shows it
        return report

    return visited


@pytest.mark.slow
@pytest.mark.parametrize(
    "profile",
    [
        *PROFILES,
        *(
            pytest.param(each, marks=[pytest.mark.long, pytest.mark.timeout(1200)])
            for each in LARGER
        ),
    ],
)
def test_nothing_goes_wrong_in_any_state(visit: Callable[[str], Report], profile: str) -> None:
    assert visit(profile).states > 1000


@pytest.mark.slow
def test_each_line_of_the_state_table_can_be_reached(visit: Callable[[str], Report]) -> None:
    assert uncovered([visit(profile) for profile in PROFILES]) == set()


def test_each_script_that_changes_a_job_is_visited(server: ModelServer) -> None:
    server.use(packaged)
    Checker(server, Bounds(1, 1, has_zombies=True, has_sweeps=True, has_archive=True)).run()
    assert set(whole_scripts()) - server.scripts_run == NOT_OF_ONE_JOB


def test_a_violation_names_the_shortest_way_to_it(server: ModelServer) -> None:
    def without_a_guard(name: str) -> str:
        text = packaged(name)
        return text.replace("if not current or job.status ~= 'queued' then", "if false then")

    server.use(without_a_guard)
    with pytest.raises(ViolationError) as violation:
        Checker(server, Bounds(attempts=1, steps=FIRST_MAX_STEPS)).run()
    assert "a late call changes something: ('claim'" in str(violation.value)
    assert "after\n  1. start\n" in str(violation.value)
