"""A rough account of the memory that a configuration needs for training, in bytes.

Activations follow Korthikanti et al. 2022, "Reducing Activation Recomputation in Large
Transformer Models", section 4, for one device and fused attention, which keeps no scores.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.training.config import TrainingConfig

_FP32 = 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device at the peak of a step."""

    parameters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int

    @property
    def total_bytes(self) -> int:
        """The sum."""
        return (
            self.parameters_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
        )


def estimate_memory(config: TrainingConfig) -> MemoryEstimate:
    """What a valid configuration takes; weights, gradients and both moments are kept in fp32."""
    parameters = config.model_config.num_parameters()
    return MemoryEstimate(
        parameters_bytes=_FP32 * parameters,
        gradients_bytes=_FP32 * parameters,
        optimizer_bytes=2 * _FP32 * parameters,
        activations_bytes=_activations(config),
    )


def _activations(config: TrainingConfig) -> int:
    model = config.model_config
    width = 2 if config.mixed_precision else _FP32
    tokens = config.batch_size * config.get_sequence_length()
    kept = model.hidden_size
    if not config.gradient_checkpointing:
        # Inputs of two norms, two projections and attention's q, k, v and result, plus the MLP's
        # inner layer before and after its non-linearity (three times for a gated one).
        inner = model.mlp_size * (3 if model.activation == "swiglu" else 2)
        kept = 8 * model.hidden_size + inner
    # Logits and their gradient are kept in fp32.
    logits = 2 * _FP32 * tokens * model.vocab_size
    return tokens * model.num_layers * kept * width + logits
