"""Checkpoints of a run: saved whole, listed by manifest, rotated, and loaded only when sound."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from app.training import checkpoint_file as files
from app.training.checkpoint_file import FORMAT_VERSION, CheckpointInfo
from app.training.config import TrainingConfig
from app.training.errors import CheckpointError
from app.training.home import expanded

__all__ = ["CheckpointError", "CheckpointInfo", "CheckpointManager"]

logger = logging.getLogger(__name__)


class CheckpointManager:
    """The checkpoints in one folder.

    Args:
        checkpoint_dir: their folder; made at the first save.
        max_checkpoints: complete checkpoints kept, >= 1. The newest, the best and protected ones
            are never deleted and count as well.
    """

    def __init__(self, checkpoint_dir: str | os.PathLike[str], max_checkpoints: int = 5) -> None:
        if max_checkpoints < 1:
            raise ValueError(
                f"`max_checkpoints` is {max_checkpoints}; it must be at least 1; try 5"
            )
        self.checkpoint_dir = expanded(checkpoint_dir)
        self.max_checkpoints = max_checkpoints
        self.on_rotate: Callable[[list[str]], None] = lambda paths: None
        """Called with the paths about to be deleted; an exception keeps them."""
        self.before_write: Callable[[], None] | None = None
        """Called before each save, in its thread; an exception fails the save."""
        self._protected: set[Path] = set()
        self._verified: dict[Path, tuple[int, int, int]] = {}

    # -- saving ------------------------------------------------------------------------------

    def save_checkpoint(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        scheduler: Any,
        step: int,
        loss: float,
        config: Any,
        *,
        metric: tuple[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Save synchronously, delete surplus checkpoints, and return the path.

        `metric` (name, value; smaller is better) decides which is the best; without it the loss
        does. `extra` is stored beside the usual keys.

        Raises:
            CheckpointError: The checkpoint cannot be written, for example on a full disk.
        """
        state = build_state(model, optimizer, scheduler, step, loss, config, extra)
        info = self.write(state, metric or ("loss", float(loss)))
        self._rotate_checkpoints(keep=[info.path])
        return info.path

    def path_of(self, step: int) -> Path:
        """Return the path of the checkpoint of a step."""
        return self.checkpoint_dir / f"checkpoint_step_{step}.pt"

    def write(
        self,
        state: Mapping[str, Any],
        metric: tuple[str, float] | None = None,
        before_rename: Callable[[], object] | None = None,
    ) -> CheckpointInfo:
        """Write one checkpoint from a finished state; safe to call from another thread."""
        if self.before_write is not None:
            self.before_write()
        path = self.path_of(int(state["step"]))
        info = files.write_checkpoint(path, state, metric, before_rename)
        self._verified[path] = _identity(path)
        return info

    # -- listing -----------------------------------------------------------------------------

    def list_checkpoints(self) -> list[dict[str, Any]]:
        """Return complete checkpoints by ascending step.

        Each has `path, step, loss, timestamp, size_bytes, is_best` and what else its manifest
        holds.
        """
        return [dataclasses.asdict(info) for info in self.infos()]

    def infos(self) -> list[CheckpointInfo]:
        """Complete checkpoints by ascending step. Incomplete ones are passed over."""
        infos = []
        for path in self._candidates():
            try:
                info = files.read_manifest(path)
                files.verify_size(info)
            except CheckpointError as error:
                logger.debug("passing over %s", error)
            else:
                infos.append(info)
        return _mark_best(sorted(infos, key=lambda info: info.step))

    def get_latest_checkpoint(self) -> str | None:
        """Path of the newest checkpoint whose content is sound, or None.

        One without its manifest is verified by its own checksums. Damaged ones are passed over with
        a warning that names them.
        """
        return self.find_latest()[0]

    def find_latest(self, folder: Path | None = None) -> tuple[str | None, list[str]]:
        """Return the newest sound checkpoint, if any, and what is wrong with each newer one.

        `folder` may name another than this manager's own.
        """
        problems: list[str] = []
        for path in sorted(self._candidates(folder), key=_step_of, reverse=True):
            try:
                self._verify(path)
            except CheckpointError as error:
                logger.warning("passing over a checkpoint: %s", error)
                problems.append(str(error))
            else:
                return str(path), problems
        return None, problems

    def _candidates(self, folder: Path | None = None) -> list[Path]:
        try:
            entries = list((folder or self.checkpoint_dir).iterdir())
        except FileNotFoundError:
            return []
        return [path for path in entries if files.step_in_name(path) is not None]

    # -- loading -----------------------------------------------------------------------------

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        model: nn.Module | None = None,
        optimizer: Optimizer | None = None,
        scheduler: Any = None,
    ) -> tuple[int, float, Any]:
        """Load one checkpoint into the given objects and return `(step, loss, config)`.

        Raises:
            CheckpointError: The file is damaged, foreign or of another model; nothing is changed
                then.
        """
        state = self.load_state(path)
        if model is not None:
            load_model(model, state["model_state_dict"], Path(path))
        if optimizer is not None and state["optimizer_state_dict"] is not None:
            optimizer.load_state_dict(state["optimizer_state_dict"])
        if scheduler is not None and state["scheduler_state_dict"] is not None:
            scheduler.load_state_dict(state["scheduler_state_dict"])
        return int(state["step"]), float(state["loss"]), _config_from(state["config"], Path(path))

    def load_state(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Return the verified content of one checkpoint, in this folder or any other.

        A file without manifest (a download) is verified by the checksums inside it.
        """
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f"there is no checkpoint {path}; check the path")
        self._verify(path)
        return files.read_state(path)

    def _verify(self, path: Path) -> None:
        """Check a file that is about to be loaded; it is read once, not twice.

        Raises:
            CheckpointError: The file is not sound.
        """
        listed = files.manifest_path(path).exists()
        if listed:
            files.verify_size(info := files.read_manifest(path))
        if self._verified.get(path) == _identity(path):
            return
        if listed:
            files.verify(info)
        else:
            logger.warning("%s has no manifest; its own checksums are verified instead", path)
            files.verify_unlisted(path)
        self._verified[path] = _identity(path)

    # -- keeping and deleting ----------------------------------------------------------------

    def protect(self, path: str | os.PathLike[str]) -> None:
        """Exclude a checkpoint from rotation: a run that resumed from it may need it again."""
        self._protected.add(Path(path).resolve())

    def _rotate_checkpoints(self, keep: Iterable[str] = ()) -> list[str]:
        """Delete the oldest complete checkpoints beyond `max_checkpoints`; return their paths."""
        infos = self.infos()
        retained = {Path(path).resolve() for path in keep} | self._protected
        retained |= {
            Path(info.path).resolve() for info in infos if info.is_best or info is infos[-1]
        }
        spare = [info.path for info in infos if Path(info.path).resolve() not in retained]
        surplus = spare[: max(len(infos) - self.max_checkpoints, 0)]
        if surplus:
            self.on_rotate(surplus)
        for path in surplus:
            self.delete(path)
        return surplus

    def delete(self, path: str | os.PathLike[str]) -> None:
        """Delete one checkpoint, manifest first, so that it is never half there."""
        files.manifest_path(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)
        self._verified.pop(Path(path), None)

    def set_aside(self, beyond_step: int, label: str) -> Path | None:
        """Move checkpoints of later steps into a folder of their own, `{label}-{n}`.

        A run that begins again, or goes back, must neither mix with them nor destroy them.
        Returns the folder, or None if there was nothing to move.
        """
        later = [path for path in self._candidates() if _step_of(path) > beyond_step]
        if not later:
            return None
        folder = free_folder(self.checkpoint_dir, label)
        for path in later:
            manifest = files.manifest_path(path)
            if manifest.exists():
                os.replace(manifest, folder / manifest.name)
            os.replace(path, folder / path.name)
        files.sync_folder(self.checkpoint_dir)
        return folder


def build_state(
    model: nn.Module,
    optimizer: Optimizer | None,
    scheduler: Any,
    step: int,
    loss: float,
    config: Any,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the documented keys of a checkpoint, and `extra` beside them.

    The tensors are the live ones.
    """
    return {
        "format_version": FORMAT_VERSION,
        "model_state_dict": plain_model(model).state_dict(),
        "optimizer_state_dict": optimizer.state_dict() if optimizer is not None else None,
        "scheduler_state_dict": scheduler.state_dict() if scheduler is not None else None,
        "step": int(step),
        "loss": float(loss),
        "config": _config_values(config),
        "timestamp": time.time(),
        **(extra or {}),
    }


def plain_model(model: nn.Module) -> nn.Module:
    """Return the model inside what torch.compile or a data-parallel wrapper made of it.

    Their prefixes (`_orig_mod.`, `module.`) would tie a checkpoint to how it was trained.
    """
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def load_model(
    model: nn.Module, weights: Mapping[str, Any], path: Path, *, mapped: bool = False
) -> None:
    """Copy weights into a model of the same shape; with `mapped` the model takes them as they are.

    Raises:
        CheckpointError: The weights have other names or shapes; the model is unchanged then.
    """
    own = plain_model(model).state_dict()
    misfits = [
        f"{name}: {_shape(own.get(name))} here, {_shape(weights.get(name))} in the checkpoint"
        for name in sorted(own.keys() | weights.keys())
        if _shape(own.get(name)) != _shape(weights.get(name))
    ]
    if misfits:
        raise CheckpointError(
            f"{path} is of another model: {'; '.join(misfits[:3])}"
            f"{f' and {len(misfits) - 3} more' if len(misfits) > 3 else ''}; "
            "use the model_config that it was trained with"
        )
    plain_model(model).load_state_dict(weights, assign=mapped)


def _shape(tensor: Any) -> str:
    return "absent" if tensor is None else str(list(tensor.shape))


def _config_values(config: Any) -> Any:
    if hasattr(config, "to_dict"):
        return config.to_dict()
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return dict(config) if isinstance(config, Mapping) else config


def _config_from(values: Any, path: Path) -> Any:
    if not isinstance(values, Mapping) or "model_config" not in values:
        return values
    try:
        return TrainingConfig.from_dict(values)
    except ValueError as error:
        raise CheckpointError(f"{path} holds a configuration of another release: {error}") from None


def _mark_best(infos: list[CheckpointInfo]) -> list[CheckpointInfo]:
    """Mark the smallest value of the metric that the newest measured one has; ties: the newest."""
    measured = [info for info in infos if info.metric_value is not None]
    if not measured:
        return infos
    compared = [info for info in measured if info.metric == measured[-1].metric]
    best = min(reversed(compared), key=lambda info: info.metric_value or 0.0)
    return [dataclasses.replace(info, is_best=info is best) for info in infos]


def _step_of(path: Path) -> int:
    step = files.step_in_name(path)
    return -1 if step is None else step


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def free_folder(parent: Path, label: str) -> Path:
    """Make and return the first of `{label}-1`, `{label}-2`, ... that does not exist."""
    number = 1
    while True:
        folder = parent / f"{label}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
