"""Causal self-attention with grouped key/value heads, and the cache that generation keeps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.transformer.config import TransformerConfig
from app.transformer.layers import RMSNorm, rms_norm
from app.transformer.positions import rotate


class LayerCache:
    """Keys and values of one layer for the positions seen so far, in room for `capacity`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._entries: Tensor | None = None

    @property
    def entries(self) -> Tensor:
        """Keys and values, [2, batch, heads, capacity, head_dim]; only after the first `append`."""
        assert self._entries is not None
        return self._entries

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add [batch, heads, time, head_dim] and return keys and values of all positions."""
        batch, heads, time, head_dim = key.shape
        if self._entries is None:
            self._entries = key.new_empty(2, batch, heads, self.capacity, head_dim)
        end = self.length + time
        self._entries[0, :, :, self.length : end] = key
        self._entries[1, :, :, self.length : end] = value
        self.length = end
        return self._entries[0, :, :, :end], self._entries[1, :, :, :end]


def document_mask(positions: Tensor) -> Tensor:
    """Which positions see which, bool [batch, 1, time, time]: those up to them in their document.

    `positions` [batch, time] are places in documents; each 0 begins another one.
    """
    document = (positions == 0).cumsum(1)
    return (document[:, :, None] == document[:, None, :]).tril()[:, None]


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which position t sees positions up to t.

    `qkv` holds the query rows first, then the key rows, then the value rows.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.num_kv_heads = config.key_value_heads
        self.head_dim = config.head_size
        self.qk_norm = config.qk_norm
        self.norm_epsilon = config.norm_epsilon
        self.dropout_rate = config.dropout_rate
        qkv_size = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        self.qkv = nn.Linear(config.hidden_size, qkv_size, bias=config.has_qkv_bias)
        self.output = nn.Linear(config.attention_size, config.hidden_size, bias=config.bias)
        self.query_norm = self.key_norm = None
        if config.qk_norm_weights:
            self.query_norm = RMSNorm(self.head_dim, self.norm_epsilon)
            self.key_norm = RMSNorm(self.head_dim, self.norm_epsilon)

    def forward(
        self,
        x: Tensor,
        rotary: Tensor | None = None,
        cache: LayerCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """[batch, time, hidden] -> the same shape.

        `rotary` is the table for these positions. `mask`, see `document_mask`, says what each
        position sees, instead of all that is before it.
        """
        query, key, value = self._heads(x, rotary)
        if cache is not None:
            key, value = cache.append(key, value)
        attended = self._attend(query, key, value, mask)
        x = self.output(attended.transpose(1, 2).flatten(2))
        return F.dropout(x, self.dropout_rate, self.training)

    def _heads(self, x: Tensor, rotary: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, [batch, heads, time, head_dim] each."""
        counts = (self.num_heads + self.num_kv_heads, self.num_kv_heads)
        heads = self.qkv(x).unflatten(-1, (sum(counts), self.head_dim)).transpose(1, 2)
        # `split` and not slices: its gradient is one concatenation instead of padded sums.
        if rotary is None and not self.qk_norm:
            query, key, value = heads.split((self.num_heads, self.num_kv_heads, counts[1]), 1)
            return query, key, value
        turned, value = heads.split(counts, 1)
        if self.qk_norm:
            turned = self._normed(turned)
            if (weights := self.head_weights()) is not None:
                turned = turned * weights
        if rotary is not None:
            turned = rotate(turned, rotary)
        query, key = turned.split((self.num_heads, self.num_kv_heads), 1)
        return query, key, value

    def _normed(self, x: Tensor) -> Tensor:
        """Return queries and keys, each head normed for itself."""
        return rms_norm(x, self.norm_epsilon)

    def head_weights(self) -> Tensor | None:
        """Return what scales each normed query and key, [heads, 1, head_dim]; None: nothing."""
        if self.query_norm is None or self.key_norm is None:
            return None
        weights = (
            self.query_norm.weight.expand(self.num_heads, 1, -1),
            self.key_norm.weight.expand(self.num_kv_heads, 1, -1),
        )
        return torch.cat(weights)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        seen_before = key.shape[2] - query.shape[2]
        if mask is None and seen_before and query.shape[2] > 1:
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
            mask = mask.tril(seen_before)
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout_rate if self.training else 0.0,
            is_causal=mask is None and query.shape[2] > 1,
            enable_gqa=self.num_kv_heads != self.num_heads,
        )
