"""A run's model at its first step: drawn, given by the caller, or read from `initial_weights`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from app.training import rng
from app.training.adapters import begin_adapters
from app.training.config import TrainingConfig
from app.training.errors import CheckpointError
from app.training.fitting_weights import require_fit
from app.training.freezing import not_named
from app.training.initial_weights import (
    folder_files,
    refused,
    require_base,
    require_own_file,
    weights_path,
)
from app.training.mapped_weights import read_mapped, verify_weights
from app.training.reading import permitted
from app.transformer import GPTModel
from app.transformer.config import TransformerConfig
from app.transformer.errors import ConfigError, FieldProblem, UnsupportedModelError
from app.transformer.huggingface import open_pretrained
from app.transformer.lora import has_adapters, merged_weights
from app.transformer.page_faults import take_pages

logger = logging.getLogger(__name__)

_MOST_NAMED = 4


class GivenWeights(Protocol):
    """Weights that a run can begin with."""

    config: TransformerConfig
    """Of the model that has them."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each tensor, by our names."""

    def copy(self, name: str, target: Tensor) -> None:
        """Copy a tensor into `target`, of its shape."""


class SavedModel:
    """The weights in a checkpoint file."""

    def __init__(self, state: Mapping[str, Any], path: Path) -> None:
        try:
            run = TrainingConfig.from_dict(state["config"])
        except (TypeError, ValueError) as error:
            raise refused(str(path), f"its configuration cannot be read: {error}") from None
        self.config = run.model_config
        self.tokenizer = run.tokenizer if state.get("tokenizer") else None
        """Name of the tokenizer of its run; None where that was trained on ids."""
        self._weights = merged_weights(state["model_state_dict"], run.model_config, run.lora)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self._weights.items()}

    @torch.no_grad()
    def copy(self, name: str, target: Tensor) -> None:
        target.copy_(self._weights[name])


def open_checkpoint(path: Path, *, verified: bool = True) -> SavedModel:
    """Return the weights of a checkpoint file; of the file, nothing but these is read.

    Args:
        verified: check them first. Without, what describes them is checked, and no weight is read.

    Raises:
        ConfigError: It is damaged, or no checkpoint of this library.
    """
    try:
        permitted(path)
        state = read_mapped(path)
        verify_weights(path, state, state["model_state_dict"] if verified else {})
        return SavedModel(state, path)
    except CheckpointError as error:
        raise refused(str(path), str(error)) from None


def build_model(
    config: TrainingConfig, given: GPTModel | None = None, *, resumes: bool = False
) -> GPTModel:
    """Return the model of a run, on the CPU, with its adapters where it has any.

    Args:
        config: says where the weights come from, unless `given` has them.
        given: the caller's own.
        resumes: whether a checkpoint replaces the weights; those of the beginning are not read.

    Raises:
        ConfigError: The initial weights cannot be read or do not fit; it lists all tensors.
    """
    model = given or _base(config, resumes=resumes)
    begin_adapters(config, model, resumes=resumes)
    return model


def _base(config: TrainingConfig, *, resumes: bool) -> GPTModel:
    if config.initial_weights is not None and not resumes:
        return _filled(config, _open(weights_path(config)))
    if not resumes:
        require_base(config)
    with rng.isolated(config.seed):
        return GPTModel(config.model_config)


def _open(path: Path) -> GivenWeights:
    if not path.is_dir():
        require_own_file(path)
        return open_checkpoint(path)
    try:
        for file in folder_files(path):
            permitted(file)
        return open_pretrained(path)
    except (UnsupportedModelError, OSError) as error:
        raise refused(str(path), str(error)) from None


def _filled(config: TrainingConfig, weights: GivenWeights) -> GPTModel:
    model = GPTModel.unfilled(config.model_config)
    require_fit(config, weights.config, weights.shapes())
    take_pages(model.parameters())
    shapes = weights.shapes()
    for name, parameter in model.named_parameters():
        if shapes[name] == tuple(parameter.shape):
            weights.copy(name, parameter)
        else:
            _copy_rows(weights, name, parameter)
    logger.info("the run begins with the weights of %s", config.initial_weights)
    return model


@torch.no_grad()
def _copy_rows(weights: GivenWeights, name: str, target: Tensor) -> None:
    """Copy the rows of a vocabulary of another size; new ones are the mean of the others."""
    whole = torch.empty(weights.shapes()[name])
    weights.copy(name, whole)
    old, new = len(whole), len(target)
    kept = min(old, new)
    target[:kept] = whole[:kept]
    target[kept:] = whole.mean(0)
    what = f"the last {old - new} rows are gone"
    if new > old:
        what = f"{new - old} new rows are the mean of the others"
    logger.warning("%s is resized from %d to %d ids: %s", name, old, new, what)


def take_given_model(config: TrainingConfig, model: GPTModel) -> None:
    """Let the configuration describe a model that the caller has built.

    Raises:
        TypeError: It is a model of another library.
        ConfigError: It describes another one, or names `initial_weights` as well, or what the model
            trains is not what the configuration says.
    """
    if not isinstance(cast("Any", model), GPTModel):
        what = f"`model` is a {type(model).__name__}; it must be a GPTModel"
        raise TypeError(f"{what}, such as `huggingface.from_pretrained(folder)` returns")
    _require_trainable(config, model)
    if config.initial_weights is not None:
        raise refused(config.initial_weights, "the model is given; leave one of the two out")
    described = config.model_config
    if described != TransformerConfig() and described != model.config:
        differing = ", ".join(
            f"{name} is {value!r} and the model has {getattr(model.config, name)!r}"
            for name, value in described.to_dict().items()
            if value != model.config.to_dict()[name]
        )
        message = f"`model_config` is not that of the given model: {differing}; leave it out"
        raise ConfigError([FieldProblem("model_config", message)])
    config.model_config = model.config


def _require_trainable(config: TrainingConfig, model: GPTModel) -> None:
    """Raise `ConfigError` where the caller has decided what is trained; a resume must know it."""
    if has_adapters(model):
        rule = (
            "the given model has adapters; merge them by `merge_adapters(model)`, and let `lora` "
        )
        raise ConfigError([FieldProblem("lora", f"{rule}add those of the run")])
    if config.lora is not None:
        return
    parameters = dict(model.named_parameters())
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    # All are in a model that was loaded to write text.
    if len(frozen) < len(parameters) and (others := not_named(frozen, model, config.freeze)):
        listed = ", ".join(others[:_MOST_NAMED])
        rule = f"`freeze` is {config.freeze} and the given model's {listed} take no gradient"
        raise ConfigError([FieldProblem("freeze", f"{rule}; name them in `freeze` too")])
