"""What a job's `initial_weights` say of its model, as far as it can be seen from here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from app.training.config import ConfigError, TrainingConfig
from app.training.fitting_weights import require_fit
from app.training.freezing import pattern_problems
from app.training.initial_weights import (
    Origin,
    adapter_file,
    origin_of,
    require_base,
    require_own_file,
    take_origin,
)
from control_plane.paths import AllowedRoots
from control_plane.state import ServiceState

CHECKPOINT_SCHEME = "checkpoint://"
_FIELD, _ADAPTER = "initial_weights", "initial_adapter"


async def take_initial_weights(config: TrainingConfig, state: ServiceState) -> None:
    """Fill in the path of the weights, and what they say of model and tokenizer.

    An adapter for them is checked too.

    A checkpoint file is read by the worker alone: it holds more than a header.

    Raises:
        RpcError: The path is not allowed, or does not exist.
        NotFoundError: There is no checkpoint with this id.
        ConfigError: The weights cannot be used, or do not make a valid configuration.
    """
    require_base(config)
    if config.initial_weights is None:
        if problems := pattern_problems(config.model_config, config.freeze):
            raise ConfigError(problems)
        return
    if config.initial_weights.startswith(CHECKPOINT_SCHEME):
        origin = await _origin_of_checkpoint(config.initial_weights, state)
    else:
        config.initial_weights = state.roots.check(_FIELD, config.initial_weights)
        origin = await asyncio.to_thread(_visible_origin, config.initial_weights, state.roots)
    if origin is not None and config.has_open_model():
        take_origin(config, origin)
        config.validate()
    if origin is not None:
        await asyncio.to_thread(require_fit, config, origin.model)
    if config.initial_adapter is not None:
        config.initial_adapter = state.roots.check(_ADAPTER, config.initial_adapter)
        if state.roots.visible and not config.has_open_model():
            await asyncio.to_thread(_check_adapter, config, state.roots)


def _check_adapter(config: TrainingConfig, roots: AllowedRoots) -> None:
    adapter_file(config, lambda file: roots.check(_ADAPTER, str(file)))


async def _origin_of_checkpoint(named: str, state: ServiceState) -> Origin | None:
    record = await state.jobs.get_checkpoint(named.removeprefix(CHECKPOINT_SCHEME))
    job = await state.jobs.get(record.job_id)
    try:
        config = TrainingConfig.from_dict(json.loads(job.config_document))
    except ConfigError:
        return None  # of another release; the worker reads the file
    return None if config.has_open_model() else Origin(config.model_config, config.tokenizer)


def _visible_origin(path: str, roots: AllowedRoots) -> Origin | None:
    folder = Path(path)
    if not roots.visible:
        return None
    if not folder.is_dir():
        require_own_file(folder)
        return None
    # A file of the folder may be a link to elsewhere.
    return origin_of(folder, lambda file: roots.check(_FIELD, str(file)))
