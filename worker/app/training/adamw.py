"""torch's AdamW without the import of its compiler.

An optimizer of `torch.optim` imports `torch._dynamo` when it gets its parameters and again when it
steps, so that `torch.compile` passes over these methods. That import takes as long as the one of
torch itself. Here the model alone is ever compiled, so the methods are taken as they are inside of
those wrappers.
"""

from __future__ import annotations

from inspect import unwrap

import torch
from torch.optim import Optimizer


class AdamW(torch.optim.AdamW):
    """AdamW as in `torch.optim`: same arguments, same state, same bits.

    Not to be used inside of a function that `torch.compile` traces.
    """

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
