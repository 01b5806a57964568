"""How a model lies in the processes that train it: whole in one, copied (DDP), sharded (FSDP2).

A checkpoint never tells which: it holds whole tensors under plain names, gathered and dealt out
again here, so that a run may go on under another strategy or in another number of processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from app.training import rng
from app.training.batches import Batch
from app.training.config import TrainingConfig
from app.training.distributed import Ranks
from app.training.metrics import total_norm
from app.training.stepping import Stepper
from app.transformer import GPTModel


class WholeModel:
    """One process holds everything, in the usual way."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def place(self, model: GPTModel) -> None:
        """Bring the parameters to where this process keeps its part of them."""
        model.to(self._ranks.device)

    def stepper(
        self, forward: Any, model: GPTModel, optimizer: torch.optim.AdamW, config: TrainingConfig
    ) -> Stepper:
        """Return the Stepper of the model; `forward` is the model, possibly compiled."""
        return Stepper(forward, model, optimizer, config, self._ranks.device)

    def gathered(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Nested state with whole tensors; in processes other than rank 0 it may lack some."""
        return dict(state)

    def local_weights(self, weights: Mapping[str, Any], model: GPTModel) -> dict[str, Any]:
        """Return a checkpoint's weights as this process's model takes them."""
        return dict(weights)

    def dealt_moments(self, state: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
        """Return a checkpoint's optimizer state as this process's optimizer takes it."""
        return dict(state)


class CopiedModel(WholeModel):
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
        _settle_buckets(wrapped, device)
        return SharedStepper(wrapped, model, optimizer, config, self._ranks, wrapped.no_sync)


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
            forward, model, optimizer, config, self._ranks, lambda: _Unsynced(model)
        )

    def gathered(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self._gather(value) for key, value in state.items()}

    def _gather(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._gather(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._gather(item) for item in value)
        if not _is_sharded(value):
            return value
        whole: Tensor = value.full_tensor()  # all processes take part; one tensor at a time
        return whole.cpu() if self._ranks.is_main else None

    def local_weights(self, weights: Mapping[str, Any], model: GPTModel) -> dict[str, Any]:
        own = model.state_dict()
        return {name: _deal(tensor, own.get(name)) for name, tensor in weights.items()}

    def dealt_moments(self, state: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        return {
            **state,
            "state": {
                index: {name: _deal(value, parameters[index]) for name, value in entry.items()}
                for index, entry in state["state"].items()
            },
        }


def build_layout(ranks: Ranks) -> WholeModel:
    """Return the layout of a model over these processes."""
    if ranks.world_size == 1:
        return WholeModel(ranks)
    return ShardedModel(ranks) if ranks.strategy == "fsdp" else CopiedModel(ranks)


class SharedStepper(Stepper):
    """A step whose micro-batches lie in several processes; the update is the same in all.

    Args:
        forward, model, optimizer, config: as for `Stepper`.
        ranks: the processes that step together.
        unsynced: makes a context in which gradients stay local.
    """

    def __init__(
        self,
        forward: Any,
        model: GPTModel,
        optimizer: torch.optim.AdamW,
        config: TrainingConfig,
        ranks: Ranks,
        unsynced: Callable[[], AbstractContextManager[None]],
    ) -> None:
        super().__init__(forward, model, optimizer, config, ranks.device)
        self._ranks = ranks
        self._unsynced = unsynced

    def backward(self, batches: Sequence[Batch]) -> Tensor:
        """Like `Stepper.backward`; the mean is over the tokens of all processes."""
        self._count(batches)
        self.tokens, self.read = self._ranks.sums(self.tokens, self.read)
        # Gradients are averaged over processes: what is to be a sum is divided by less.
        divisor = max(self.tokens, 1) / self._ranks.world_size
        loss = torch.zeros((), device=self._device)
        for number, batch in enumerate(batches, 1):
            with nullcontext() if number == len(batches) else self._unsynced():
                loss += self._accumulate(batch, divisor)
        self._ranks.sum_tensor(loss)
        return loss / self._ranks.world_size


class ShardedStepper(SharedStepper):
    """The same where each process holds a part of every gradient."""

    def _gradients(self) -> list[Tensor]:
        return [cast("Any", gradient).to_local() for gradient in super()._gradients()]

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        squared = total_norm(gradients).square()
        self._ranks.sum_tensor(squared)
        return squared.sqrt()


class _Unsynced(AbstractContextManager[None]):
    """Gradients of a sharded model stay with their process, whole, until the last micro-batch."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model.set_requires_gradient_sync(False)

    def __exit__(self, *_: object) -> None:
        self._model.set_requires_gradient_sync(True)


def _settle_buckets(wrapped: DistributedDataParallel, device: torch.device) -> None:
    """Let the first step find the buckets as all later steps do.

    DDP sorts gradients into buckets anew after the first backward pass, and from three processes
    on the order of a sum, so its last bits, depend on the place in a bucket. A resumed run would
    take its first step with other buckets than the undisturbed one; so a pass that counts for
    nothing comes first.
    """
    token = torch.zeros(1, 1, dtype=torch.int64, device=device)
    with rng.isolated():
        wrapped(token, token, reduction="sum")[1].backward()
    wrapped.zero_grad(set_to_none=True)


def _is_sharded(value: Any) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def _deal(whole: Any, like: Any) -> Any:
    """Return this process's part of a whole tensor, where `like` is a sharded one of its shape."""
    from torch.distributed.tensor import distribute_tensor

    if not _is_sharded(like) or not isinstance(whole, Tensor) or whole.shape != like.shape:
        return whole
    on_device = whole.to(like.device)
    # Every process has read the checkpoint: nothing needs to be sent.
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)
