"""A plugin for pytest: runs tests with one guard of the scripts changed.

MUTANT='file | guard | change' python -P -m pytest -p model.mutated tests/unit/job_store
"""

from __future__ import annotations

import os

from model.mutants import assembled, mutants

from job_store import scripts


def pytest_configure() -> None:
    """Put the mutant in place of the packaged scripts, before any of them is read."""
    (mutant,) = (one for one in mutants() if one.key == os.environ["MUTANT"])
    scripts._assembled = lambda name, _: assembled(name, mutant)
