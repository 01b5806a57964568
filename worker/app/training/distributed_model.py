"""The layout of a model over the processes that train it: one process, DDP, or FSDP2.

A checkpoint does not depend on it: it holds full tensors under plain names. They are gathered and
sharded again here, so a run may resume with another strategy or another number of processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from app.training import rng
from app.training.batches import Batch
from app.training.config import TrainingConfig
from app.training.distributed import Ranks
from app.training.metrics import total_norm
from app.training.sharding import is_sharded, local, shard
from app.training.stepping import Stepper
from app.transformer import GPTModel


class WholeModel:
    """One process holds the whole model."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def place(self, model: GPTModel) -> None:
        """Move this rank's part of the parameters to its device."""
        model.to(self._ranks.device)

    def stepper(
        self, forward: Any, model: GPTModel, optimizer: torch.optim.AdamW, config: TrainingConfig
    ) -> Stepper:
        """Return the Stepper of the model; `forward` is the model, possibly compiled."""
        return Stepper(forward, model, optimizer, config, self._ranks.device)

    def full_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the nested state with full tensors; ranks other than 0 may get None instead."""
        return dict(state)

    def local_weights(self, weights: Mapping[str, Any], model: GPTModel) -> dict[str, Any]:
        """Return this rank's part of a checkpoint's weights, to be loaded into its model."""
        return dict(weights)

    def local_moments(self, state: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
        """Return this rank's part of a checkpoint's optimizer state (Adam's moments)."""
        return dict(state)


class ReplicatedModel(WholeModel):
    """Each process holds the whole model; gradients are averaged while backward still runs."""

    def stepper(
        self, forward: Any, model: GPTModel, optimizer: torch.optim.AdamW, config: TrainingConfig
    ) -> Stepper:
        device = self._ranks.device
        with warnings.catch_warnings():
            # Newer releases of torch have another name for broadcast_buffers, which older lack.
            warnings.simplefilter("ignore", FutureWarning)
            wrapped = DistributedDataParallel(
                forward,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,  # they are constants
                gradient_as_bucket_view=True,
            )
        _rebuild_buckets(wrapped, device)
        return DistributedStepper(wrapped, model, optimizer, config, self._ranks, wrapped.no_sync)


class ShardedModel(WholeModel):
    """Each process holds a part of every parameter, of its gradient and of its moments."""

    def place(self, model: GPTModel) -> None:
        """Shard block by block, so that a device never holds more than a block and its shards."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self._ranks.device.type, (self._ranks.world_size,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        model.to(self._ranks.device)  # buffers

    def stepper(
        self, forward: Any, model: GPTModel, optimizer: torch.optim.AdamW, config: TrainingConfig
    ) -> Stepper:
        return ShardedStepper(
            forward, model, optimizer, config, self._ranks, lambda: _NoSync(model)
        )

    def full_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self._gather(value) for key, value in state.items()}

    def _gather(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._gather(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._gather(item) for item in value)
        if not is_sharded(value):
            return value
        whole: Tensor = value.full_tensor()  # all processes take part; one tensor at a time
        return whole.cpu() if self._ranks.is_main else None

    def local_weights(self, weights: Mapping[str, Any], model: GPTModel) -> dict[str, Any]:
        own = model.state_dict()
        return {name: shard(tensor, own.get(name)) for name, tensor in weights.items()}

    def local_moments(self, state: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        return {
            **state,
            "state": {
                index: {name: shard(value, parameters[index]) for name, value in entry.items()}
                for index, entry in state["state"].items()
            },
        }


def build_layout(ranks: Ranks) -> WholeModel:
    """Return the layout of a model over these processes."""
    if ranks.world_size == 1:
        return WholeModel(ranks)
    return ShardedModel(ranks) if ranks.strategy == "fsdp" else ReplicatedModel(ranks)


class DistributedStepper(Stepper):
    """A step whose micro-batches are spread over the ranks; the update is the same in all.

    Args:
        forward, model, optimizer, config: as for `Stepper`.
        ranks: the processes that step together.
        no_sync: returns a context in which gradients are not synchronized.
    """

    def __init__(
        self,
        forward: Any,
        model: GPTModel,
        optimizer: torch.optim.AdamW,
        config: TrainingConfig,
        ranks: Ranks,
        no_sync: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(forward, model, optimizer, config, ranks.device)
        self._ranks = ranks
        self._no_sync = no_sync

    def backward(self, batches: Sequence[Batch]) -> Tensor:
        """Like `Stepper.backward`; the mean is over the tokens of all processes."""
        self._count(batches)
        self.tokens, self.read = self._ranks.sums(self.tokens, self.read)
        # Gradients are averaged over processes: what is to be a sum is divided by less.
        divisor = max(self.tokens, 1) / self._ranks.world_size
        loss = torch.zeros((), device=self._device)
        for number, batch in enumerate(batches, 1):
            with nullcontext() if number == len(batches) else self._no_sync():
                loss += self._accumulate(batch, divisor)
        self._ranks.sum_tensor(loss)
        return loss / self._ranks.world_size


class ShardedStepper(DistributedStepper):
    """A `DistributedStepper` for FSDP, where each rank holds a shard of every gradient."""

    def _gradients(self) -> list[Tensor]:
        return [local(gradient) for gradient in super()._gradients()]

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        squared = total_norm(gradients).square()
        self._ranks.sum_tensor(squared)
        return squared.sqrt()


class _NoSync(AbstractContextManager[None]):
    """Keeps gradients of a sharded model whole and local until the last micro-batch."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model.set_requires_gradient_sync(False)

    def __exit__(self, *_: object) -> None:
        self._model.set_requires_gradient_sync(True)


def _rebuild_buckets(wrapped: DistributedDataParallel, device: torch.device) -> None:
    """Run one backward pass without effect, so that DDP rebuilds its buckets before step one.

    DDP assigns gradients to buckets a second time after the first backward pass. With three or
    more processes the order of a sum, and so its last bits, depend on the place in a bucket. A
    resumed run would otherwise take its first step with other buckets than an undisturbed run.
    """
    token = torch.zeros(1, 1, dtype=torch.int64, device=device)
    with rng.isolated():
        wrapped(token, token, reduction="sum")[1].backward()
    wrapped.zero_grad(set_to_none=True)
