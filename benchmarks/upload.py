"""What checkpoints in a bucket cost: the steps beside an upload, and the upload itself.

The bucket is moto's server in a process of its own, over loopback. It is written in Python, so both
sides of the second comparison are slower than with a real service, by the same amount.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, describe, interleave, medians

FILE_MEGABYTES = 500
"""Size of the checkpoint that both upload."""
SAVE_STEPS = 1000
"""Steps between two checkpoints: the default of `save_steps`."""
ROUNDS = 5
_BUCKET = "benchmark"
_PREFIX = "jobs/j/attempts/1-c"
_CHECKPOINT = f"{_PREFIX}/checkpoint_step_1.pt"


def run(device: str) -> list[Claim]:
    """Compare both; `device` is that of the steps."""
    with tempfile.TemporaryDirectory() as folder, bucket(Path(folder) / "server.log"):
        return [beside_an_upload(Path(folder), device), against_bare_upload(Path(folder))]


def beside_an_upload(folder: Path, device: str) -> Claim:
    """Measure steps while the worker's thread sends their checkpoint, in turn with steps alone.

    An upload lasts for some steps. What it adds to them is spread over those between two saves.
    """
    step = training_step(folder, device)
    sender = Sender(folder)
    uploads: list[float] = []

    def alone() -> float:
        return _median_of([step() for _ in range(10)])

    def beside() -> float:
        done, began = sender.send(), time.perf_counter()
        figures = [step()]
        while not done.is_set():
            figures.append(step())
        uploads.append(time.perf_counter() - began)
        return sum(figures) / len(figures)

    beside()  # connects
    uploads.clear()
    figures = interleave({"alone": alone, "beside": beside}, ROUNDS)
    median, upload = medians(figures), _median_of(uploads)
    lost = upload * max(0.0, 1 - median["alone"] / median["beside"])
    detail = (
        f"step {describe(figures, 's')}; an upload of {sender.size_bytes / 1e6:.0f} MB lasts "
        f"{upload:.2f} s and costs {lost:.2f} s of the {SAVE_STEPS} steps between two saves"
    )
    share = 100 * lost / (SAVE_STEPS * median["alone"])
    return Claim("time that uploading adds to a step", share, 1.0, False, "%", detail)


def against_bare_upload(folder: Path) -> Claim:
    """Compare with `upload_file` of boto3, which sends parts of 8 MB on ten threads."""
    from artifact_store.object_store import S3Store

    scratch = folder / "scratch"
    store = S3Store(_BUCKET, "p", scratch)
    path = scratch / _CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        for _ in range(FILE_MEGABYTES):
            file.write(os.urandom(1 << 20))

    def bare() -> None:
        store.client.upload_file(str(path), _BUCKET, f"p/{_CHECKPOINT}")

    def rate(upload: Callable[[], None]) -> float:
        began = time.perf_counter()
        upload()
        seconds = time.perf_counter() - began
        assert store.stat(_CHECKPOINT).size_bytes == path.stat().st_size
        store.delete(_CHECKPOINT)
        return FILE_MEGABYTES / seconds

    figures = interleave(
        {"ours": lambda: rate(lambda: store.send(_CHECKPOINT)), "boto3": lambda: rate(bare)}, ROUNDS
    )
    median = medians(figures)
    return Claim(
        f"upload of {FILE_MEGABYTES} MiB / bare multipart upload of the same file",
        median["ours"] / median["boto3"], 0.8, True, detail=describe(figures, "MiB/s"),
    )  # fmt: skip


class Sender:
    """Sends one checkpoint, as a worker does after a save."""

    def __init__(self, folder: Path) -> None:
        from artifact_store import GuardedStore
        from artifact_store.object_store import S3Store
        from training_worker.sending import CheckpointSender

        self._saved = folder / "saved"
        self._written = folder / "sent" / _PREFIX
        self._written.mkdir(parents=True)
        store = GuardedStore(S3Store(_BUCKET, "p", folder / "sent"))
        store.expected = store.make_identity("store_1")
        self._done = threading.Event()
        self._sender = CheckpointSender(store, _PREFIX, self._done.set)
        self.size_bytes = (self._saved / "checkpoint_step_1.pt").stat().st_size

    def send(self) -> threading.Event:
        """Begin to send it; the event is set once that is done."""
        for file in ("config.yaml", "checkpoint_step_1.pt", "checkpoint_step_1.json"):
            if not (self._written / file).exists():  # the checkpoint is removed when it is sent
                os.link(self._saved / file, self._written / file)
        self._done.clear()
        self._sender.send(_CHECKPOINT, 0)
        return self._done


def training_step(folder: Path, device: str) -> Callable[[], float]:
    """Return a function that trains one step of a model whose checkpoint is in `folder`/saved."""
    import torch

    from app.training import get_scheduler
    from app.training.checkpoint import CheckpointManager
    from app.training.config import TrainingConfig
    from app.transformer import GPTModel, TransformerConfig

    torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # the server needs a core
    model_config = TransformerConfig(vocab_size=8192, hidden_size=384, num_layers=6, num_heads=6)
    model = GPTModel(model_config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(8192, (2, 129), device=device)

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = model(tokens[:, :-1], labels=tokens[:, 1:])[1]
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        return time.perf_counter() - began

    step()
    scheduler = get_scheduler("constant", optimizer, warmup_steps=1)
    manager = CheckpointManager(folder / "saved", max_checkpoints=1)
    config = TrainingConfig(model_config=model_config)
    manager.save_checkpoint(model, optimizer, scheduler, 1, 1.0, config)
    (folder / "saved" / "config.yaml").touch()
    return step


@contextmanager
def bucket(log: Path) -> Iterator[None]:
    """Serve an empty bucket, which the environment names meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    before = dict(os.environ)
    os.environ.update(own)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _make_bucket()
        yield
    finally:
        server.kill()
        server.wait()
        os.environ.clear()
        os.environ.update(before)


def _make_bucket() -> None:
    from botocore.exceptions import EndpointConnectionError

    from artifact_store.object_store import S3Store

    client: Any = S3Store(_BUCKET).client
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket=_BUCKET)
            return
        except EndpointConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _median_of(figures: list[float]) -> float:
    return sorted(figures)[len(figures) // 2]
