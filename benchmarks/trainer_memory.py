"""Peak memory of the trainer, against a bare loop of the same model, and what a save adds.

Each run is a process of its own, so that its peak resident size is its own. The model has 29
million parameters, enough for tensors to outweigh the interpreter. The memory that torch and the
imports take before training starts is measured too, and subtracted from all.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.harness import Claim, describe, interleave, medians, own_peak

STEPS = 6


def run(device: str) -> list[Claim]:
    """Compare peaks, in bytes."""
    rivals = {kind: partial(measure, kind, device) for kind in ("bare", "trainer", "saving")}
    figures = interleave(rivals, rounds=9)
    median = medians(figures)
    state = saved_state_mb(device)
    added = median["saving"] - median["trainer"]
    return [
        Claim("peak without saves / bare loop", median["trainer"] / median["bare"], 1.05, False,
              detail=describe(figures, "MiB")),
        Claim("a save adds, in copies of the saved state", added / state, 1.0, False,
              detail=f"{added:.0f} MiB for a state of {state:.0f} MiB"),
    ]  # fmt: skip


def measure(kind: str, device: str) -> float:
    """Return the peak of one process, MiB above what its imports took."""
    command = [sys.executable, "-m", "benchmarks.trainer_memory", kind, device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def saved_state_mb(device: str) -> float:
    """Return the size of a checkpoint of the same model: parameters and two moments."""
    return float(
        subprocess.run(
            [sys.executable, "-m", "benchmarks.trainer_memory", "state", device],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )


def train(kind: str, device: str) -> float:
    """Do one process's work; print its figure, MiB."""
    import torch

    from app.training import Trainer, TrainingConfig
    from app.transformer import GPTModel, TransformerConfig, fuse

    shape = TransformerConfig(
        vocab_size=8192, hidden_size=512, num_layers=8, num_heads=8, max_position_embeddings=64
    )
    if kind == "state":
        parameters = sum(p.numel() for p in GPTModel(shape).parameters())
        return parameters * 4 * 3 / 2**20
    windows = torch.randint(8192, (STEPS * 8, 65), generator=torch.Generator().manual_seed(0))
    # The first optimizer of a process imports a compiler; that is not training memory.
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True)
    before = peak_mb(device)
    if kind == "bare":
        model = fuse(GPTModel(shape)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        for step in range(STEPS):
            rows = windows[step * 8 : step * 8 + 8].to(device)
            loss = model(rows[:, :-1], rows[:, 1:])[1]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return peak_mb(device) - before
    peaks: list[float] = []

    class Watch:
        def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
            # Reading a GPU's peak resets it; a CPU has no such metric.
            peaks.append(metrics.get("gpu_memory_allocated_gb", 0.0) * 1024)

        def on_step_end(self, step: int, metrics: object) -> None:
            if step == STEPS:  # before the save at the end, which "trainer" is not about
                peaks.append(peak_mb(device))

    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            model_config=shape,
            batch_size=8,
            max_steps=STEPS,
            warmup_steps=1,
            save_steps=2 if kind == "saving" else 10**6,
            eval_steps=10**6,
            device=device,
            checkpoint_dir=str(Path(folder) / "run"),
        )
        trainer = Trainer(config, train_dataset=Rows(windows))
        trainer.callbacks.append(Watch())
        trainer.train()
        if kind == "saving":
            peaks.append(peak_mb(device))
    return max(peaks) - before


class Rows:
    """A dataset of ready windows."""

    draws_random_numbers = False

    def __init__(self, windows: object) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> object:
        return self.windows[index]  # type: ignore[index]


def peak_mb(device: str) -> float:
    """Return the peak so far, MiB: of the device's tensors, or of the process."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return own_peak() / 1024


if __name__ == "__main__":
    print(train(sys.argv[1], sys.argv[2]))
