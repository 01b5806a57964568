"""The cache remembers no problem and no folder, and nothing of a file that has changed."""

from __future__ import annotations

import os
from pathlib import Path

from app.training.preflight import Findings
from app.transformer.errors import FieldProblem
from control_plane.preflight_cache import PreflightCache, key_of


def test_findings_are_remembered_until_a_file_changes(tmp_path: Path) -> None:
    data, cache = tmp_path / "a.txt", PreflightCache()
    data.write_text("to be")
    key = key_of("{}", (data, None))
    findings = cache.remember(key, Findings(warnings=[FieldProblem("batch_size", "large")]))
    assert cache.find(key_of("{}", (data, None))) is findings
    assert cache.find(key_of('{"batch_size": 2}', (data, None))) is None
    assert cache.find(key_of("{}", (None, data))) is None
    data.write_text("to be or not")
    assert cache.find(key_of("{}", (data, None))) is None
    same_size = tmp_path / "b.txt"
    same_size.write_text("to be")
    os.replace(same_size, data)
    assert cache.find(key_of("{}", (data, None))) is None


def test_a_problem_a_folder_and_a_missing_file_are_checked_each_time(tmp_path: Path) -> None:
    data, cache = tmp_path / "a.txt", PreflightCache()
    data.write_text("x")
    key = key_of("{}", (data,))
    cache.remember(key, Findings([FieldProblem("dataset_path", "too short")]))
    assert cache.find(key) is None
    assert key_of("{}", (tmp_path,)) is None
    assert key_of("{}", (tmp_path / "none",)) is None
    cache.remember(None, Findings())
    assert cache.find(None) is None


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    cache = PreflightCache()
    for number in range(1000):
        cache.remember(key_of(str(number), ()), Findings())
    assert len(cache._findings) <= 256
