"""The decoder of a single row on a CPU, by NumPy.

PyTorch needs several microseconds to start an operation, NumPy about one, and a token of a small
model is some hundred operations on vectors. Weights and caches are views of the model's memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from app.transformer.attention import LayerCache
from app.transformer.decoding import Decoder
from app.transformer.layers import LayerNorm, RMSNorm, activate
from app.transformer.lora import has_adapters

if TYPE_CHECKING:
    from app.transformer.model import Block, GPTModel

Array = npt.NDArray[np.float32]


def build_decoder(model: GPTModel, tokens: Tensor) -> Decoder:
    """Return the quickest decoder for these rows, see `Decoder`."""
    weights = (tensor for tensor in (*model.parameters(), *model.buffers()))
    fits = len(tokens) == 1 and all(
        tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in weights
    )
    fits = fits and not has_adapters(model)
    return RowDecoder(model, tokens) if fits else Decoder(model, tokens)


class RowDecoder(Decoder):
    """Continues one row of tokens, int64 [1, time], with a model in float32 on the CPU."""

    def __init__(self, model: GPTModel, tokens: Tensor) -> None:
        super().__init__(model, tokens)
        self._embedding = _array(model.token_embedding.weight)
        self._tables = None if self._ngrams is None else _array(self._ngrams.weight)
        self._places = self._rotary = None
        kind = model.config.position_encoding_type
        if kind == "learned":
            self._places = _array(model.position_embedding.weight)
        elif kind == "sinusoidal":
            self._places = _array(model.get_buffer("sinusoids"))
        else:
            self._rotary = _array(model.get_buffer("rotary"))
        self._layers = [
            _Layer(cast("Block", block), cache)
            for block, cache in zip(model.blocks, self._caches, strict=True)
        ]
        self._norm = _Norm(model.final_norm)
        self._recent_tokens: list[int] = self._recent[0].tolist()
        head = model.token_embedding if model.lm_head is None else model.lm_head
        self._head = _array(head.weight)

    def append(self, token: Tensor) -> None:
        place = self.length
        x = self._embedding[int(token)]
        if self._ngrams is not None:
            x = x + self._seen_together(int(token))
        if self._places is not None:
            x = x + self._places[place]
        rotary = None if self._rotary is None else self._rotary[:, place]
        embedding = x
        for layer in self._layers:
            x = layer.attend(layer.mixed(x, embedding), place, rotary)
            x = layer.widen(x)
        for cache in self._caches:
            cache.length = place + 1
        self.logits = torch.from_numpy(self._head @ self._norm(x))[None]

    def _seen_together(self, token: int) -> Array:
        """Return the vector of the n-grams that end at `token`, which then is a recent one."""
        ngrams, recent, row = self._ngrams, self._recent_tokens, token
        assert ngrams is not None
        rows = []
        for back in range(1, ngrams.size):
            is_known = back <= len(recent)
            row = (row + ngrams.factors[back] * recent[-back]) % ngrams.rows if is_known else row
            rows.append((back - 1) * (ngrams.rows + 1) + (row if is_known else ngrams.rows))
        recent.append(token)
        del recent[: 1 - ngrams.size]
        assert self._tables is not None
        total: Array = self._tables[rows].sum(0)
        return total


class _Layer:
    """A block, seen as arrays."""

    def __init__(self, block: Block, cache: LayerCache) -> None:
        attention, mlp = block.attention, block.mlp
        self._mix = None if block.mix is None else _array(block.mix)
        self._attention_norm, self._mlp_norm = _Norm(block.attention_norm), _Norm(block.mlp_norm)
        self._qkv, self._output = _Linear(attention.qkv), _Linear(attention.output)
        self._up, self._down = _Linear(mlp.up), _Linear(mlp.output)
        self._activation, self._qk_norm = mlp.activation, attention.qk_norm
        self._epsilon, weights = np.float32(attention.norm_epsilon), attention.head_weights()
        self._head_weights = None if weights is None else _array(weights[:, 0])
        self._counts = (attention.num_heads, attention.num_kv_heads, attention.head_dim)
        entries = cache.entries.numpy()
        self._keys, self._values = entries[0, 0], entries[1, 0]

    def mixed(self, x: Array, embedding: Array) -> Array:
        """Return the block's input, of the stream and of what the first block got."""
        if self._mix is None:
            return x
        mixed: Array = self._mix[0] * x + self._mix[1] * embedding
        return mixed

    def attend(self, x: Array, place: int, rotary: Array | None) -> Array:
        """Add what the attention makes of a position, whose keys and values it keeps."""
        queries, keys, size = self._counts
        heads = self._qkv(self._attention_norm(x)).reshape(queries + 2 * keys, size)
        turned = heads[: queries + keys]
        if self._qk_norm:
            squares = np.einsum("ij,ij->i", turned, turned)[:, None]
            turned = turned / np.sqrt(squares / np.float32(size) + self._epsilon)
            if self._head_weights is not None:
                turned *= self._head_weights
        if rotary is not None:
            half = size // 2
            swapped = np.concatenate((turned[:, half:], turned[:, :half]), 1)
            turned = turned * rotary[0] + swapped * rotary[1]
        self._keys[:, place] = turned[queries:]
        self._values[:, place] = heads[queries + keys :]
        # One product for each key head, with all queries that share it.
        grouped = turned[:queries].reshape(keys, -1, size) * np.float32(1 / math.sqrt(size))
        scores = grouped @ self._keys[:, : place + 1].transpose(0, 2, 1)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        attended = scores @ self._values[:, : place + 1]
        return x + self._output(attended.reshape(-1))

    def widen(self, x: Array) -> Array:
        """Add what the MLP makes of a position."""
        wide = torch.from_numpy(self._up(self._mlp_norm(x)))
        return x + self._down(activate(wide, self._activation).numpy())


class _Linear:
    def __init__(self, layer: nn.Linear) -> None:
        self._weight = _array(layer.weight)
        self._bias = None if layer.bias is None else _array(layer.bias)

    def __call__(self, x: Array) -> Array:
        product: Array = self._weight @ x
        if self._bias is not None:
            product += self._bias
        return product


class _Norm:
    def __init__(self, norm: nn.Module) -> None:
        self._weight = _array(cast(Tensor, norm.weight))
        self._epsilon = cast("LayerNorm | RMSNorm", norm).epsilon
        self._centers = not isinstance(norm, RMSNorm)
        bias = getattr(norm, "bias", None)
        self._bias = None if bias is None else _array(bias)
        self._mean = np.full(len(self._weight), 1 / len(self._weight), np.float32)

    def __call__(self, x: Array) -> Array:
        if self._centers:
            x = x - x.dot(self._mean)
        scale = 1 / math.sqrt(float(x.dot(x)) / len(x) + self._epsilon)
        normed: Array = x * np.float32(scale) * self._weight
        if self._bias is not None:
            normed += self._bias
        return normed


def _array(tensor: Tensor) -> Array:
    """Return the memory of a tensor as an array."""
    return cast(Array, tensor.detach().numpy())
