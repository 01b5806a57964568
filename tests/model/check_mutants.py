"""Says of each mutant of the scripts what notices it: make check-mutants.

python -P tests/model/check_mutants.py [--new | --noticed] [--shard N/M] [PART OF A NAME]

Prints a line for each, as it is in verdicts.md, and exits with 1 where that page says otherwise.
`--new` asks only about mutants of which the page says nothing, `--noticed` leaves out those that it
explains: for these each check has to run. What the page names is tried first; then the searches of
small profiles, the tests, and the searches of larger profiles.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from model.actors import Bounds
from model.checker import Checker, ViolationError
from model.mutants import Mutant, assembled, mutants
from model.mutated import first_failure
from model.server import ModelServer

SEARCHES = {
    "small": Bounds(
        attempts=1, steps=1, has_zombies=True, has_sweeps=True, has_archive=True, has_pauses=True
    ),
    "medium": Bounds(attempts=2, steps=1, has_pauses=True),
    "moves": Bounds(attempts=2, steps=2),
    "files": Bounds(attempts=2, steps=1, has_zombies=True, has_sweeps=True),
    "points": Bounds(attempts=2, steps=1, has_archive=True, has_pauses=True),
}
PAGE = Path(__file__).parent / "verdicts.md"
NOTHING = "nothing"
_QUICK = ("small", "medium")
_ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.+?) \|$", re.MULTILINE)


def verdicts() -> dict[str, str]:
    """What the page says of each mutant, by its key."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else []
    return {f"{file} | {condition} | {change}": said for file, condition, change, said in rows}


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


def noticed_by_tests(mutant: Mutant, name: str = "") -> str:
    """The first test that fails, of all or of those with this name; `nothing` for none."""
    failed = first_failure(mutant, name)
    return f"test: `{failed}`" if failed else NOTHING


def noticed(server: ModelServer, mutant: Mutant, said: str) -> str:
    """What notices the mutant; `said`: what did at the last time, or nothing yet."""
    return next((by for by in _checks(server, mutant, said) if by != NOTHING), NOTHING)


def _checks(server: ModelServer, mutant: Mutant, said: str) -> Iterator[str]:
    by, _, what = said.partition(": ")
    if by in SEARCHES:
        yield noticed_by_search(server, mutant, [by])
    elif by == "test":
        yield noticed_by_tests(mutant, what.strip("`"))
    yield noticed_by_search(server, mutant, _QUICK)
    yield noticed_by_tests(mutant)
    yield noticed_by_search(server, mutant, [name for name in SEARCHES if name not in _QUICK])


def row(mutant: Mutant, said: str) -> str:
    """A line of the page."""
    return f"| `{mutant.file}` | `{mutant.condition}` | `{mutant.change}` | {said} |"


def main() -> int:
    """Check each mutant that is asked for."""
    known, wrong, seconds = verdicts(), 0, list[float]()
    with tempfile.TemporaryDirectory() as folder:
        server = ModelServer(Path(folder))
        try:
            for mutant in _asked_for(sys.argv[1:], known):
                began = time.monotonic()
                expected = known.get(mutant.key, "")
                said = noticed(server, mutant, expected)
                print(row(mutant, said), flush=True)
                if said != NOTHING:
                    seconds.append(time.monotonic() - began)
                wrong += (said == NOTHING) != expected.startswith("equivalent")
        finally:
            server.stop()
    print(_summary(seconds, wrong))
    return 1 if wrong else 0


def _summary(seconds: Sequence[float], wrong: int) -> str:
    if not seconds:
        return f"0 were noticed; {wrong} not as verdicts.md says"
    return (
        f"{len(seconds)} were noticed, in {statistics.median(seconds):.1f} s (median), "
        f"at most {max(seconds):.1f} s; {wrong} not as verdicts.md says"
    )


def _asked_for(arguments: list[str], known: dict[str, str]) -> list[Mutant]:
    chosen = mutants()
    if "--new" in arguments:
        chosen = [one for one in chosen if one.key not in known]
    if "--noticed" in arguments:
        chosen = [one for one in chosen if not known.get(one.key, "").startswith("equivalent")]
    if "--shard" in arguments:
        number, of = arguments[arguments.index("--shard") + 1].split("/")
        chosen = chosen[int(number) - 1 :: int(of)]
    elif arguments and not arguments[-1].startswith("-"):
        chosen = [one for one in chosen if arguments[-1] in one.key]
    return chosen


if __name__ == "__main__":
    sys.exit(main())
