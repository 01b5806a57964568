"""Runs tests of the store in this process, with one condition of the scripts changed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
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
            *("sweep_calls", "gangs"),
        )
    ),
)
_MOST_SECONDS = 30
"""Of a test: with some conditions changed, a reader asks again for ever."""
_TextOf = Callable[[str, set[str]], str]


class _FirstFailure:
    """A plugin that notes which test failed first."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = re.sub(r"\[.*", "", report.nodeid.rpartition("::")[2])


class _Reached:
    """A plugin that notes which files of the scripts each file of tests runs."""

    def __init__(self) -> None:
        self.files: dict[Path, set[str]] = {}
        self._now: set[str] = set()
        self._packaged = scripts._assembled

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.path not in self.files:
            scripts.script.cache_clear()
        self._now = self.files.setdefault(item.path, set())

    def text_of(self, name: str, present: set[str]) -> str:
        """The packaged text; called for what a script includes, too."""
        self._now.add(name)
        return self._packaged(name, present)


def first_failure(mutant: Mutant, name: str = "") -> str:
    """The first test that fails, of those with this name; empty for none.

    Without a name: of all that run the changed file. In this process, since a new one needs longer
    for its imports than most mutants live.
    """
    failure = _FirstFailure()
    files = _files_with(name) if name else tests_that_run(mutant.file)
    options = ["-x", f"--timeout={_MOST_SECONDS}", *(["-k", name] if name else [])]
    with _with_texts(lambda one, _: assembled(one, mutant)):
        _run(files, failure, *options)
    return failure.name


@cache
def tests_that_run(file: str) -> tuple[Path, ...]:
    """The files of tests in which a script is run that has this file in it."""
    return tuple(path for path, files in _reached().items() if file in files)


@cache
def _reached() -> dict[Path, set[str]]:
    """Asked of the tests themselves: they are all run once, with the scripts as they are."""
    reached = _Reached()
    with _with_texts(reached.text_of):
        _run([_FOLDER / test for test in TESTS], reached)
    return reached.files


@cache
def _files_with(name: str) -> tuple[Path, ...]:
    paths = [_FOLDER / test for test in TESTS]
    files = [file for path in paths for file in (sorted(path.glob("test_*.py")) or [path])]
    return tuple(file for file in files if f"def {name}(" in file.read_text(encoding="utf-8"))


@contextmanager
def _with_texts(text_of: _TextOf) -> Iterator[None]:
    packaged, scripts._assembled = scripts._assembled, text_of
    scripts.script.cache_clear()
    try:
        yield
    finally:
        scripts._assembled = packaged
        scripts.script.cache_clear()


def _run(files: Sequence[Path], plugin: object, *options: str) -> None:
    if not files:
        return  # pytest would run all tests there are
    quiet = ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
    ):
        paths = [str(file) for file in files]
        pytest.main([*quiet, f"--basetemp={folder}/t", *options, *paths], plugins=[plugin])
