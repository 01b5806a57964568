"""`fuse(model)`: the same model without the operations that PyTorch computes slowly on a CPU.

The layers of `attention` and `layers` say what is computed. The subclasses here compute the same by
the kernels of `cpu_kernels`, wherever these apply, and leave all else to the plain layers.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

from app.transformer import cpu_kernels
from app.transformer.attention import CausalSelfAttention, LayerCache
from app.transformer.layers import MLP, RMSNorm

Module = TypeVar("Module", bound=nn.Module)


def fuse(model: Module) -> Module:
    """Return `model`, whose layers use the CPU kernels from now on.

    Parameters, their names and their values stay. Results are equal to rounding. On other devices,
    under autocast and under torch.compile the plain operations run as before.
    """
    for module in model.modules():
        # The class is what changes, as in FSDP2: copies and saved states keep working.
        if (fused := _FUSED.get(type(module))) is not None:
            module.__class__ = fused
    return model


class FusedRMSNorm(RMSNorm):
    """RMS norm in one operation."""

    def forward(self, x: Tensor) -> Tensor:
        if not cpu_kernels.applies_to(x):
            return super().forward(x)
        return cpu_kernels.rms_norm(x, self.weight, self.epsilon)


class FusedMLP(MLP):
    """MLP whose two projections and activation are one operation."""

    def _transform(self, x: Tensor) -> Tensor:
        fits = (
            self.activation in cpu_kernels.FUSED_ACTIVATIONS
            and cpu_kernels.applies_to(x)
            and cpu_kernels.can_replace(self.up, self.output)
        )
        if not fits:
            return super()._transform(x)
        return cpu_kernels.mlp(x, self.up, self.output, self.activation)


class FusedAttention(CausalSelfAttention):
    """Attention over a short context: one operation, with its projections where it can be."""

    def forward(
        self,
        x: Tensor,
        rotary: Tensor | None = None,
        cache: LayerCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        fits = (
            rotary is None
            and cache is None
            and mask is None
            and self.num_kv_heads == self.num_heads
            and not self.qk_norm
            and self._is_short(x, x.shape[1])
            and cpu_kernels.can_replace(self.qkv, self.output)
        )
        if not fits:
            return super().forward(x, rotary, cache, mask)
        return cpu_kernels.attention(x, self.qkv, self.output, self.num_heads)

    def _normed(self, x: Tensor) -> Tensor:
        if not cpu_kernels.applies_to(x):
            return super()._normed(x)
        return cpu_kernels.rms_norm(x, None, self.norm_epsilon)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        is_plain = mask is None and query.shape == key.shape
        if not is_plain or not self._is_short(query, query.shape[2]):
            return super()._attend(query, key, value, mask)
        return cpu_kernels.causal_attention(query, key, value)

    def _is_short(self, x: Tensor, time: int) -> bool:
        return (
            time <= cpu_kernels.LONGEST_SHORT_CONTEXT
            and not (self.training and self.dropout_rate)
            and cpu_kernels.applies_to(x)
        )


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    RMSNorm: FusedRMSNorm,
    MLP: FusedMLP,
    CausalSelfAttention: FusedAttention,
}
