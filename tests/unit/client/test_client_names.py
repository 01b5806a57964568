"""The public face of the SDK: its names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import version
from importlib.resources import files

import pytest

import training_engine

NAMES = """
ArtifactDamagedError AsyncJob AsyncTrainingEngine BulkResult Checkpoint Comparison Config
ConfigReport ConflictError Dataset DeadlineExceededError Evaluation EventKind Execution
FieldProblem InternalError InvalidArgumentError InvalidConfigError Job JobEvent JobRecord
JobStatus LogLine MemoryEstimate MetricPoint NotFoundError Page PayloadTooLargeError
PermissionDeniedError PromptToken RateLimitedError Rewind Series SeriesSet StateForbidsError
TextPiece Throughput TokenLogprob TrainingEngine TrainingEngineError UnauthenticatedError
UnavailableError Worker __version__
"""


def test_public_names_are_frozen_and_sorted() -> None:
    assert training_engine.__all__ == NAMES.split()
    assert training_engine.__all__ == sorted(training_engine.__all__)


@pytest.mark.parametrize("name", NAMES.split())
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(training_engine, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Trainer'"):
        _ = training_engine.Trainer


def test_the_package_says_that_it_is_typed() -> None:
    assert files("training_engine").joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_distribution() -> None:
    assert training_engine.__version__ == version("training-engine")


def _loaded(code: str) -> tuple[set[str], float]:
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split()), time.monotonic() - begin


def test_importing_the_sdk_is_quick_and_loads_no_transport() -> None:
    modules, _ = _loaded("from training_engine import TrainingEngine, AsyncTrainingEngine, Job")
    assert modules.isdisjoint({"torch", "redis", "rq", "grpc", "httpx", "typer", "yaml", "numpy"})


def test_importing_takes_less_than_the_promised_time() -> None:
    code = (
        "import time; begin = time.process_time()\n"
        "from training_engine import TrainingEngine, AsyncTrainingEngine\n"
        "print(time.process_time() - begin)"  # other processes do not count
    )
    times = [
        float(
            subprocess.run(
                [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(times) < 0.3


def test_the_command_line_starts_without_torch_redis_or_grpc() -> None:
    modules, _ = _loaded("import training_engine.cli.app")
    assert modules.isdisjoint({"torch", "redis", "rq", "grpc", "httpx"})
