"""The memory that a configuration needs for training, and the memory that there is, in bytes.

Activations follow Korthikanti et al. 2022, "Reducing Activation Recomputation in Large
Transformer Models", section 4, for one device and fused attention, which keeps no scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.training.config import TrainingConfig
from app.transformer.lora_layout import adapter_parameters

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
    """Return what a valid configuration takes.

    Weights, gradients and moments are kept in fp32. AdamW has two moments, Muon one. An average of
    the weights counts as parameters. With adapters only these are trained.
    """
    parameters = trained = config.model_config.num_parameters()
    if config.lora is not None:
        trained = adapter_parameters(config.model_config, config.lora)
        parameters += trained
    averaged = 0 if config.ema_decay is None else trained
    return MemoryEstimate(
        parameters_bytes=_FP32 * (parameters + averaged),
        gradients_bytes=_FP32 * trained,
        optimizer_bytes=_FP32 * (2 * trained - _parameters_of_muon(config)),
        activations_bytes=_activations(config),
    )


def _parameters_of_muon(config: TrainingConfig) -> int:
    model = config.model_config
    return model.num_matrix_parameters() if config.optimizer_type == "muon" else 0


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


_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")  # cgroup v2, v1


def machine_memory() -> int | None:
    """Bytes that processes of this machine or container can have; None where that is unknown.

    A container's limit counts where it is lower than what the machine has.
    """
    limits = [_meminfo("MemTotal"), *(_read_limit(path) for path in _limit_paths())]
    return min((limit for limit in limits if limit), default=None)


def machine_swap() -> int:
    """Bytes of swap that the machine has; a container may be allowed less."""
    return _meminfo("SwapTotal")


def _meminfo(name: str) -> int:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
    except OSError:
        return 0
    rest = next((line.split()[1] for line in lines if line.startswith(f"{name}:")), "0")
    return int(rest) << 10


def _limit_paths() -> list[Path]:
    """Files that may hold a limit of this process's control group, or of one above it."""
    try:
        rows = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for row in rows:
        _, kinds, group = row.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = _CGROUPS / kinds
        own = root / group.lstrip("/")
        folders = [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
        found += [folder / name for folder in {*folders, root} for name in _LIMIT_FILES]
    return found


def _read_limit(path: Path) -> int | None:
    try:
        return int(path.read_text())  # "max" where there is none
    except (OSError, ValueError):
        return None
