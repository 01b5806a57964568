"""What a model is made of and what it takes, known before it is built. Never imports torch."""

from __future__ import annotations

from app.training.config import TrainingConfig
from app.training.memory import estimate_memory
from app.transformer.config import TransformerConfig
from app.transformer.lora_layout import LoraConfig, adapter_parameters


def flops_per_token(
    config: TransformerConfig, sequence_length: int, lora: LoraConfig | None = None
) -> float:
    """Return the FLOPs of a forward and backward pass for one token.

    They are 6 N + 12 · layers · width · context, where N counts the weights that are multiplied
    (Chowdhery et al. 2022, appendix B). With adapters they are 4 N + 6 of these: weights that stay
    get no gradient.
    """
    parts = config.parameters_by_part()
    multiplied = sum(parts.values()) - parts["positions"] - parts["ngrams"]
    if not config.tie_word_embeddings:
        multiplied -= parts["embedding"]
    attention = 12 * config.num_layers * config.attention_size * sequence_length
    if lora is not None:
        return 4.0 * multiplied + 6.0 * adapter_parameters(config, lora) + attention
    return 6.0 * multiplied + attention


def model_summary(config: TrainingConfig) -> str:
    """Return parameters by part, FLOPs and memory of a valid configuration, in one sentence."""
    model = config.model_config
    parts = [f"{name} {count:,}" for name, count in model.parameters_by_part().items() if count]
    if config.lora is not None:
        trained = adapter_parameters(model, config.lora)
        parts.append(f"and {trained:,} of adapters, which alone are trained")
    flops = flops_per_token(model, config.get_sequence_length(), config.lora)
    memory = max(estimate_memory(config).total_bytes / (1 << 20), 1)
    return (
        f"{model.num_parameters():,} parameters ({', '.join(parts)}); {flops / 1e6:,.3g} MFLOP a "
        f"token forward and backward; about {memory:,.0f} MiB of memory"
    )
