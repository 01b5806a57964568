"""The weights a model starts with."""

from __future__ import annotations

import math

from torch import nn

from app.transformer.config import TransformerConfig


def initialize(model: nn.Module, config: TransformerConfig) -> None:
    """Draw every weight as GPT-2 does: normal, biases zero, norms one.

    Projections back into the residual stream (named `output`) get a deviation smaller by
    sqrt(2 × layers), so that the stream's variance does not grow with depth; or zeros, if
    `zero_init_output_projections` is set.
    """
    deviation = config.initializer_range
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=deviation)
        elif isinstance(module, nn.Linear):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            into_stream = name.endswith(".output")
            if config.zero_init_output_projections and (into_stream or name == "lm_head"):
                nn.init.zeros_(module.weight)
            else:
                scale = 1 / math.sqrt(2 * config.num_layers) if into_stream else 1.0
                nn.init.normal_(module.weight, std=deviation * scale)
