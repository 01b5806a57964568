"""Random number generators as state: captured, restored, and kept apart.

Everything that draws numbers in a run (dropout in the model, `__getitem__` of a user's dataset)
must draw the same ones after a resume. The model's come from the global generators, which are
saved; a sample's come from a seed of its own, and leave the global generators as they were.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from app.training.sampler import seed_for

_KEYS = {"python", "numpy", "torch", "cuda"}


def capture() -> dict[str, Any]:
    """Return the state of every global generator, as values that load with `weights_only=True`."""
    name, keys, *rest = np.random.get_state(legacy=True)
    on_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if on_cuda else [],
    }


def restore(state: Mapping[str, Any]) -> None:
    """Set every global generator to a captured state. Refuses keys it does not know."""
    if set(state) != _KEYS:
        raise ValueError(f"the generator state has keys {sorted(state)}; expected {sorted(_KEYS)}")
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def of_rank(checkpoint: Mapping[str, Any], rank: int) -> Mapping[str, Any] | None:
    """Return the generators of one process as a checkpoint holds them.

    None if it had fewer processes.
    """
    states = [checkpoint["rng_state"], *checkpoint.get("rng_states_of_others", ())]
    return states[rank] if rank < len(states) else None


def seed_everything(seed: int) -> None:
    """Seed python, numpy, torch and CUDA."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextlib.contextmanager
def isolated(seed: int | None = None) -> Iterator[None]:
    """Return what is drawn inside leaves no trace outside; with `seed` it is always the same."""
    before = capture()
    try:
        if seed is not None:
            seed_everything(seed)
        yield
    finally:
        restore(before)


def seed_sample(seed: int, epoch: int, index: int) -> None:
    """Seed the CPU generators for one sample, the same in every process and at any time."""
    mixed = seed_for("sample", seed, epoch, index)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    # Not torch.manual_seed: it would seed the GPU's generator too, which belongs to dropout.
    torch.default_generator.manual_seed(mixed)


@contextlib.contextmanager
def cpu_isolated() -> Iterator[None]:
    """Like `isolated` for the generators that `seed_sample` seeds; costs about 20 µs."""
    python, numpy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(own)
