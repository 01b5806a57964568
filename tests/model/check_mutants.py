"""Says of each mutant of the scripts what notices it: make check-mutants.

python -P tests/model/check_mutants.py [--new] [--shard N/M] [PART OF A NAME]

Prints a line for each, as it is in verdicts.md, and exits with 1 where that page says otherwise.
`--new` asks only about mutants of which the page says nothing. Checks, in this order: the search of
small and of larger profiles, then the tests of the job store.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from model.actors import Bounds
from model.checker import Checker, ViolationError
from model.mutants import Mutant, assembled, mutants
from model.server import ModelServer
from model.state_table import ROOT

SEARCHES = {
    "small": Bounds(attempts=1, steps=1, has_zombies=True, has_sweeps=True, has_archive=True),
    "medium": Bounds(attempts=2, steps=1),
    "moves": Bounds(attempts=2, steps=2),
    "files": Bounds(attempts=2, steps=1, has_zombies=True, has_sweeps=True),
    "points": Bounds(attempts=2, steps=1, has_archive=True),
}
PAGE = Path(__file__).parent / "verdicts.md"
NOTHING = "nothing"
_TESTS = ("tests/unit/job_store", "tests/model/test_store_as_dict.py")
_ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.+?) \|$", re.MULTILINE)


def verdicts() -> dict[str, str]:
    """What the page says of each mutant, by its key."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else []
    return {f"{file} | {guard} | {change}": said for file, guard, change, said in rows}


def noticed_by_search(server: ModelServer, mutant: Mutant, names: Sequence[str]) -> str:
    """The first of these searches that meets a violation, and which; `nothing` for none."""
    for name in names:
        server.use(lambda script: assembled(script, mutant))
        try:
            Checker(server, SEARCHES[name]).run()
        except ViolationError as violation:
            what = str(violation).splitlines()[0]
            return f"{name}: {_short(what)}"
    return NOTHING


def _short(what: str) -> str:
    named = re.sub(r"\w+_0{10}\w+", "…", what.replace("|", "¦"))
    return named if len(named) < 100 else named[:99] + "…"


def noticed_by_tests(mutant: Mutant) -> str:
    """The first test that fails; `nothing` for none."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-p", "model.mutated", "-q", "-x", *_TESTS],
        cwd=ROOT,
        env={**os.environ, "MUTANT": mutant.key, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.search(r"^(?:FAILED|ERROR) \S+?::(\w+)", done.stdout, re.MULTILINE)
    return f"test: `{failed[1]}`" if failed else NOTHING


def row(mutant: Mutant, said: str) -> str:
    """A line of the page."""
    return f"| `{mutant.file}` | `{mutant.guard}` | `{mutant.change}` | {said} |"


def main() -> int:
    """Check each mutant that is asked for."""
    known, wrong = verdicts(), 0
    with tempfile.TemporaryDirectory() as folder:
        server = ModelServer(Path(folder))
        try:
            for mutant in _asked_for(sys.argv[1:], known):
                said = noticed_by_search(server, mutant, list(SEARCHES))
                if said == NOTHING:
                    said = noticed_by_tests(mutant)
                print(row(mutant, said), flush=True)
                is_excused = known.get(mutant.key, "").startswith("equivalent")
                wrong += (said == NOTHING) != is_excused
        finally:
            server.stop()
    return 1 if wrong else 0


def _asked_for(arguments: list[str], known: dict[str, str]) -> list[Mutant]:
    chosen = mutants()
    if "--new" in arguments:
        chosen = [one for one in chosen if one.key not in known]
    if "--shard" in arguments:
        number, of = arguments[arguments.index("--shard") + 1].split("/")
        chosen = chosen[int(number) - 1 :: int(of)]
    elif arguments and not arguments[-1].startswith("-"):
        chosen = [one for one in chosen if arguments[-1] in one.key]
    return chosen


if __name__ == "__main__":
    sys.exit(main())
