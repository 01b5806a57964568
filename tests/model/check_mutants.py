"""Says of each mutant of the scripts what notices it: make check-mutants.

python -P tests/model/check_mutants.py [--new | --noticed] [--shard N/M] [PART OF A NAME]

Prints a line for each, as it is in verdicts.md, and exits with 1 where that page says otherwise or
a check needs longer than `MOST_SECONDS` of a processor. `--new` asks only about mutants of which
the page says nothing, `--noticed` leaves out those that it explains: for these each check has to
run. What the page names is tried first; then the search of a small profile, the tests, and the
searches of larger profiles. Left out are checks that do not run the changed file.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from model.actors import Bounds
from model.checker import Checker, ViolationError
from model.mutants import Mutant, assembled, is_searched, mutants
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
MOST_SECONDS = 60.0
"""Of a processor, until a mutant is noticed."""
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
    """The first test that fails, of those that run it or have this name; `nothing` for none."""
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
    small, *larger = SEARCHES if is_searched(mutant.file) else ("",)
    yield noticed_by_search(server, mutant, [small] if small else [])
    yield noticed_by_tests(mutant)
    yield noticed_by_search(server, mutant, larger)


def row(mutant: Mutant, said: str) -> str:
    """A line of the page."""
    return f"| `{mutant.file}` | `{mutant.condition}` | `{mutant.change}` | {said} |"


def main() -> int:
    """Check each mutant that is asked for."""
    known, wrong, seconds = verdicts(), list[str](), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        server = ModelServer(Path(folder))
        try:
            for mutant in _asked_for(sys.argv[1:], known):
                began, expected = _processor_seconds(server), known.get(mutant.key, "")
                said = noticed(server, mutant, expected)
                print(row(mutant, said), flush=True)
                if said != NOTHING:
                    seconds[mutant.key] = _processor_seconds(server) - began
                if (said == NOTHING) != expected.startswith("equivalent"):
                    wrong.append(mutant.key)
        finally:
            server.stop()
    print(_summary(seconds, wrong))
    return 1 if wrong or max(seconds.values(), default=0) > MOST_SECONDS else 0


def _processor_seconds(server: ModelServer) -> float:
    """Of this process, its server, and the processes that tests have ended."""
    times = os.times()
    return server.cpu_seconds() + times.children_user + times.children_system


def _summary(seconds: Mapping[str, float], wrong: Sequence[str]) -> str:
    lines = [f"{len(wrong)} not as verdicts.md says", *wrong]
    if seconds:
        median, *slowest = (
            statistics.median(seconds.values()),
            *sorted(seconds, key=seconds.get)[-5:],
        )
        lines += [f"{len(seconds)} were noticed, half of them within {median:.1f} s of a processor"]
        lines += [f"{seconds[key]:6.1f} s: {key}" for key in slowest]
    return "\n".join(lines)


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
