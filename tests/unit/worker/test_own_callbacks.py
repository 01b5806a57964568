"""Callbacks that a worker's settings name: what is taken, and what a wrong name is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.training.errors import CustomMetricError
from job_store.records import OutcomeKind
from service_runtime.settings import SettingsError
from training_worker.failures import describe_failure
from training_worker.own_callbacks import own_callbacks

MODULE = """
class First:
    def __init__(self, trainer):
        self.trainer = trainer

def second(trainer):
    return First(trainer)

broken = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with a module `metrics_of_mine`, and `torn`, which does not import."""
    (tmp_path / "metrics_of_mine.py").write_text(MODULE)
    (tmp_path / "torn.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_what_is_named_makes_callbacks_in_order(mine: Path) -> None:
    made = own_callbacks("metrics_of_mine:First, metrics_of_mine:second,")
    assert [type(make("a trainer")).__name__ for make in made] == ["First", "First"]  # type: ignore[arg-type]
    assert own_callbacks("") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine", "--callbacks: 'mine' must be MODULE:NAME, for example mine:WeightNorm"),
        (":x", "--callbacks: ':x' must be MODULE:NAME"),
        (
            "no_such_module:x",
            "no_such_module cannot be imported .ModuleNotFoundError: .*PYTHONPATH",
        ),
        ("torn:x", "torn cannot be imported .ZeroDivisionError: division by zero"),
        ("metrics_of_mine:x", "metrics_of_mine has no 'x' that can be called; name a class or"),
        ("metrics_of_mine:broken", "has no 'broken' that can be called"),
    ],
)
def test_a_wrong_name_is_told(mine: Path, name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        own_callbacks(name)


def test_a_worker_with_a_wrong_name_does_not_start(mine: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "training_worker", "--callbacks=torn:x", "--burst"],
        env={**os.environ, "PYTHONPATH": str(mine)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert "--callbacks: torn cannot be imported" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_metric_that_breaks_the_rule_is_not_tried_again() -> None:
    outcome = describe_failure(CustomMetricError("`Own.on_log` adds the metric 'a b'"), "")
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert outcome.error.reason == "TRAINER_ERROR"
