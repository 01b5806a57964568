"""Checks that a run can continue from a checkpoint, and says what will not be bitwise the same."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from app.training.adapters import require_same_adapters
from app.training.checkpoint import CheckpointManager
from app.training.config import TrainingConfig, flatten
from app.training.distributed import Ranks
from app.training.errors import ResumeError
from app.training.freezing import require_same_frozen
from app.training.home import expanded
from app.training.initial_weights import MODEL_FIELDS_FREE_TO_CHANGE
from app.training.tokenizer import TokenizerError, require_same_tokenizer
from app.transformer.config import TransformerConfig

logger = logging.getLogger(__name__)

# These never change what a resumed run computes.
_FIELDS_WITHOUT_EFFECT = {
    "resume_from_checkpoint",
    "checkpoint_dir",
    "initial_adapter",
    "initial_weights",
    "resize_vocabulary",
}


def checkpoint_to_resume(where: bool | str, manager: CheckpointManager, ranks: Ranks) -> str:
    """Return the checkpoint file that `resume_from_checkpoint` means.

    Empty where it is True and `checkpoint_dir` has no checkpoint: the run begins at step 0.

    Raises:
        ResumeError: The named folder has no checkpoint, or no checkpoint is sound. To begin at
            step 0 would move damaged checkpoints out of the way, so a person has to decide.
    """
    folder = manager.checkpoint_dir if where is True else expanded(str(where))
    if where is not True and not folder.is_dir():
        return str(folder)
    latest, problems = manager.find_latest(folder) if ranks.is_main else (None, [])
    # Rank 0 looks for all ranks: a later look might find another checkpoint.
    path, trouble = ranks.broadcast(latest or ""), ranks.broadcast("; ".join(problems))
    if path and not Path(path).exists():
        raise ResumeError(
            f"rank {ranks.rank} finds no checkpoint {path}, which rank 0 has found; all nodes need "
            "a path of the same folder; put `checkpoint_dir` on a disk that they share"
        )
    if path or (where is True and not trouble):
        return path
    trouble = trouble or f"{folder} is a folder without any file checkpoint_step_N.pt"
    raise ResumeError(
        f"there is no checkpoint to resume from: {trouble}; name another file or folder, or leave "
        "the resume out to begin at step 0"
    )


def check_fits(state: Mapping[str, Any], config: TrainingConfig, tokenizer: Any, path: str) -> None:
    """Raise `ResumeError` if the run cannot continue this checkpoint, saying why and what helps."""
    if "rng_state" not in state:
        raise ResumeError(
            f"the checkpoint {path} holds weights but no run (it was saved by hand); a trainer "
            "resumes from what a trainer saved; load it with CheckpointManager instead"
        )
    _check_model(state["config"], config, path)
    require_same_frozen(state["config"], config.freeze, path)
    require_same_adapters(state["config"], config, path)
    if config.max_steps < state["step"]:
        raise ResumeError(
            f"`max_steps` is {config.max_steps} and the checkpoint {path} is at step "
            f"{state['step']}; it must be at least that; raise max_steps, or resume from an "
            "earlier checkpoint"
        )
    saved = state.get("tokenizer")
    if saved is not None and tokenizer is not None:
        try:
            require_same_tokenizer(tokenizer, saved)
        except TokenizerError as error:
            raise ResumeError(f"cannot resume from {path}: {error}") from None


def _check_model(saved: Mapping[str, Any], config: TrainingConfig, path: str) -> None:
    # A checkpoint of an earlier release lacks fields that have been added since.
    known, _ = TransformerConfig.read(saved.get("model_config", {}))
    theirs, ours = known.to_dict(), config.model_config.to_dict()
    differing = [
        f"{name} is {ours.get(name)!r} and was {theirs.get(name)!r}"
        for name in ours
        if name not in MODEL_FIELDS_FREE_TO_CHANGE and ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise ResumeError(
            f"the checkpoint {path} is of another model: in model_config "
            f"{', '.join(sorted(differing))}; use the checkpoint's model_config, or start a new "
            "run in another checkpoint_dir"
        )


def config_changes(saved: Mapping[str, Any], config: TrainingConfig) -> list[str]:
    """Return the fields that differ from the checkpoint's, as lines `name: before -> now`."""
    before, now = flatten(saved), flatten(config.to_dict())
    return [
        f"{name}: {before.get(name)} -> {now.get(name)}"
        for name in dict.fromkeys([*now, *before])
        if before.get(name) != now.get(name) and name not in _FIELDS_WITHOUT_EFFECT
    ]


def report_changes(saved: Mapping[str, Any], config: TrainingConfig) -> None:
    """Print what has changed in the configuration since the checkpoint, if anything."""
    if changes := config_changes(saved, config):
        logger.warning("the configuration changed on resume:\n  %s", "\n  ".join(changes))


def precision_notes(saved: Mapping[str, Any], config: TrainingConfig) -> list[str]:
    """Return a note where `mixed_precision` differs from the checkpoint's, and log it."""
    before, now = saved.get("mixed_precision"), config.mixed_precision
    if before == now:
        return []
    note = f"mixed_precision is {now} and was {before}"
    if now == "fp16":
        note += "; loss scaling begins with a fresh scale"
    logger.warning("the run is no longer bitwise what it would have been: %s", note)
    return [note]


def environment(device: torch.device, processes: str) -> dict[str, Any]:
    """Return what the bits of a run depend on besides its configuration and data.

    `processes` says how many train together, and how (`Ranks.description`).
    """
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "torch_version": str(torch.__version__),
        "device": kind,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        "processes": processes,
    }


def environment_summary(device: torch.device) -> str:
    """Return in one line what a run on a device runs on, for people."""
    found = environment(device, "")
    return (
        f"Python {platform.python_version()}, torch {found['torch_version']}, {found['device']}, "
        f"{found['num_threads']} CPU threads ({found['cpu_capability']}), {platform.platform()}"
    )


def restore_environment(
    saved: Mapping[str, Any], device: torch.device, processes: str
) -> list[str]:
    """Take the recorded number of threads; return, and log, whatever cannot be kept."""
    if saved.get("num_threads"):
        # Sums are split by threads: with another number they round differently.
        torch.set_num_threads(int(saved["num_threads"]))
    ours = environment(device, processes)
    before = {"processes": "1", **saved}  # before it was recorded, every run was one process
    lost = [
        f"{name} is {ours[name]} and was {before.get(name)}"
        for name in ours
        if before.get(name) != ours[name]
    ]
    if lost:
        logger.warning("the run is no longer bitwise what it would have been: %s", "; ".join(lost))
    return lost
