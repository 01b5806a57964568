"""The fixture that most worker tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer
from training_site import Site

_DATABASE = 901


@pytest.fixture(scope="module")
def site(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all tests of a module: a worker takes seconds to start, a job does not."""
    place = Site(redis_server.url(_DATABASE), tmp_path_factory.mktemp("site"))
    place.forget_everything()  # of another module, whose folder was another one
    yield place
    place.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill, freeze and set back."""
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.stop()
