"""How soon given weights can be trained: `from_pretrained` of ours against Hugging Face's.

A Llama of 156 million parameters in shards, loaded into float32. Each side loads, and then makes
the first step of a training: a pass of a few tokens, its gradients, and AdamW. The files are in the
page cache.

`transformers` leaves float32 weights in the mapped file, from which the first step copies them page
by page. Ours copies them at once: a run must not change with the files that it began with, and its
layers hold query, key and value as one matrix, which the files have apart. So loading alone takes
several times as long; the figures of that are beside.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, describe, interleave, medians

ROUNDS = 5


def run(device: str) -> list[Claim]:
    """Compare loading from float32 and from bfloat16, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        return [_compare(folder, dtype) for dtype in ("float32", "bfloat16")]


def _compare(folder: str, dtype: str) -> Claim:
    import torch
    from transformers import AutoModelForCausalLM

    from app.transformer.huggingface import from_pretrained

    auto: Any = AutoModelForCausalLM
    path = Path(folder) / dtype
    auto.from_config(_shape()).to(getattr(torch, dtype)).save_pretrained(
        path, max_shard_size="400MB"
    )
    loads: dict[str, list[float]] = {"ours": [], "theirs": []}

    def timed(side: str, load: Callable[[], Any]) -> Callable[[], float]:
        def once() -> float:
            started = time.perf_counter()
            model = load()
            loads[side].append(time.perf_counter() - started)
            _first_step(model)
            return time.perf_counter() - started

        return once

    figures = interleave(
        {
            "ours": timed("ours", lambda: from_pretrained(path)),
            "theirs": timed("theirs", lambda: auto.from_pretrained(path, dtype=torch.float32)),
        },
        ROUNDS,
    )
    median = medians(figures)
    name = f"import of {dtype} weights and a first step / the same with transformers"
    detail = f"{describe(figures, 's')}; loading alone: {describe(loads, 's')}"
    return Claim(name, median["ours"] / median["theirs"], 1.2, False, detail=detail)


def _shape() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=8,
        num_attention_heads=16, num_key_value_heads=4, max_position_embeddings=2048,
    )  # fmt: skip


def _first_step(model: Any) -> None:
    import torch

    tokens = torch.arange(8)[None]
    found = model(tokens, labels=tokens)
    (found.loss if hasattr(found, "loss") else found[1]).backward()
    torch.optim.AdamW(model.parameters(), fused=True).step()
