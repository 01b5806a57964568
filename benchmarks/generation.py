"""Tokens a second of greedy generation, against Hugging Face's `generate` and a bare loop.

A GPT-2 of 4 layers, 4 heads and width 128 continues 16 tokens by 256, one row, in full precision.
Hugging Face's model has the exported weights and its quicker cache; its tokens must be the same.
The bare loop makes the same operations for each token with nothing around them: what is left is
PyTorch's own time.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.transformer import GPTModel, TransformerConfig
from app.transformer.huggingface import export_model
from benchmarks.harness import Claim, describe, interleave, medians

LAYERS, HEADS, WIDTH, CONTEXT, VOCAB = 4, 4, 128, 288, 65
PROMPT, NEW_TOKENS, ROUNDS = 16, 256, 7
MODEL = TransformerConfig(
    vocab_size=VOCAB, hidden_size=WIDTH, num_layers=LAYERS, num_heads=HEADS,
    max_position_embeddings=CONTEXT, initializer_range=0.2,
)  # fmt: skip


def run(device: str) -> list[Claim]:
    """Let all continue the same prompt in turn."""
    torch.manual_seed(1)
    model = GPTModel(MODEL).to(device).eval()
    prompt = torch.randint(0, VOCAB, (1, PROMPT), device=device)
    expected = model.generate(prompt, NEW_TOKENS, temperature=0)
    rivals: dict[str, Callable[[], Tensor]] = {
        "generate": lambda: model.generate(prompt, NEW_TOKENS, temperature=0),
        "bare loop": lambda: bare_loop(model, prompt),
    }
    for cache in ("dynamic", "static"):
        rivals[f"Hugging Face, {cache} cache"] = hugging_face(model, prompt, cache)
    for name, continued in rivals.items():
        assert torch.equal(continued(), expected), f"{name} has other tokens"
    figures = interleave({name: partial(rate, rival) for name, rival in rivals.items()}, ROUNDS)
    median = medians(figures)
    theirs = max(value for name, value in median.items() if name.startswith("Hugging"))
    detail = describe(figures, "tokens/s")
    return [
        Claim("generate / Hugging Face's", median["generate"] / theirs, 4.0, True, detail=detail),
        Claim("generate / bare loop", median["generate"] / median["bare loop"], 0.7, True),
    ]


def rate(continued: Callable[[], Tensor]) -> float:
    """Return the new tokens a second of one run."""
    started = time.perf_counter()
    continued()
    return NEW_TOKENS / (time.perf_counter() - started)


def hugging_face(model: GPTModel, prompt: Tensor, cache: str) -> Callable[[], Tensor]:
    """Return Hugging Face's generation with the weights of `model`."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        export_model(model.cpu(), folder)
        theirs: Any = AutoModelForCausalLM.from_pretrained(folder)
    theirs.to(prompt.device).eval()
    model.to(prompt.device)
    options = {} if cache == "dynamic" else {"cache_implementation": "static"}

    def continued() -> Tensor:
        result: Tensor = theirs.generate(
            prompt, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0,
            attention_mask=torch.ones_like(prompt), **options,
        )  # fmt: skip
        return result

    return continued


@torch.no_grad()
def bare_loop(model: GPTModel, prompt: Tensor) -> Tensor:
    """Continue a row by the operations that GPT-2 needs, written out."""
    weights = dict(model.named_parameters())
    size = WIDTH // HEADS
    keys = prompt.new_empty(LAYERS, HEADS, CONTEXT, size, dtype=torch.float32)
    values = torch.empty_like(keys)
    result = [int(token) for token in prompt[0]]
    for place in range(PROMPT + NEW_TOKENS - 1):
        x = weights["token_embedding.weight"][result[place]]
        x = x + weights["position_embedding.weight"][place]
        for layer in range(LAYERS):
            block = f"blocks.{layer}"
            heads = product(weights, f"{block}.attention.qkv", norm(weights, x, block, "attention"))
            query, key, value = heads.view(3, HEADS, 1, size)
            keys[layer, :, place], values[layer, :, place] = key[:, 0], value[:, 0]
            scores = query @ keys[layer, :, : place + 1].mT / math.sqrt(size)
            attended = scores.softmax(-1) @ values[layer, :, : place + 1]
            x = x + product(weights, f"{block}.attention.output", attended.flatten())
            wide = product(weights, f"{block}.mlp.up", norm(weights, x, block, "mlp"))
            x = x + product(weights, f"{block}.mlp.output", F.gelu(wide, approximate="tanh"))
        if place + 1 == len(result):
            x = F.layer_norm(
                x, (WIDTH,), weights["final_norm.weight"], weights["final_norm.bias"], 1e-5
            )
            result.append(int((weights["token_embedding.weight"] @ x).argmax()))
    return torch.tensor([result], device=prompt.device)


def norm(weights: Mapping[str, Tensor], x: Tensor, block: str, name: str) -> Tensor:
    """Return the layer norm before a block's attention or MLP."""
    layer = f"{block}.{name}_norm"
    return F.layer_norm(x, (WIDTH,), weights[f"{layer}.weight"], weights[f"{layer}.bias"], 1e-5)


def product(weights: Mapping[str, Tensor], layer: str, x: Tensor) -> Tensor:
    """Return what a linear layer makes of one vector."""
    return torch.addmv(weights[f"{layer}.bias"], weights[f"{layer}.weight"], x)
