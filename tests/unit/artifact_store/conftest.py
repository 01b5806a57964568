"""A bucket that the tests of a session share; each test has a prefix of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bucket_server import BucketServer


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[BucketServer]:
    server = BucketServer().start()
    yield server
    server.stop()


@pytest.fixture
def bucket(bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> BucketServer:
    """The server, with its address and credentials in the environment."""
    for name, value in bucket_server.environment.items():
        monkeypatch.setenv(name, value)
    return bucket_server
