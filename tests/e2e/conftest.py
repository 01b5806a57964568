"""One stack for all end-to-end tests that do not break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browser import chromium
from dashboard import start
from free_ports import free_port
from playwright.sync_api import Browser
from running_stack import RunningStack, running_stack

TEXT = "".join(
    f"{n} bottles of beer on the wall, {n} bottles of beer; take one down, pass it around.\n"
    for n in range(400, 0, -1)
)


TINY_CONFIG: dict[str, object] = {
    "model_config": {
        "vocab_size": 256,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "max_position_embeddings": 32,
    },
    "batch_size": 4,
    "learning_rate": 0.01,
    "warmup_steps": 2,
    "max_steps": 60,
    "logging_steps": 1,
    "eval_steps": 20,
    "save_steps": 20,
    "max_checkpoints_to_keep": 2,
}
SHORT_RUN = {"max_steps": 4, "save_steps": 2, "eval_steps": 4}

OWN_METRICS = """
class Own:
    def __init__(self, trainer):
        self.trainer = trainer

    def on_log(self, step, metrics):
        squares = sum(p.detach().square().sum() for p in self.trainer.model.parameters())
        return {"weights/norm": squares**0.5, "wild": float("nan")}
"""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A running stack; its working folder is an allowed root. Its worker adds metrics of its own:
    `weights/norm`, and `wild`, which is not a number. Its webhooks find nobody."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "own_metrics.py").write_text(OWN_METRICS)
    environment = {"PYTHONPATH": str(folder), "TRAINING_ENGINE_CALLBACKS": "own_metrics:Own"}
    environment["TRAINING_ENGINE_WEBHOOK_URL"] = f"http://127.0.0.1:{free_port()}/"
    environment["TRAINING_ENGINE_WEBHOOK_SECRETS"] = f"whsec_{'A' * 43}="
    with running_stack(folder / "data", environment=environment) as running:
        yield running


@pytest.fixture(scope="session")
def text_file(stack: RunningStack) -> Path:
    """Real, if monotonous, text under the stack's allowed root."""
    path = stack.data_dir.parent / "bottles.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def tiny_config() -> dict[str, object]:
    """A model that trains a step in a few milliseconds."""
    return dict(TINY_CONFIG)


@pytest.fixture
def short_config() -> dict[str, object]:
    """Four steps, the last two of their checkpoints kept."""
    return TINY_CONFIG | SHORT_RUN


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for longer: while it is there, no other test of this process can run an event loop."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    with client_of(stack) as client:
        yield client


@pytest.fixture
def nothing_trains_on(api: httpx.Client) -> Iterator[None]:
    """A job that a failed test leaves behind takes nothing from the next one."""
    yield
    for job in api.get("/jobs").json()["jobs"]:
        if job["status"] in ("queued", "running"):
            api.post(f"/jobs/{job['job_id']}/stop")


@pytest.fixture(scope="session")
def finished(stack: RunningStack, text_file: Path) -> str:
    """The id of a job that has ended and is only looked at."""
    with client_of(stack) as client:
        return start(client, text_file, TINY_CONFIG | SHORT_RUN, status="succeeded", name="studied")


def client_of(stack: RunningStack) -> httpx.Client:
    """A client of the stack's REST API."""
    return httpx.Client(base_url=f"{stack.url}/api/training", timeout=30)
