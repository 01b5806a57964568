"""A service whose Redis can be lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lost_service import LostService


@pytest.fixture
async def service(redis_url: str, tmp_path: Path) -> AsyncIterator[LostService]:
    """Empty, with its artifact store recognised."""
    service = LostService(redis_url, tmp_path / "artifacts")
    yield service
    await service.close()
