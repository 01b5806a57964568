"""The fixture that most worker tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from training_site import Site


@pytest.fixture
def site(redis_url: str, tmp_path: Path) -> Iterator[Site]:
    """An empty site; its processes end with the test."""
    place = Site(redis_url, tmp_path)
    yield place
    place.close()
