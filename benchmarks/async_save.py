"""How long a save holds up training: the asynchronous form against the synchronous one.

GPT-2 small, 124 million parameters, with AdamW's two moments: 1.5 GB of state. The stall is the
time between the request for a save and the moment at which the loop may go on.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Claim, describe, interleave, medians


def run(device: str) -> list[Claim]:
    """Compare the two forms, in seconds."""
    import torch

    from app.training import get_scheduler
    from app.training.async_save import AsyncSaver
    from app.training.checkpoint import CheckpointManager, build_state
    from app.training.config import TrainingConfig
    from app.transformer import GPTModel, TransformerConfig

    model = GPTModel(TransformerConfig()).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    scheduler = get_scheduler("constant", optimizer, warmup_steps=1)
    with tempfile.TemporaryDirectory() as folder:
        manager = CheckpointManager(Path(folder), max_checkpoints=2)
        saver = AsyncSaver(manager)
        config = TrainingConfig()
        steps = itertools.count(1)

        def synchronous() -> float:
            started = time.perf_counter()
            manager.save_checkpoint(model, optimizer, scheduler, next(steps), 1.0, config)
            return time.perf_counter() - started

        def asynchronous() -> float:
            started = time.perf_counter()
            state = build_state(model, optimizer, scheduler, next(steps), 1.0, config)
            saver.submit(state, None)
            stall = time.perf_counter() - started
            saver.wait()
            return stall

        first = asynchronous()  # allocates the copy that later saves use again
        figures = interleave({"sync": synchronous, "async": asynchronous})
    median = medians(figures)
    detail = f"{describe(figures, 's')}; the first of a run, which allocates: {first:.2f} s"
    return [
        Claim("stall of an asynchronous save / synchronous save", median["async"] / median["sync"],
              0.15, False, detail=detail)
    ]  # fmt: skip
