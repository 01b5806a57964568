"""The map of the code is true: package docstrings, CONTRIBUTING.md, and the walk in docs/design.md.

A docstring's map is its list: each item begins with the modules that it is about, in backquotes and
before a colon, and then says what they are for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("services", "worker", "client")
GENERATED = ROOT / "client/training_engine/v1"
TESTS = ROOT / "tests/conftest.py"
PACKAGES = [
    *sorted(
        path
        for folder in (*SOURCES, "benchmarks")
        for path in (ROOT / folder).rglob("__init__.py")
        if path.parent != GENERATED
    ),
    TESTS,
]
_ITEM = re.compile(r"^- (`\w+`(?:,\s+`\w+`)*):", re.MULTILINE)


def map_of(path: Path) -> list[str]:
    """The modules that a docstring's list names, in order."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return [name for item in _ITEM.findall(text) for name in re.findall(r"`(\w+)`", item)]


def modules_beside(path: Path) -> set[str]:
    """What the package of `path` consists of: modules, packages, and folders of tests."""
    files = {each.stem for each in path.parent.glob("*.py")}
    folders = {each.name for each in path.parent.iterdir() if any(each.glob("**/*.py"))}
    return (files | folders) - {"__init__", "conftest", "__pycache__"}


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.relative_to(ROOT).parent))
def test_each_module_is_in_the_map_of_its_package(path: Path) -> None:
    named, there = map_of(path), modules_beside(path)
    where = f"the docstring of {path.relative_to(ROOT)}"
    missing, gone = sorted(there - set(named)), sorted(set(named) - there)
    twice = sorted({name for name in named if named.count(name) > 1})
    assert (missing, gone, twice) == ([], [], []), (
        f"{where} has to change: add {missing} to the items of its list where they belong (or add "
        f"an item: - `module`: what it is for.); take out {gone}; name {twice} once"
    )


def rows_of_the_walk() -> Iterator[tuple[str, list[str]]]:
    """File and functions of each row of the walk in docs/design.md."""
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    walk = page.partition("## One attempt, file by file")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", walk, re.MULTILINE):
        yield row[0], re.findall(r"`([\w.]+)`", row[1])


def names_in(path: Path) -> set[str]:
    """Functions, classes and methods (`Class.method`) that a file defines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".lua":
        return set(re.findall(r"^local function (\w+)", text, re.MULTILINE))
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = [each for each in node.body if hasattr(each, "name")]
            names |= {f"{node.name}.{each.name}" for each in inner}
    return names


def test_the_walk_names_files_and_functions_that_exist() -> None:
    rows = list(rows_of_the_walk())
    assert len({file for file, _ in rows}) >= 15
    gone = []
    for file, functions in rows:
        path = next((ROOT / s / file for s in SOURCES if (ROOT / s / file).exists()), None)
        there = names_in(path) if path else set()
        gone += [f"{file}: {each}" for each in functions if each not in there] if path else [file]
    assert not gone, (
        f'docs/design.md, "One attempt, file by file", names {gone}, which are not there: put the '
        "new name in that row, and read the row once more"
    )


PAGE = ROOT / "CONTRIBUTING.md"


def test_contributing_names_files_that_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    files = [path for path in re.findall(r"`([\w./-]+/[\w.-]*)`", text) if "*" not in path]
    gone = [path for path in {*links, *files} if not (ROOT / path).exists()]
    assert not gone, f"CONTRIBUTING.md names {gone}, which are not there: correct the path"


def test_contributing_names_chores_of_the_makefile() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", PAGE.read_text(encoding="utf-8")))
    chores = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= chores, (
        f"CONTRIBUTING.md names make targets that do not exist: {named - chores}"
    )
