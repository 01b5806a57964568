"""How soon given weights can be trained: `from_pretrained` of ours against Hugging Face's.

A Llama of 156 million parameters in shards, loaded into float32. Both sides end with a pass of a
few tokens and one change of every weight, as a first step makes: `transformers` leaves float32
weights in the mapped file, which are copied when they are first written. The files are in the page
cache.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, describe, interleave, medians


def run(device: str) -> list[Claim]:
    """Compare loading from float32 and from bfloat16, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        return [_compare(Path(folder), dtype) for dtype in ("float32", "bfloat16")]


def _compare(folder: Path, dtype: str) -> Claim:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from app.transformer.huggingface import from_pretrained

    shape: Any = LlamaConfig(
        vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=8,
        num_attention_heads=16, num_key_value_heads=4, max_position_embeddings=2048,
    )  # fmt: skip
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(shape)
    path = folder / dtype
    model.to(getattr(torch, dtype)).save_pretrained(path, max_shard_size="400MB")
    tokens = torch.arange(8)[None]

    def timed(load: Callable[[], Any]) -> Callable[[], float]:
        def once() -> float:
            started = time.perf_counter()
            with torch.no_grad():
                model = load()
                model(tokens)
                torch._foreach_mul_(list(model.parameters()), 0.5)
            return time.perf_counter() - started

        return once

    figures = interleave(
        {
            "ours": timed(lambda: from_pretrained(path)),
            "theirs": timed(lambda: auto.from_pretrained(path, dtype=torch.float32)),
        }
    )
    median = medians(figures)
    name = f"import of {dtype} weights and a first change / the same with transformers"
    ratio = median["ours"] / median["theirs"]
    return Claim(name, ratio, 1.2, False, detail=describe(figures, "s"))
