"""Memory of an export: of a checkpoint with 1.5 billion parameters, in float32.

make bench ARGS=export_memory                                 takes 6.3 GB of disk, and minutes
make bench ARGS=export_memory BENCHMARK_EXPORT_LAYERS=2       a quick try

The checkpoint is a file of zeros with holes, which takes no room; what a reader maps of it counts
as memory like any other file. The process that exports has exported a small one before, and what
it held then is subtracted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO

from benchmarks.harness import Claim

LAYERS = int(os.environ.get("BENCHMARK_EXPORT_LAYERS", "48"))
_SHAPE = {"hidden_size": 1600, "num_heads": 25}
"""Of GPT-2 XL; its other fields are the defaults."""
_SMALL = {"hidden_size": 24, "num_heads": 2, "num_layers": 1, "vocab_size": 64}
_LOOK_SECONDS = 0.002


def run(device: str) -> list[Claim]:
    """Export, and compare the peak with the weights and one tensor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        save(path / "small.pt", _SMALL)
        weights, largest = save(path / "large.pt", {**_SHAPE, "num_layers": LAYERS})
        command = [sys.executable, "-m", "benchmarks.export_memory", folder]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        written = sum(file.stat().st_size for file in (path / "out").glob("*.safetensors"))
    assert written >= weights
    peak, own = map(int, said)
    sizes = f"weights {weights / 1e9:.2f} GB, largest tensor {largest / 1e9:.2f} GB"
    detail = f"peak {peak / 1e9:.2f} GB, of which not mapped {own / 1e9:.2f} GB; {sizes}"
    return [
        Claim(f"memory of an export of {weights / 4e9:.2f} billion parameters / the weights and "
              "one tensor", peak / (weights + largest), 1.0, False, detail=detail),
        Claim("memory of it that is not the mapped file / one tensor", own / largest, 1.0, False),
    ]  # fmt: skip


class SparseFile:
    """A file in which what is zero is a hole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes | memoryview) -> int:
        """Write, or pass over zeros."""
        import numpy as np

        size = memoryview(data).nbytes
        if np.frombuffer(data, np.uint8).any():
            self._file.write(data)
        else:
            self._file.seek(size, os.SEEK_CUR)
        return size

    def flush(self) -> None:
        self._file.truncate(self._file.tell())


def save(path: Path, shape: dict[str, int]) -> tuple[int, int]:
    """Write a checkpoint of zeros; return the bytes of its weights, and of the largest tensor."""
    import torch

    from app.training.config import TrainingConfig
    from app.transformer import GPTModel, TransformerConfig

    config = TrainingConfig(model_config=TransformerConfig.from_dict(shape))
    with torch.device("meta"):
        empty = GPTModel(config.model_config).state_dict()
    # Zeros that are only read take no memory.
    weights = {name: torch.zeros(tensor.shape) for name, tensor in empty.items()}
    state = {
        "model_state_dict": weights, "optimizer_state_dict": {}, "scheduler_state_dict": {},
        "step": 1, "loss": 1.0, "config": config.to_dict(), "timestamp": time.time(),
    }  # fmt: skip
    with path.open("wb") as file:
        sparse = SparseFile(file)
        torch.save(state, sparse)  # type: ignore[arg-type]
        sparse.flush()
    sizes = [tensor.nbytes for tensor in weights.values()]
    return sum(sizes), max(sizes)


def export(folder: Path) -> tuple[int, int]:
    """Export twice; return what the second took: the peak of all, and of what is not mapped."""
    from app.training.export import export_checkpoint

    export_checkpoint(folder / "small.pt", folder / "first")
    before = _memory()
    peak, ended = list(before), threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            peak[:] = map(max, peak, _memory())

    watching = threading.Thread(target=look)
    watching.start()
    export_checkpoint(folder / "large.pt", folder / "out")
    ended.set()
    watching.join()
    return peak[0] - before[0], peak[1] - before[1]


def _memory() -> tuple[int, int]:
    """Return what the process holds, in bytes: all, and what belongs to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return tuple(1024 * int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


if __name__ == "__main__":
    print(*export(Path(sys.argv[1])))
