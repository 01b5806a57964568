"""Whether tokenizer, data, batch and memory fit a configuration: each rule and its words, once.

A rule is checked wherever its facts become known: by a control plane from sizes and names, by
`load_dataset` and the trainer from what they have read. Never imports torch or numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.training.config import TrainingConfig
from app.training.memory import estimate_memory
from app.transformer.errors import ConfigError, FieldProblem

_VOCABULARY = "model_config.vocab_size"
_ROWS_OF_PADDING = 128
"""Vocabularies are often rounded up to a multiple of 64 or 128, which is not a mistake."""


def too_small_vocabulary(config: TrainingConfig, name: str, size: int) -> FieldProblem | None:
    """Return the problem of a tokenizer with ids that the model has no row for, or None."""
    vocab_size = config.model_config.vocab_size
    if vocab_size >= size:
        return None
    remedy = f"set vocab_size to at least {size}"
    if config.initial_weights is not None and not config.resize_vocabulary:
        remedy += " and `resize_vocabulary: true`"
    return FieldProblem(
        _VOCABULARY,
        f"`{_VOCABULARY}` is {vocab_size} and the tokenizer {name!r} has {size} ids; there must be "
        f"a row for each; {remedy}, or choose another tokenizer",
    )


def unused_vocabulary(config: TrainingConfig, name: str, size: int) -> FieldProblem | None:
    """Return the warning of a vocabulary much larger than the tokenizer's.

    Its other rows cost memory and are never trained.
    """
    vocab_size = config.model_config.vocab_size
    unused = vocab_size - size
    if unused <= _ROWS_OF_PADDING or unused <= size // 10:
        return None
    return FieldProblem(
        _VOCABULARY,
        f"`{_VOCABULARY}` is {vocab_size} and the tokenizer {name!r} has {size} ids: {unused:,} "
        f"rows of the embedding are never used; set vocab_size to {size}, or name the tokenizer "
        "that the vocabulary is of",
    )


def split_at(count: int, config: TrainingConfig) -> int:
    """Of `count` tokens the number that trains; the rest is held back for validation."""
    if config.val_dataset_path is not None:
        return count
    return int(count * (1 - config.val_fraction))


def window_count(tokens: int, length: int) -> int:
    """Windows of `length + 1` tokens that fit at every offset below `length`, one at least."""
    return max(1, tokens // length - 1)


def too_short(path: str | Path, count: int, config: TrainingConfig, most: str = "") -> str | None:
    """Return why `count` tokens are too few to train on, or None; `most` is "at most " or ""."""
    length, split = config.get_sequence_length(), split_at(count, config)
    if count == 0:
        return f"{str(path)!r} is empty; it must hold text or ids; check the path"
    if split > length:
        return None
    return (
        f"{str(path)!r} has {most}{count} tokens, of which {count - split} are held back "
        f"for validation; training needs at least sequence_length + 1 = {length + 1}; lower "
        "`sequence_length`, or give more text"
    )


def too_short_validation(path: str | Path, count: int) -> str | None:
    """Return why `count` tokens are too few to validate on, or None."""
    if count >= 2:
        return None
    return (
        f"the validation part of {str(path)!r} has {count} token; it must have at least 2; "
        "raise `val_fraction`, or set it to 0 to train without validation"
    )


def short_validation(path: str | Path, count: int, config: TrainingConfig) -> FieldProblem | None:
    """Return the warning of validation data too small to say much, or None."""
    length = config.get_sequence_length()
    if count > length:
        return None
    return FieldProblem(
        "val_fraction" if config.val_dataset_path is None else "val_dataset_path",
        f"the validation part of {str(path)!r} has {count} tokens, less than one window of "
        f"sequence_length + 1 = {length + 1}: its loss says little; give more",
    )


def step_beyond_data(samples: int, batch: int, accumulation: int) -> FieldProblem | None:
    """Return the warning of a step that takes more samples than there are, or None."""
    if samples >= batch * accumulation:
        return None
    if samples < batch:
        problem = f"a batch is {batch} samples and the data are {samples}: each"
        remedy = "lower `batch_size`, shorten `sequence_length`, or bring more text"
        return FieldProblem("batch_size", f"{problem} step trains on all of them; {remedy}")
    return FieldProblem(
        "gradient_accumulation_steps",
        f"a step is {accumulation} batches of {batch} samples and the data are {samples}: each "
        "step trains on some of them more than once; lower `gradient_accumulation_steps`, shorten "
        "`sequence_length`, or bring more text",
    )


@dataclass(frozen=True, slots=True)
class MemoryPool:
    """The memory that one or more processes of a run share."""

    name: str
    """What has it: "this machine", "cuda:0"."""
    memory_bytes: int
    swap_bytes: int = 0
    copies: float = 1
    """Copies of weights and optimizer in it; less than 1 where each device has a shard."""
    processes: int = 1
    """Processes in it, each with activations of its own."""


def beyond_memory(config: TrainingConfig, room: MemoryPool) -> FieldProblem | None:
    """Return the warning of a run that probably does not fit the memory, or None."""
    estimate = estimate_memory(config)
    needed = _state(config, room) + estimate.activations_bytes * room.processes
    if needed <= room.memory_bytes:
        return None
    return FieldProblem(
        "model_config",
        f"training takes about {_size(needed)}, and {room.name} has {_size(room.memory_bytes)}; "
        "lower `batch_size`, shorten `sequence_length`, set `gradient_checkpointing: true`, or "
        "choose a smaller model",
    )


def state_beyond_memory(config: TrainingConfig, room: MemoryPool) -> str | None:
    """Return why a run certainly does not fit: weights, gradients and moments alone are larger."""
    state, memory = _state(config, room), room.memory_bytes + room.swap_bytes
    if state <= memory:
        return None
    return (
        f"weights, gradients and optimizer take {_size(state)}, and {room.name} has "
        f"{_size(memory)}; choose a smaller model, or a machine with more memory"
    )


def _state(config: TrainingConfig, room: MemoryPool) -> float:
    estimate = estimate_memory(config)
    return (estimate.total_bytes - estimate.activations_bytes) * room.copies


def _size(number: float) -> str:
    """Bytes for people: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.4g} {unit}"


def needs_of_validation(config: TrainingConfig) -> list[FieldProblem]:
    """Return a problem for each field that means nothing without validation data."""
    problems, stopping = [], config.early_stopping
    if stopping is not None and "val_" in stopping.metric:
        what = f"`early_stopping.metric` is {stopping.metric!r} and there is no validation data"
        remedy = "name some in val_dataset_path, raise val_fraction, or take the metric loss"
        problems.append(FieldProblem("early_stopping.metric", f"{what}; {remedy}"))
    if count := len(config.sample_prompts):
        what = f"`sample_prompts` has {count}, which are continued after each evaluation, and there"
        remedy = "name some in val_dataset_path, raise val_fraction, or leave the prompts out"
        problems.append(FieldProblem("sample_prompts", f"{what} is no validation data; {remedy}"))
    return problems


def require_validation(config: TrainingConfig, *, has_validation: bool) -> None:
    """Raise `ConfigError` where there is no validation data, and the configuration needs some."""
    if not has_validation and (problems := needs_of_validation(config)):
        raise ConfigError(problems)
