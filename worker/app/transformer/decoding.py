"""One more token through a model that has seen those before.

It computes what `GPTModel.hidden_states` computes with caches, for a single position. There the
time goes into calling layers rather than into their arithmetic, so it is written out here; a
single row is multiplied as a vector.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.transformer.attention import CausalSelfAttention, LayerCache
from app.transformer.layers import MLP, RMSNorm, activate
from app.transformer.lora import LoraLinear
from app.transformer.positions import rotate

if TYPE_CHECKING:
    from app.transformer.model import Block, GPTModel

_PREFILL_TOKENS = 512
"""A long prompt goes through the model in pieces, so that its attention weights stay small."""


class Decoder:
    """Continues rows of tokens, with the keys and values of all positions so far.

    Args:
        model: used as in evaluation, whatever its mode, which stays.
        tokens: where to begin, int64 [batch, time], time ≤ `max_position_embeddings`.
    """

    def __init__(self, model: GPTModel, tokens: Tensor) -> None:
        self._model = model
        capacity = model.config.max_position_embeddings
        self._caches = [LayerCache(capacity) for _ in model.blocks]
        self._ngrams = model.ngram_embedding
        self._recent = tokens[:, max(tokens.shape[1] - model.config.ngram_size + 1, 0) :]
        self.logits = self._prefill(tokens)
        """Of the token after the last one, [batch, vocab]."""

    @property
    def length(self) -> int:
        """Positions that are seen."""
        return self._caches[0].length

    @torch.no_grad()
    def _prefill(self, tokens: Tensor) -> Tensor:
        model, was_training = self._model, self._model.training
        model.eval()
        try:
            for piece in torch.split(tokens, _PREFILL_TOKENS, 1):
                before = tokens[:, : self.length]
                hidden = model.hidden_states(piece, self._caches, before=before)
            return model.project(hidden[:, -1])
        finally:
            model.train(was_training)

    @torch.no_grad()
    def append(self, token: Tensor) -> None:
        """Take the next token of each row, int64 [batch]; there must be room for it."""
        model, place = self._model, self.length
        x: Tensor = model.token_embedding(token)
        if self._ngrams is not None:
            places = torch.full((1,), place, device=token.device)
            x = x + self._ngrams(token[:, None], places, self._recent)[:, 0]
            self._recent = torch.cat((self._recent, token[:, None]), 1)[:, 1 - self._ngrams.size :]
        if model.config.position_encoding_type == "learned":
            x = x + model.position_embedding.weight[place]
        elif model.config.position_encoding_type == "sinusoidal":
            x = x + model.get_buffer("sinusoids")[place].to(x.dtype)
        rotary = None
        if model.config.position_encoding_type == "rotary":
            rotary = model.get_buffer("rotary")[:, place, None]
        embedding = x
        for each, cache in zip(model.blocks, self._caches, strict=True):
            block = cast("Block", each)
            x = _through_block(block, block.mixed(x, embedding), rotary, cache)
        head = model.token_embedding if model.lm_head is None else model.lm_head
        self.logits = _product(_normed(model.final_norm, x), head.weight)


def _through_block(block: Block, x: Tensor, rotary: Tensor | None, cache: LayerCache) -> Tensor:
    """Return the residual stream after a block, [batch, hidden] -> the same."""
    x = x + _attended(block.attention, _normed(block.attention_norm, x), rotary, cache)
    return x + _widened(block.mlp, _normed(block.mlp_norm, x))


def _attended(
    attention: CausalSelfAttention, x: Tensor, rotary: Tensor | None, cache: LayerCache
) -> Tensor:
    batch, size = len(x), attention.head_dim
    queries, keys = attention.num_heads, attention.num_kv_heads
    heads = _linear(attention.qkv, x).view(batch, queries + 2 * keys, 1, size)
    turned, value = torch.split(heads, [queries + keys, keys], 1)
    if attention.qk_norm:
        turned = _rms_normed(turned, attention.norm_epsilon)
        if (weights := attention.head_weights()) is not None:
            turned = turned * weights
    if rotary is not None:
        turned = rotate(turned, rotary)
    query, key = torch.split(turned, [queries, keys], 1)
    seen_keys, seen_values = cache.append(key, value)
    # One product for each key head, with all queries that share it.
    grouped = query.reshape(batch * keys, queries // keys, size)
    scores = torch.bmm(grouped, seen_keys.flatten(0, 1).mT)
    weights = scores.mul_(1 / math.sqrt(size)).softmax(-1)
    attended = torch.bmm(weights, seen_values.flatten(0, 1))
    return _linear(attention.output, attended.view(batch, queries * size))


def _widened(mlp: MLP, x: Tensor) -> Tensor:
    return _linear(mlp.output, activate(_linear(mlp.up, x), mlp.activation))


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    if isinstance(norm, RMSNorm):
        return _rms_normed(x, norm.epsilon).mul_(norm.weight)
    result: Tensor = norm(x)
    return result


def _rms_normed(x: Tensor, epsilon: float) -> Tensor:
    """Return what `layers.rms_norm` does; PyTorch composes that of more operations on a CPU."""
    return x * x.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    if isinstance(layer, LoraLinear):
        return layer.without_dropout(x)
    return _product(x, layer.weight, layer.bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `F.linear(x, weight, bias)` of [batch, in]; a single row as a vector."""
    if len(x) > 1 or x.device.type != "cpu":
        return F.linear(x, weight, bias)
    row = torch.mv(weight, x[0]) if bias is None else torch.addmv(bias, weight, x[0])
    return row[None]
