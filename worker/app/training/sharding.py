"""Tensors of which each process holds a shard (FSDP2's), and their way to whole tensors and back.

Each function passes tensors through that are not sharded.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_sharded(value: Any) -> bool:
    """Whether `value` is a tensor of which this process holds a shard."""
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def local(tensor: Any) -> Tensor:
    """Return what this process holds of a tensor, sharing its memory."""
    held: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return held


def gather(part: Tensor, like: Any) -> Tensor:
    """Return the whole tensor of which every process holds a part, divided as `like` is.

    All processes take part.
    """
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    sharded = DTensor.from_local(
        part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )
    whole: Tensor = sharded.full_tensor()
    return whole


def shard(whole: Any, like: Any) -> Any:
    """Return a whole tensor sharded as `like` is, if that has its shape; else unchanged."""
    if not is_sharded(like) or not isinstance(whole, Tensor) or whole.shape != like.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    on_device = whole.to(like.device)
    # Every process holds the whole tensor: nothing needs to be sent.
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)
