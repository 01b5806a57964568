"""Visits more states than CI does, and prints how many: make check-model.

python -P tests/model/check_model.py [PROFILE...]

Exits with 1, and the shortest way to what is wrong, where something is. Without names it visits
those of `USUAL`; `moves`, `files` and `points` are larger.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from model.actors import Bounds
from model.checker import Checker, Report, ViolationError, uncovered
from model.server import ModelServer, packaged

PROFILES = {
    "attempts": Bounds(attempts=3, steps=1),
    "moves": Bounds(attempts=3, steps=2),
    "files": Bounds(attempts=2, steps=2, has_zombies=True, has_sweeps=True),
    "points": Bounds(attempts=2, steps=2, has_archive=True, has_pauses=True),
    "all": Bounds(
        attempts=2, steps=1, has_zombies=True, has_sweeps=True, has_archive=True, has_pauses=True
    ),
}
USUAL = ("attempts", "all")


def main() -> int:
    """Visit the usual profiles, or those that are named."""
    names = sys.argv[1:] or USUAL
    reports: list[Report] = []
    with tempfile.TemporaryDirectory() as folder:
        server = ModelServer(Path(folder))
        try:
            for name in names:
                server.use(packaged)
                reports.append(Checker(server, PROFILES[name]).run())
                print(f"{name}: {reports[-1]}", flush=True)
        except ViolationError as violation:
            print(violation)
            return 1
        finally:
            server.stop()
    if missing := sorted(uncovered(reports)):
        print(f"lines of the table of states that never happened: {', '.join(missing)}")
    return 1 if missing and not sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
