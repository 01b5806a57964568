"""docs/reliability.md names tests; each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
FILES = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}


def test_every_file_of_tests_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert len(named) > 20
    assert named <= set(FILES)


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(test_\w+)(?:\[\w+\])?…?`", PAGE)
    assert len(named) > 5
    tests = "\n".join(path.read_text(encoding="utf-8") for path in FILES.values())
    missing = [name for name in named if f"def {name}" not in tests]
    assert missing == []


def test_every_row_says_how_it_was_found_and_what_holds_it() -> None:
    record_of_faults = PAGE[PAGE.index("## Track record") :]
    rows = [
        line
        for line in record_of_faults.splitlines()
        if line.startswith("| ") and "|---" not in line
    ]
    record = [row for row in rows if row.count("|") == 4 and "held by" not in row]
    assert len(record) > 20
    for row in record:
        what, found, held = (cell.strip() for cell in row.strip("|").split("|"))
        assert what.endswith(".")
        assert found
        assert "`test_" in held or held == "the same", row
