"""What `initial_weights` say of a run before a weight is read: its model and its tokenizer.

The weights themselves are read by `initial_model`. Importing this never imports torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from app.training.config import TrainingConfig
from app.training.home import expanded
from app.training.reading import permitted
from app.training.tokenizer_files import is_made_of_text
from app.transformer.config import TransformerConfig
from app.transformer.errors import ConfigError, FieldProblem
from app.transformer.fields import shown
from app.transformer.found_model import config_of_folder
from app.transformer.peft_files import DESCRIPTION, WEIGHTS, find_adapter
from app.transformer.weight_files import weight_files

logger = logging.getLogger(__name__)

MODEL_FIELDS_FREE_TO_CHANGE = frozenset(
    {"dropout_rate", "initializer_range", "zero_init_output_projections"}
)
"""Fields of `model_config` that a run may set to other values than those of its checkpoint;
everything else there is the model itself."""

_FIELD = "initial_weights"


class Origin(NamedTuple):
    """What a run begins with, as far as it is known."""

    model: TransformerConfig
    tokenizer: str | None
    """The configuration's word for the tokenizer of the weights; None where there is none."""


def complete_from_weights(config: TrainingConfig) -> None:
    """Fill in model and tokenizer from `initial_weights`, where the configuration leaves them out.

    A run that resumes takes them from its checkpoint, and does not look at the weights again.

    Raises:
        ConfigError: The weights cannot be read, or the completed configuration has problems.
    """
    if not config.has_open_model():
        return
    origin = _origin_of_resumed_run(config) or origin_of(weights_path(config))
    take_origin(config, origin)
    config.validate()
    logger.info(
        "%s: the model and tokenizer %r are theirs", config.initial_weights, config.tokenizer
    )


def require_base(config: TrainingConfig) -> None:
    """Raise `ConfigError` for adapters that have no weights to be trained beside."""
    if config.lora is not None and config.initial_weights is None:
        rule = "adapters are trained beside given weights; name them, or leave `lora` out"
        message = f"`initial_weights` is not set and `lora` is: {rule}"
        raise ConfigError([FieldProblem(_FIELD, message)])


def take_origin(config: TrainingConfig, origin: Origin) -> None:
    """Fill in what the weights say.

    Raises:
        ConfigError: There is no tokenizer beside them, and none is named.
    """
    if origin.tokenizer is None and not config.has_named_tokenizer():
        why = "no tokenizer.json is beside it; name the `tokenizer` that its ids are of"
        raise refused(config.initial_weights or "", why)
    config.take_model(origin.model, origin.tokenizer)


def weights_path(config: TrainingConfig) -> Path:
    """Return the file or folder of the initial weights.

    Raises:
        ConfigError: There is none.
    """
    named = config.initial_weights or ""
    if named.startswith("checkpoint://"):
        raise refused(named, "only the service knows checkpoints by their id; name a file")
    if "://" in named:
        raise refused(named, "weights are read from files; download them, and name their folder")
    try:
        path = permitted(expanded(named))
        is_there = path.exists()
    except (OSError, ValueError) as error:
        raise refused(named, str(error)) from None
    if not is_there:
        why = (
            "there is no such file or folder; check the path; a model of the Hugging Face Hub has "
        )
        raise refused(named, f"{why}to be downloaded first")
    return path


def origin_of(path: Path, require: Callable[[Path], object] = permitted) -> Origin:
    """Return the model and tokenizer of a Hugging Face folder or a checkpoint file.

    `require` raises for a file of the folder that may not be read.

    Raises:
        ConfigError: It is neither, or damaged.
    """
    if not path.is_dir():
        require_own_file(path)
        return _origin_of_checkpoint(path)
    try:
        for file in folder_files(path):
            require(file)
        model = config_of_folder(path)
    except (OSError, ValueError) as error:
        raise refused(str(path), str(error)) from None
    return Origin(model, str(path) if (path / "tokenizer.json").is_file() else None)


def require_own_file(path: Path) -> None:
    """Raise `ConfigError` for a file of a Hugging Face folder, which is no checkpoint."""
    if path.suffix != ".pt" and (path.parent / "config.json").exists():
        why = "it is a file of a Hugging Face model and no checkpoint; name its folder, "
        raise refused(str(path), f"{why}{str(path.parent)!r}")


def adapter_file(config: TrainingConfig, require: Callable[[Path], object] = permitted) -> Path:
    """Return the file with the adapters that `initial_adapter` names, which fit the run.

    `require` raises for a file of the folder that may not be read.

    Raises:
        ConfigError: They are of another base, rank or layers, or cannot be read.
    """
    named, lora = config.initial_adapter or "", config.lora
    assert lora is not None
    folder = expanded(named)
    try:
        for file in (folder / DESCRIPTION, folder / WEIGHTS):
            if file.exists():
                require(file)
        return find_adapter(folder, config.model_config, lora)
    except (OSError, ValueError) as error:
        message = f"`initial_adapter` is {named!r}; {error}"
        raise ConfigError([FieldProblem("initial_adapter", message)]) from None


def folder_files(folder: Path) -> list[Path]:
    """Return the files of a Hugging Face folder that are read; links may lead elsewhere."""
    files, _ = weight_files(folder)
    beside = [folder / name for name in ("config.json", "tokenizer.json")]
    return [*files, *(file for file in beside if file.exists())]


def refused(named: str, why: str) -> ConfigError:
    """Return the error for weights that a run cannot begin with."""
    return ConfigError([FieldProblem(_FIELD, f"`{_FIELD}` is {shown(named)}; {why}")])


def _origin_of_resumed_run(config: TrainingConfig) -> Origin | None:
    from app.training.data.continued import checkpoint_to_continue

    if not config.resume_from_checkpoint:
        return None
    path = checkpoint_to_continue(config)
    return None if path is None else _origin_of_checkpoint(path)


def _origin_of_checkpoint(path: Path) -> Origin:
    from app.training.initial_model import open_checkpoint

    saved = open_checkpoint(path, verified=False)
    return Origin(saved.config, saved.tokenizer)


def continues_tokenizer(config: TrainingConfig) -> bool:
    """Whether the tokenizer is made of text: that of the checkpoint that has the weights."""
    return (
        config.initial_weights is not None
        and is_made_of_text(config.tokenizer)
        and expanded(config.initial_weights).is_file()
    )
