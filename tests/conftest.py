"""Fixtures for all tests: a real Redis server and an empty database of it for each test.

What the tests are made of:

- `unit`: one folder a package; real Redis, real processes where a process is what is tested.
- `integration`, `e2e`: the library as its quick reference shows it; the whole stack, documents
  included.
- `golden`: the first losses of the examples, bit by bit, on processors that have a file of them.
- `model`: all states that the scripts of the job store can reach, and whether the checks can fail.
- `chaos`: kills any process at any moment and compares with an undisturbed run; `chaos/rounds.py`
  draws faults and jobs from a seed and checks the history of all calls.
- `redis_server`, `sentinels`, `redis_trouble`: a real server, several behind sentinels, and the
  states in which one refuses.
- `bucket_server`: a real S3 service, behind a network that fails where a test asks for it.
- `kubernetes_api`: an API server for JobSets, and processes for their pods.
- `running_stack`, `free_ports`, `prefix_proxy`, `browser`, `small_disk`: a whole stack, its ports,
  a proxy, a browser, a full disk.
- `readers`: other projects' software reads what we export; outside CI, `make check-readers`.
- `paced`: steps that last, so that there is time to disturb a run.
- `docs_blocks`: runs the examples of the documents.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from redis_server import RedisServer

_databases = itertools.count(1)

# Thousands of processes are started: each would compile all our modules again, up to a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from the token cache of the person who tests, and nothing is left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINING_ENGINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the session; tests that kill a server start a RedisServer of their own."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty database that no other test uses."""
    return redis_server.url(next(_databases))
