"""One optimizer step: gradients weighted by tokens, clipped, checked, and applied.

Nothing here waits for a GPU, except fp16's loss scaling, which has to know whether it overflowed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from app.training.batches import Batch
from app.training.config import TrainingConfig
from app.training.errors import NonFiniteLossError
from app.training.metrics import total_norm
from app.training.precision import autocast

_MOST_SKIPS_IN_A_ROW = 30
"""fp16 halves its scale at each skip: after so many it is not the scale that is at fault."""


def build_optimizer(
    model: nn.Module, config: TrainingConfig, device: torch.device
) -> torch.optim.AdamW:
    """Fused AdamW that decays matrices and leaves biases and norms alone."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=device.type in ("cpu", "cuda", "mps"),
    )


class Stepper:
    """Turns the micro-batches of a step into an update of the model.

    Args:
        forward: the model, possibly compiled: `(inputs, labels, reduction=) -> (logits, loss)`.
        model: whose parameters are updated.
    """

    def __init__(
        self,
        forward: Any,
        model: nn.Module,
        optimizer: torch.optim.AdamW,
        config: TrainingConfig,
        device: torch.device,
    ) -> None:
        self._forward = forward
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = optimizer
        self._config = config
        self._device = device
        self._guard = (
            DeferredGuard(optimizer, device) if device.type == "cuda" else ImmediateGuard()
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.mixed_precision == "fp16")
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self.tokens = 0
        """Tokens that the newest step's loss is the mean of, in all processes."""
        self.read = 0
        """Tokens that the model worked on in the newest step, in all processes."""

    def backward(self, batches: Sequence[Batch]) -> Tensor:
        """Accumulate gradients; return the mean loss over all tokens of the step, detached.

        Every micro-batch counts by its tokens, so that the split into micro-batches makes no
        difference to the gradient. A step without a token to train on has loss and gradient 0.
        """
        self._count(batches)
        loss = torch.zeros((), device=self._device)
        for batch in batches:
            loss += self._accumulate(batch, max(self.tokens, 1))
        return loss

    def _count(self, batches: Sequence[Batch]) -> None:
        self.tokens = sum(batch.tokens for batch in batches)
        self.read = sum(batch.read for batch in batches)

    def _accumulate(self, batch: Batch, divisor: float) -> Tensor:
        """Add the gradients of one micro-batch; its summed loss over `divisor`, detached."""
        moved = batch.to(self._device)
        with autocast(self._device, self._config.mixed_precision):
            # Only the loss: logits kept alive through backward would be its largest tensor.
            total = self._forward(
                moved.inputs, moved.labels, reduction="sum", positions=moved.positions
            )[1]
        part = total / divisor
        self.scaler.scale(part).backward()
        loss: Tensor = part.detach()
        return loss

    def clip(self) -> Tensor:
        """Scale gradients down to `max_grad_norm`; return their norm before that."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(self._optimizer)
        grads = self._gradients()
        norm = self._norm(grads)
        if self._config.max_grad_norm > 0:
            scale = (self._config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
            # On a CPU the look is free and mostly saves the pass; on a GPU it would be a wait.
            if scale.device.type != "cpu" or scale < 1.0:
                torch._foreach_mul_(grads, scale)
        return norm

    def _gradients(self) -> list[Tensor]:
        """Return the gradients that this process holds, to be scaled in place."""
        return [p.grad for p in self._parameters if p.grad is not None]

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        """Return the norm of the whole model's gradient."""
        return total_norm(gradients)

    def apply(self, step: int, position: str, loss: Tensor, norm: Tensor) -> None:
        """Update the weights and forget the gradients.

        On CUDA the update is then suppressed on the device, and the error comes up to a few steps
        later; `settle` brings it for certain.

        Raises:
            NonFiniteLossError: Loss or gradients are not finite.
        """
        if self.scaler.is_enabled():
            self._apply_scaled(step, position, loss, norm)
        else:
            self._guard.watch(step, position, loss, norm)
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _apply_scaled(self, step: int, position: str, loss: Tensor, norm: Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(step, "loss", position)
        if math.isfinite(norm.item()):
            self._skipped_in_a_row = 0
        else:
            self.skipped_steps += 1
            self._skipped_in_a_row += 1
            if self._skipped_in_a_row > _MOST_SKIPS_IN_A_ROW:
                raise NonFiniteLossError(step, "gradient", position)
        self.scaler.step(self._optimizer)
        self.scaler.update()

    def settle(self) -> None:
        """Every step so far is known to be good, or the error of a bad one is raised."""
        self._guard.settle()


class ImmediateGuard:
    """Looks at each step before it is applied: free on a CPU."""

    def watch(self, step: int, position: str, loss: Tensor, norm: Tensor) -> None:
        """Raise `NonFiniteLossError` for a loss or gradient norm that is not finite."""
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(step, "loss", position)
        if not math.isfinite(norm.item()):
            raise NonFiniteLossError(step, "gradient", position)

    def settle(self) -> None:
        """Nothing is ever open."""


class DeferredGuard:
    """Stops bad updates on the device and learns of them without making the host wait.

    A flag on the device rises with the first value that is not finite and stays up. The fused
    optimizer reads it (as `found_inf`, made for loss scaling) and leaves the weights alone, in
    that step and in all later ones. The host reads a copy of the flag when it has arrived.
    """

    def __init__(self, optimizer: Any, device: torch.device) -> None:
        self._flag = torch.zeros((), device=device)
        self._open: deque[tuple[int, str, Tensor, Any]] = deque()
        self._optimizer = optimizer
        optimizer.grad_scale = None

    def watch(self, step: int, position: str, loss: Tensor, norm: Tensor) -> None:
        """Raise the flag if need be, and the error of an earlier step if it is known by now."""
        bad = torch.logical_not(torch.isfinite(loss + norm)).float()
        self._flag = torch.maximum(self._flag, bad)
        self._optimizer.found_inf = self._flag
        self._open.append((step, position, *self._copy_to_host()))
        while self._open and (self._open[0][3] is None or self._open[0][3].query()):
            self._close_oldest()

    def _copy_to_host(self) -> tuple[Tensor, Any]:
        if not self._flag.is_cuda:
            return self._flag.clone(), None
        host = torch.empty((), pin_memory=True)
        host.copy_(self._flag, non_blocking=True)
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return host, event

    def _close_oldest(self) -> None:
        step, position, flag, _ = self._open.popleft()
        if flag.item():
            self._open.clear()
            raise NonFiniteLossError(step, "loss or gradient", position)

    def settle(self) -> None:
        """Wait for the flags that are under way."""
        while self._open:
            if self._open[0][3] is not None:
                self._open[0][3].synchronize()
            self._close_oldest()
