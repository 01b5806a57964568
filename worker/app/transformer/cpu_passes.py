"""Forward and backward passes on a CPU, as plain functions; `cpu_kernels` tells autograd of them.

A forward pass returns its result and what its backward pass needs; a backward pass takes the
gradient of the result, and these, and returns the gradients of the input and of the parameters, in
their order, None for a bias that is not there. Inputs are [rows, features]: a row for each token.

PyTorch 2.13 computes some of these slowly on a CPU; here they are composed from faster operations.
All are exact to rounding and deterministic at a fixed thread count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Saved = tuple[Any, ...]
Gradients = tuple[Tensor, *tuple[Tensor | None, ...]]
"""Of the input, then of the parameters."""

_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_STEEPNESS = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` of [rows, in] and [out, in].

    By oneDNN where PyTorch has it: 5 to 10 % faster here than the BLAS behind `F.linear`, and the
    bias costs no pass of its own.
    """
    if x.dtype == torch.float32 and _HAS_ONEDNN:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return result
    return F.linear(x, weight, bias)


def _of_parameters(grad: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Gradients of a product's weight and bias."""
    return grad.t() @ x, None if bias is None else grad.sum(0)


# -- norms -----------------------------------------------------------------------------------


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Saved]:
    """Layer norm over the features."""
    normed, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
    return normed, (x, mean, inverse, weight, bias)


def layer_norm_backward(grad: Tensor, saved: Saved) -> Gradients:
    """See the module's docstring; so for all that end in `_backward`."""
    x, mean, inverse, weight, bias = saved
    mask = True, True, bias is not None
    gradients: Gradients = torch.ops.aten.native_layer_norm_backward(
        grad, x, x.shape[-1:], mean, inverse, weight, bias, mask
    )
    return gradients


