"""The slim distribution: built from `client/`, in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training_engine import __version__

CLIENT = Path(__file__).parents[3] / "client"
PROGRAM = """
import importlib.util, sys
from training_engine import AsyncTrainingEngine, TrainingEngine, UnavailableError
for engine in (TrainingEngine("127.0.0.1:1", retry_for=0),
               TrainingEngine.over_rest("http://127.0.0.1:1", retry_for=0)):
    with engine:
        try:
            engine.jobs.get("j1")
        except UnavailableError as error:
            print(error)
print([name for name in ("torch", "redis", "fastapi", "app") if importlib.util.find_spec(name)])
"""


@pytest.mark.slow
@pytest.mark.long
def test_the_slim_wheel_works_in_an_environment_of_its_own(tmp_path: Path) -> None:
    source = shutil.copytree(
        CLIENT, tmp_path / "client", ignore=shutil.ignore_patterns("__pycache__")
    )
    environment = tmp_path / "environment"

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", source)
    assert run(environment / "bin" / "training-engine", "--version") == (
        f"training-engine {__version__}\n"
    )
    assert run(environment / "bin" / "python", "-c", PROGRAM).splitlines() == [
        "no control plane at 127.0.0.1:1; start one with `training-engine up`",
        "no gateway at http://127.0.0.1:1; start one with `training-engine up`",
        "[]",
    ]
