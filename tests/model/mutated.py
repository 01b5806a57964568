"""Runs tests of the store in this process, with one condition of the scripts changed."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from model.mutants import Mutant, assembled

from job_store import scripts

_FOLDER = Path(__file__).parents[1]
TESTS = (
    *("unit/job_store", "unit/recovery", "model/test_store_as_dict.py"),
    *(
        f"unit/control_plane/test_{what}.py"
        for what in (
            *("notices", "reconciler", "leftovers", "lost_records", "job_calls", "forks"),
            "sweep_calls",
            "gangs",
        )
    ),
)


class _FirstFailure:
    """A plugin that notes which test failed first."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = re.sub(r"\[.*", "", report.nodeid.rpartition("::")[2])


def first_failure(mutant: Mutant, name: str = "") -> str:
    """The first test that fails, of all or of those with this name; empty for none.

    In this process, since a new one needs longer for its imports than most mutants live.
    """
    failure = _FirstFailure()
    packaged, scripts._assembled = scripts._assembled, lambda one, _: assembled(one, mutant)
    scripts.script.cache_clear()
    chosen = ["-k", name] if name else []
    tests = [str(_FOLDER / test) for test in TESTS]
    quiet = ["-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            redirect_stdout(nowhere),
        ):
            pytest.main([*quiet, f"--basetemp={folder}/t", *chosen, *tests], plugins=[failure])
    finally:
        scripts._assembled = packaged
        scripts.script.cache_clear()
    return failure.name
