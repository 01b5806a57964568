"""What is remembered of a run's files: never a problem, never a folder, never past a change."""

from __future__ import annotations

import os
from pathlib import Path

from app.training.preflight import Findings
from app.transformer.errors import FieldProblem
from control_plane.looks import PreflightCache, key_of


def test_a_look_is_remembered_until_a_file_changes(tmp_path: Path) -> None:
    data, looks = tmp_path / "a.txt", PreflightCache()
    data.write_text("to be")
    key = key_of("{}", (data, None))
    found = looks.remember(key, Findings(warnings=[FieldProblem("batch_size", "large")]))
    assert looks.find(key_of("{}", (data, None))) is found
    assert looks.find(key_of('{"batch_size": 2}', (data, None))) is None
    assert looks.find(key_of("{}", (None, data))) is None
    data.write_text("to be or not")
    assert looks.find(key_of("{}", (data, None))) is None
    same_size = tmp_path / "b.txt"
    same_size.write_text("to be")
    os.replace(same_size, data)
    assert looks.find(key_of("{}", (data, None))) is None


def test_a_problem_a_folder_and_a_missing_file_are_looked_at_each_time(tmp_path: Path) -> None:
    data, looks = tmp_path / "a.txt", PreflightCache()
    data.write_text("x")
    key = key_of("{}", (data,))
    looks.remember(key, Findings([FieldProblem("dataset_path", "too short")]))
    assert looks.find(key) is None
    assert key_of("{}", (tmp_path,)) is None
    assert key_of("{}", (tmp_path / "none",)) is None
    looks.remember(None, Findings())
    assert looks.find(None) is None


def test_looks_are_bounded(tmp_path: Path) -> None:
    looks = PreflightCache()
    for number in range(1000):
        looks.remember(key_of(str(number), ()), Findings())
    assert len(looks._findings) <= 256
