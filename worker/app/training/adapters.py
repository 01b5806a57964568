"""The adapters of a run (`lora`): put on its model, and begun from a folder of `peft`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from app.training import rng
from app.training.config import TrainingConfig
from app.training.errors import ResumeError
from app.training.initial_weights import adapter_file
from app.transformer import GPTModel
from app.transformer.errors import ConfigError
from app.transformer.lora import add_adapters
from app.transformer.lora_layout import LoraConfig, target_problems
from app.transformer.peft_files import factors

logger = logging.getLogger(__name__)

# A run may go on with another value of this one.
_FREE_TO_CHANGE = {"dropout"}


def begin_adapters(config: TrainingConfig, model: GPTModel, *, resumes: bool) -> None:
    """Put the adapters of `config.lora`, where there are any, on a model.

    Args:
        config: of the run.
        model: its weights are frozen then.
        resumes: whether a checkpoint replaces the adapters; `initial_adapter` is not read.

    Raises:
        ConfigError: A target means no layer, or the initial adapter cannot be read or does not fit.
    """
    if config.lora is None:
        return
    if problems := target_problems(model.config, config.lora):
        raise ConfigError(problems)
    with rng.isolated(config.seed):
        add_adapters(model, config.lora)
    if config.initial_adapter is not None and not resumes:
        _copy(model, config.lora, adapter_file(config))
        logger.info("the adapters begin as those of %s", config.initial_adapter)


@torch.no_grad()
def _copy(model: GPTModel, lora: LoraConfig, file: Path) -> None:
    with safe_open(file, framework="pt") as stored:
        for name, factor in factors(model.config, lora).items():
            factor.of(model.get_parameter(factor.parameter)).copy_(stored.get_tensor(name))


def require_same_adapters(saved: Mapping[str, Any], config: TrainingConfig, path: str) -> None:
    """Raise `ResumeError` where a checkpoint's run trained other adapters, or none."""
    before, now = _shape_of(saved), _shape_of(config.to_dict())
    if before != now:
        raise ResumeError(
            f"`lora` is {now} and was {before} in the checkpoint {path}; resume with the same, or "
            f"begin a run with `initial_weights: {path}`, which merges its adapters"
        )


def _shape_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    if (lora := config.get("lora")) is None:
        return None
    return {name: lora[name] for name in lora if name not in _FREE_TO_CHANGE}
