"""Loading a checkpoint for text, by the library and by a worker, against `torch.load` of the file.

A checkpoint of 68 million parameters with AdamW's two moments, 0.8 GB. Each load is in a process of
its own, so that no memory is used again; it has loaded a small one, since the first load imports.
The figures are CPU time, with the file in the page cache. The weights are verified by both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.harness import Claim, describe, interleave, medians

_KEY, _SMALL = (f"jobs/job_1/attempts/{name}/checkpoint_step_1.pt" for name in ("1-a", "2-b"))
_OURS = ("library", "worker")


def run(device: str) -> list[Claim]:
    """Compare CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / _KEY, {"num_layers": 4})
        save(Path(folder) / _SMALL, {"num_layers": 1, "hidden_size": 24, "vocab_size": 9})
        figures = interleave({each: partial(measure, each, folder) for each in (*_OURS, "torch")})
    median, detail = medians(figures), describe(figures, "CPU s")
    return [
        Claim(
            f"load for text by the {each} / torch.load of the file",
            median[each] / median["torch"], 0.5, False, detail=detail,
        )
        for each in _OURS
    ]  # fmt: skip


def save(path: Path, shape: dict[str, int]) -> None:
    """Write a checkpoint of a model."""
    import torch

    from app.training.checkpoint_file import write_checkpoint
    from app.training.config import TrainingConfig
    from app.transformer import GPTModel, TransformerConfig

    config = TrainingConfig(model_config=TransformerConfig.from_dict(shape))
    model = GPTModel(config.model_config)
    moments = {
        number: {"exp_avg": torch.zeros_like(each), "exp_avg_sq": torch.zeros_like(each)}
        for number, each in enumerate(model.parameters())
    }
    state = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": {"state": moments},
        "scheduler_state_dict": {},
        "step": 1,
        "loss": 1.0,
        "config": config.to_dict(),
        "timestamp": time.time(),
    }
    write_checkpoint(path, state)


def measure(kind: str, folder: str) -> float:
    """Return the CPU seconds of one load."""
    command = [sys.executable, "-m", "benchmarks.checkpoint_loading", kind, folder]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def load(kind: str, folder: Path) -> float:
    """Load once; return the CPU seconds."""
    loads = {"library": _by_library, "worker": _by_worker(folder), "torch": _by_torch}[kind]
    loads(folder / _SMALL)
    started = time.process_time()
    loads(folder / _KEY)
    return time.process_time() - started


def _by_library(path: Path) -> None:
    from app.training.inference import load_for_generation

    load_for_generation(path)


def _by_worker(folder: Path) -> Callable[[Path], None]:
    from app.training.checkpoint_file import read_manifest
    from artifact_store import open_store
    from job_store.generation import GenerationRequest
    from training_worker.models import ModelCache

    models = ModelCache(open_store(folder))

    def loads(path: Path) -> None:
        info, key = read_manifest(path), path.relative_to(folder).as_posix()
        models.get(GenerationRequest(key, info.size_bytes, info.sha256, key, ""))

    return loads


def _by_torch(path: Path) -> None:
    import torch

    torch.load(path, weights_only=True)


if __name__ == "__main__":
    print(load(sys.argv[1], Path(sys.argv[2])))
