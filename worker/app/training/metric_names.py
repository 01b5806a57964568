"""The names of the trainer's metrics, by `make protos` from `MetricPoint`."""

METRIC_NAMES = frozenset(
    {
        "loss",
        "perplexity",
        "lr",
        "grad_norm",
        "tokens_per_second",
        "steps_per_second",
        "tokens_seen",
        "val_loss",
        "val_perplexity",
        "gpu_memory_allocated_gb",
        "mfu",
        "val_bits_per_byte",
        "ema_val_loss",
    }
)
