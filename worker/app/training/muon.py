"""Muon: the momentum of each hidden matrix, made orthogonal, is its update.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/); the iteration is Polar Express
(Amsel et al. 2025, arXiv:2505.16932), on the square of the matrix. Everything here is in the
weights' own precision: `torch.optim.Muon` of 2.13 works in bfloat16, which takes over a second a
step on a CPU without it, and takes one matrix at a time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.training.adamw import AdamW
from app.training.sharding import gather, local, shard

# a, b and c of X <- a X + b (X X') X + c (X X')² X: each polynomial is the best one for what the
# one before leaves of singular values in [0.001, 1] (Amsel et al. 2025).
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)
MOST_ITERATIONS = len(_POLAR_EXPRESS)
_SAFETY = 1.01
"""Norms are divided by this much more than needed: rounding must not bring a value above 1."""
_MOST_ELEMENTS_AT_ONCE = 1 << 24
"""Of the matrices that are worked on together: enough to be quick, and little memory."""


def orthogonalize(matrices: Tensor, iterations: int = MOST_ITERATIONS) -> Tensor:
    """Return matrices with the same singular vectors, whose singular values are about 1.

    `matrices` is [count, rows, columns] with rows <= columns; the result has the same shape. Fewer
    than 5 iterations leave the small singular values below 1 and the large ones up to 1.9.
    """
    norms = torch.linalg.matrix_norm(matrices, keepdim=True)
    x: Tensor = matrices / (norms * _SAFETY).clamp(min=torch.finfo(matrices.dtype).tiny)
    # Each iterate is P X, with P a product of polynomials in X X', which all commute: only the
    # first square and the last product have the long side. For 128 x 512 this halves the time.
    gram = x @ x.mT
    first, *others = _POLAR_EXPRESS[:iterations]
    product = polynomial = _polynomial(gram, first)
    for coefficients in others:
        gram = polynomial @ gram @ polynomial
        polynomial = _polynomial(gram, coefficients)
        product = polynomial @ product
    return product @ x


def _polynomial(gram: Tensor, coefficients: tuple[float, float, float]) -> Tensor:
    a, b, c = coefficients
    value = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    value.diagonal(dim1=1, dim2=2).add_(a)
    return value


@dataclass(frozen=True)
class Matrix:
    """A parameter that Muon updates, [rows, columns]."""

    parameter: nn.Parameter
    parts: tuple[int, ...]
    """Rows of each of the matrices that it holds one below the other: three for a fused qkv."""


class Muon(AdamW):
    """Muon for hidden matrices, and AdamW for everything else, as one optimizer.

    The update of a matrix is orthogonal, times sqrt(rows / columns) where that is more than 1, so
    that it changes what the matrix puts out by about its rate, whatever its shape. `step` uses up
    the gradients of the matrices. Under FSDP each process gathers the matrices and makes all
    updates.

    Args:
        matrices: the parameters for Muon; at least one.
        others: parameter groups for AdamW; what is in them is left to it.
        muon_lr: rate of the matrices, > 0.
        momentum: decay of the mean of gradients, in [0, 1); the update looks ahead (Nesterov).
        muon_weight_decay: of the matrices, decoupled, >= 0.
        iterations: of the polynomial that makes an update orthogonal, 1 to 5.
        adamw: options of AdamW, as `AdamW` takes them.

    Raises:
        ValueError: There is no matrix.
    """

    def __init__(
        self,
        matrices: Sequence[Matrix],
        others: Iterable[dict[str, Any]],
        *,
        muon_lr: float,
        momentum: float = 0.95,
        muon_weight_decay: float = 0.0,
        iterations: int = MOST_ITERATIONS,
        **adamw: Any,
    ) -> None:
        if not matrices:
            raise ValueError("Muon has no matrix to update; take AdamW for this model")
        self._matrices = list(matrices)
        self._iterations = iterations
        own = {
            "params": [matrix.parameter for matrix in matrices],
            "lr": muon_lr,
            "momentum": momentum,
            "weight_decay": muon_weight_decay,
        }
        super().__init__([*others, own], **adamw)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient."""
        for batch in _batches([m for m in self._matrices if m.parameter.grad is not None]):
            self._step_batch(batch, self.param_groups[-1])
        for matrix in self._matrices:
            matrix.parameter.grad = None  # AdamW passes over parameters without a gradient
        return super().step(closure)

    def _step_batch(self, batch: Sequence[Matrix], group: dict[str, Any]) -> None:
        parameters = [matrix.parameter for matrix in batch]
        weights = [local(parameter) for parameter in parameters]
        gradients = [local(parameter.grad) for parameter in parameters]
        means = [local(self._mean_gradient(parameter)) for parameter in parameters]
        rate = group["lr"]
        if (found_inf := getattr(self, "found_inf", None)) is not None:
            # As in the fused AdamW: a bad step changes nothing, without a wait for the device.
            good = found_inf == 0
            gradients = [torch.where(good, *pair) for pair in zip(gradients, means, strict=True)]
            rate = rate * good
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])
        wholes = [gather(*pair) for pair in zip(ahead, parameters, strict=True)]
        _orthogonalize_in_place(wholes, batch, self._iterations)
        updates = [local(shard(*pair)) for pair in zip(wholes, parameters, strict=True)]
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        torch._foreach_mul_(updates, -rate)
        torch._foreach_add_(weights, updates)

    def _mean_gradient(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if not state:
            # AdamW expects a step in the state of each parameter when it loads one.
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["step"] += 1
        mean: Tensor = state["momentum_buffer"]
        return mean


def _batches(matrices: Iterable[Matrix]) -> Iterator[list[Matrix]]:
    """Yield neighbours that together are not too large; one alone may be."""
    batch: list[Matrix] = []
    size = 0
    for matrix in matrices:
        size += matrix.parameter.numel()
        if batch and size > _MOST_ELEMENTS_AT_ONCE:
            yield batch
            batch, size = [], matrix.parameter.numel()
        batch.append(matrix)
    if batch:
        yield batch


def _orthogonalize_in_place(
    tensors: Sequence[Tensor], matrices: Sequence[Matrix], iterations: int
) -> None:
    """Replace whole gradients by updates; matrices of one shape are worked on together."""
    by_shape = defaultdict(list)
    for tensor, matrix in zip(tensors, matrices, strict=True):
        for part in torch.split(tensor, list(matrix.parts)):
            # The iteration is cheaper for the wide form: its square has the smaller side.
            wide = part if part.shape[0] <= part.shape[1] else part.mT
            by_shape[wide.shape].append((wide, part))
    for pairs in by_shape.values():
        updates = orthogonalize(torch.stack([wide for wide, _ in pairs]), iterations)
        for (wide, part), update in zip(pairs, updates, strict=True):
            rows, columns = part.shape
            wide.copy_(update * math.sqrt(max(rows / columns, 1)))
