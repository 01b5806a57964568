"""docs/sdk.md says of errors and of an engine's arguments what the code says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from training_engine import TrainingEngine, errors

PAGE = (Path(__file__).parents[3] / "docs/sdk.md").read_text(encoding="utf-8")
_BRANCH = re.compile(r"^((?:│   |    )*)(?:[├└]── )?(\w+Error) ", re.MULTILINE)


def test_the_tree_of_errors_is_the_one_of_the_module() -> None:
    (tree,) = re.findall(r"```text\n(TrainingEngineError .*?)```", PAGE, re.DOTALL)
    source = inspect.getsource(errors)
    assert re.findall(r"^# (.*)$", source.partition("from __future__")[0], re.MULTILINE) == (
        tree.splitlines()
    )
    classes = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.TrainingEngineError) and not name.startswith("_")
    }
    assert {name for _, name in _BRANCH.findall(tree)} == classes


def test_the_tree_of_errors_shows_who_inherits_from_whom() -> None:
    parents: list[type] = [Exception]
    (tree,) = re.findall(r"```text\n(TrainingEngineError .*?)```", PAGE, re.DOTALL)
    for line in tree.splitlines():
        depth = 0 if line.startswith("Training") else 1 + line.startswith("│   ")
        kind = getattr(errors, _BRANCH.findall(line)[0][1])
        del parents[depth + 1 :]
        assert issubclass(kind, parents[-1])
        parents.append(kind)


def test_the_table_of_arguments_has_each_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    parameters = inspect.signature(TrainingEngine).parameters
    assert list(rows) == list(parameters)[1:]
    for name in ("timeout", "retry_for", "reconnect_for"):
        assert rows[name] == f"{parameters[name].default:g} s"
