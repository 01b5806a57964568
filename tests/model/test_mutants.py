"""Each guard of the scripts is there for something that a check notices. See verdicts.md."""

from __future__ import annotations

import random
import re
from pathlib import Path

from model.check_mutants import NOTHING, SEARCHES, noticed_by_search, verdicts
from model.mutants import mutants
from model.server import ModelServer
from model.state_table import ROOT

SAMPLE = 8
MUTANTS = {mutant.key: mutant for mutant in mutants()}


def test_each_mutant_has_a_verdict() -> None:
    new, gone = sorted(set(MUTANTS) - set(verdicts())), sorted(set(verdicts()) - set(MUTANTS))
    assert (new, gone) == ([], []), (
        "run `make check-mutants ARGS=--new` and add what it prints to tests/model/verdicts.md; a "
        "line that says `nothing` needs a check that fails, or a reason: `equivalent: …`"
    )


def test_each_verdict_names_what_notices_it() -> None:
    files = [*(ROOT / "tests").rglob("test_*.py")]
    tests = set(re.findall(r"def (test_\w+)", "\n".join(path.read_text("utf-8") for path in files)))
    for key, said in verdicts().items():
        by, _, what = said.partition(": ")
        assert by in (*SEARCHES, "test", "equivalent"), (key, said)
        assert what
        if by == "test":
            assert what.strip("`") in tests, (key, said)


def test_the_search_notices_a_sample_of_them(tmp_path: Path) -> None:
    quick = sorted(key for key, said in verdicts().items() if said.startswith("small: "))
    server = ModelServer(tmp_path)
    try:
        for key in random.Random(12).sample(quick, SAMPLE):
            assert noticed_by_search(server, MUTANTS[key], ["small"]) != NOTHING, key
    finally:
        server.stop()