def rms_norm(x: Tensor, weight: Tensor | None, _: None, eps: float) -> tuple[Tensor, Saved]:
    """x / sqrt(mean(x^2) + eps), times `weight` if given, over the features."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    normed = x * inverse
    return normed if weight is None else normed * weight, (normed, inverse, weight)


def rms_norm_backward(grad: Tensor, saved: Saved) -> Gradients:
    """With h = x / rms: dh = grad * weight, dx = (dh - h mean(dh * h)) / rms."""
    normed, inverse, weight = saved
    product = grad * normed
    if weight is None:
        grad_weight, grad_normed = None, grad.clone()
        along = product.mean(-1, keepdim=True)
    else:
        grad_weight, grad_normed = product.flatten(0, -2).sum(0), grad * weight
        along = torch.matmul(product, weight / normed.shape[-1]).unsqueeze(-1)
    grad_normed.addcmul_(normed, along, value=-1).mul_(inverse)
    return grad_normed, grad_weight, None


Norm = tuple[Callable[..., tuple[Tensor, Saved]], Callable[[Tensor, Saved], Gradients]]
NORMS: dict[str, Norm] = {
    "layer_norm": (layer_norm, layer_norm_backward),
    "rms_norm": (rms_norm, rms_norm_backward),
}

# -- the MLP ---------------------------------------------------------------------------------


def _gelu_tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    """GELU in GPT-2's tanh form and its slope; takes `x` for its buffer.

    0.5 x (1 + tanh(u)) is x sigmoid(2u), and sigmoid alone costs a sixth of tanh alone. With
    2u = a v (a the steepness), v = x + c x^3 and gate = sigmoid(2u), the slope is
    gate + x gate (1 - gate) a (1 + 3 c x^2), and x (1 + 3 c x^2) is 3 (v - 2x / 3).
    """
    square = x * x
    v = torch.addcmul(x, square, x, value=_CUBIC)
    gate = torch.mul(v, _STEEPNESS, out=square).sigmoid_()
    slope = v.sub_(x, alpha=2 / 3)
    torch.ops.aten.sigmoid_backward.grad_input(slope, gate, grad_input=slope)
    torch.add(gate, slope, alpha=3 * _STEEPNESS, out=slope)
    return x.mul_(gate), slope


def _relu_squared(x: Tensor) -> tuple[Tensor, Tensor]:
    """max(x, 0)^2 and its slope; takes `x` for its buffer."""
    slope = torch.relu(x)
    torch.mul(slope, slope, out=x)
    return x, slope.mul_(2)


ACTIVATIONS = {"gelu_approximate": _gelu_tanh, "relu_squared": _relu_squared}


def mlp(
    x: Tensor,
    up: Tensor,
    up_bias: Tensor | None,
    down: Tensor,
    down_bias: Tensor | None,
    *,
    activation: str,
) -> tuple[Tensor, Saved]:
    """`down(activation(up(x)))`, the activation one of `ACTIVATIONS`.

    Keeps the activation's output and its slope, and nothing else of that width.
    """
    active, slope = ACTIVATIONS[activation](_product(x, up, up_bias))
    return _product(active, down, down_bias), (x, up, up_bias, down, down_bias, active, slope)


def mlp_backward(grad: Tensor, saved: Saved) -> Gradients:
    x, up, up_bias, down, down_bias, active, slope = saved
    grad_wide = _product(grad, down.t()).mul_(slope)
    return (
        _product(grad_wide, up.t()),
        *_of_parameters(grad_wide, x, up_bias),
        *_of_parameters(grad, active, down_bias),
    )


# -- attention -------------------------------------------------------------------------------


def attention(
    x: Tensor,
    qkv: Tensor,
    qkv_bias: Tensor | None,
    output: Tensor,
    output_bias: Tensor | None,
    *,
    batch: int,
    num_heads: int,
) -> tuple[Tensor, Saved]:
    """Causal self-attention within each of `batch` sequences, its projections included.

    Queries, keys and values change their layout in one copy, and so do their gradients.
    """
    projected = _product(x, qkv, qkv_bias).view(batch, -1, 3, num_heads, x.shape[1] // num_heads)
    heads = projected.permute(2, 0, 3, 1, 4).reshape(3, -1, projected.shape[1], projected.shape[4])
    mixed, weights = attend(*heads.unbind())
    mixed = mixed.view(batch, num_heads, *mixed.shape[1:]).transpose(1, 2).reshape(x.shape)
    result = _product(mixed, output, output_bias)
    return result, (x, qkv, qkv_bias, output, output_bias, heads, weights, mixed)


def attention_backward(grad: Tensor, saved: Saved, batch: int) -> Gradients:
    x, qkv, qkv_bias, output, output_bias, heads, weights, mixed = saved
    _, _, time, head_dim = heads.shape
    grad_mixed = _product(grad, output.t()).view(batch, time, -1, head_dim)
    grad_mixed = grad_mixed.transpose(1, 2).reshape(heads.shape[1:])
    grad_heads = torch.empty_like(heads)
    attend_backward(grad_mixed, heads.unbind(), weights, grad_heads.unbind())
    grad_heads = grad_heads.view(3, batch, -1, time, head_dim)
    grad_projected = grad_heads.permute(1, 3, 0, 2, 4).reshape(batch * time, -1)
    return (
        _product(grad_projected, qkv.t()),
        *_of_parameters(grad_projected, x, qkv_bias),
        *_of_parameters(grad, mixed, output_bias),
    )


def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(QK'/sqrt(d)) V of [batch * heads, time, head_dim] under a causal mask.

    Also the softmax, [batch * heads, time, time].
    """
    time = query.shape[1]
    mask = query.new_full((time, time), -math.inf).triu_(1)
    scale = 1 / math.sqrt(query.shape[2])
    weights = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scale)
    torch.softmax(weights, -1, out=weights)
    return torch.bmm(weights, value), weights


def attend_backward(
    grad: Tensor, heads: Sequence[Tensor], weights: Tensor, grads: Sequence[Tensor]
) -> None:
    """Write the gradients of `heads`, query, key and value, into `grads`."""
    query, key, value = heads
    grad_query, grad_key, grad_value = grads
    scale = 1 / math.sqrt(query.shape[2])
    torch.bmm(weights.transpose(1, 2), grad, out=grad_value)
    grad_scores = torch._softmax_backward_data(
        torch.bmm(grad, value.transpose(1, 2)), weights, -1, weights.dtype
    )
    # beta=0: what the buffers hold does not count.
    grad_query.baddbmm_(grad_scores, key, beta=0, alpha=scale)
    grad_key.baddbmm_(grad_scores.transpose(1, 2), query, beta=0, alpha=scale)
