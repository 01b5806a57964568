"""A scripted service and the engines that talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scripted_service import ScriptedService

from training_engine import TrainingEngine


@pytest.fixture(autouse=True)
def _no_ambient_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep whatever the machine's environment names out of the tests."""
    for name in ("ADDRESS", "URL", "TOKEN"):
        monkeypatch.delenv(f"TRAINING_ENGINE_{name}", raising=False)


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    scripted = ScriptedService()
    yield scripted
    scripted.stop()


@pytest.fixture
def engine(service: ScriptedService) -> Iterator[TrainingEngine]:
    with TrainingEngine(service.address, retry_for=5, reconnect_for=10) as made:
        yield made
