"""One optimizer step: gradients weighted by tokens, clipped, checked, and applied.

Nothing here waits for a GPU, except fp16's loss scaling, which has to know whether it overflowed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from app.training.adamw import AdamW
from app.training.batches import IGNORED, Batch
from app.training.config import TrainingConfig
from app.training.errors import NonFiniteLossError
from app.training.metrics import total_norm
from app.training.muon import Matrix, Muon
from app.training.precision import autocast
from app.transformer.errors import ConfigError, FieldProblem

_MOST_SKIPS_IN_A_ROW = 30
"""fp16 halves its scale at each skip: after so many it is not the scale that is at fault."""


def build_optimizer(
    model: nn.Module, config: TrainingConfig, device: torch.device
) -> torch.optim.AdamW:
    """Return the optimizer that `optimizer_type` names; it decays matrices only.

    Biases and norms are left alone. The first group's rate is `learning_rate`.

    Raises:
        ConfigError: It names Muon, and every matrix of the blocks is frozen.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = [] if config.optimizer_type == "adamw" else _hidden_matrices(trained, config)
    apart = {matrix.parameter for matrix in hidden}
    rest = [parameter for parameter in trained.values() if parameter not in apart]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.adam_beta1, config.adam_beta2),
        "eps": config.adam_epsilon,
        "fused": device.type in ("cpu", "cuda", "mps"),
    }
    groups = [group for group in groups if group["params"]]
    if not hidden:
        return AdamW(groups, **options)
    return Muon(
        hidden,
        groups,
        muon_lr=config.muon_learning_rate,
        momentum=config.muon_momentum,
        muon_weight_decay=config.weight_decay,
        iterations=config.muon_iterations,
        **options,
    )


def _hidden_matrices(trained: Mapping[str, nn.Parameter], config: TrainingConfig) -> list[Matrix]:
    """Return the matrices of the blocks: neither embeddings nor the output head are theirs.

    Raises:
        ConfigError: There is none among the trained parameters.
    """
    model = config.model_config
    keys = model.key_value_heads * model.head_size
    parts = {
        "attention.qkv.weight": (model.attention_size, keys, keys),
        "mlp.up.weight": (model.mlp_size,) * (2 if model.activation == "swiglu" else 1),
    }
    found = [
        Matrix(parameter, parts.get(name.split(".", 2)[-1], (parameter.shape[0],)))
        for name, parameter in trained.items()
        if name.startswith("blocks.") and parameter.ndim == 2
    ]
    if not found:
        rule = "it needs a matrix of the blocks to train"
        remedy = f"`freeze` {config.freeze} leaves none; take adamw"
        message = f"`optimizer_type` is 'muon'; {rule}, and {remedy}"
        raise ConfigError([FieldProblem("optimizer_type", message)])
    return found


class Stepper:
    """Turns the micro-batches of a step into an update of the model.

    Args:
        forward: the model, possibly compiled: `(inputs, labels, reduction=) -> (logits, loss)`.
        model: the module whose parameters are updated.
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
            logits, total = self._forward(
                moved.inputs, moved.labels, reduction="sum", positions=moved.positions
            )
            if self._config.z_loss:
                total = total + self._config.z_loss * _z_gradient(logits, moved.labels)
            # Logits kept alive through backward would be its largest tensor.
            del logits
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
            # On a CPU the comparison is free and usually saves the pass; on a GPU it would wait.
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
        later; `finish_checks` raises it at the latest.

        Raises:
            NonFiniteLossError: Loss or gradients are not finite.
        """
        if self.scaler.is_enabled():
            self._apply_scaled(step, position, loss, norm)
        else:
            self._guard.check(step, position, loss, norm)
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

    def finish_checks(self) -> None:
        """Wait until every step so far is known to be good.

        Raises:
            NonFiniteLossError: One of them was not.
        """
        self._guard.finish_checks()


def _z_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Return a zero whose gradient is that of the summed log(Z)^2 over the labels that count.

    The loss keeps its value, so that runs with and without it compare.
    """
    squared = logits.float().logsumexp(-1)[labels != IGNORED].square().sum()
    return squared - squared.detach()


class ImmediateGuard:
    """Checks each step before it is applied, which is free on a CPU."""

    def check(self, step: int, position: str, loss: Tensor, norm: Tensor) -> None:
        """Raise `NonFiniteLossError` for a loss or gradient norm that is not finite."""
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(step, "loss", position)
        if not math.isfinite(norm.item()):
            raise NonFiniteLossError(step, "gradient", position)

    def finish_checks(self) -> None:
        """Do nothing: each step was checked at once."""


class DeferredGuard:
    """Stops bad updates on the device and learns of them without making the host wait.

    A flag on the device rises with the first value that is not finite and stays up. The fused
    optimizer reads it (as `found_inf`, made for loss scaling) and leaves the weights alone, in
    that step and in all later ones. The host reads a copy of the flag when it has arrived.
    """

    def __init__(self, optimizer: Any, device: torch.device) -> None:
        self._flag = torch.zeros((), device=device)
        self._pending: deque[tuple[int, str, Tensor, Any]] = deque()
        self._optimizer = optimizer
        optimizer.grad_scale = None

    def check(self, step: int, position: str, loss: Tensor, norm: Tensor) -> None:
        """Set the flag for a bad step; raise the error of an earlier one whose flag has arrived."""
        bad = torch.logical_not(torch.isfinite(loss + norm)).float()
        self._flag = torch.maximum(self._flag, bad)
        self._optimizer.found_inf = self._flag
        self._pending.append((step, position, *self._copy_to_host()))
        while self._pending and (self._pending[0][3] is None or self._pending[0][3].query()):
            self._check_oldest()

    def _copy_to_host(self) -> tuple[Tensor, Any]:
        if not self._flag.is_cuda:
            return self._flag.clone(), None
        host = torch.empty((), pin_memory=True)
        host.copy_(self._flag, non_blocking=True)
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return host, event

    def _check_oldest(self) -> None:
        step, position, flag, _ = self._pending.popleft()
        if flag.item():
            self._pending.clear()
            raise NonFiniteLossError(step, "loss or gradient", position)

    def finish_checks(self) -> None:
        """Wait for the flags that are still being copied to the host, and check them."""
        while self._pending:
            if self._pending[0][3] is not None:
                self._pending[0][3].synchronize()
            self._check_oldest()
