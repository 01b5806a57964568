"""The model of a run with all that trains it: its layout, optimizer, schedule and stepper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.training.averaging import AveragedWeights
from app.training.checkpoint import build_state, load_model
from app.training.compiling import compiled
from app.training.config import TrainingConfig
from app.training.distributed import Ranks
from app.training.distributed_model import build_layout
from app.training.freezing import freeze
from app.training.scheduler import build_scheduler
from app.training.stepping import build_optimizer
from app.transformer import GPTModel, fuse


class RunModel:
    """A model, placed on the devices of `ranks` and ready for its first step."""

    def __init__(self, config: TrainingConfig, ranks: Ranks, model: GPTModel) -> None:
        self._config = config
        self.model = fuse(model)
        if config.lora is None:
            freeze(model, config.freeze)
        if config.gradient_checkpointing:
            self.model.enable_gradient_checkpointing()
        self._layout = build_layout(ranks)
        self._layout.place(self.model)
        decay = config.ema_decay
        self.average = None if decay is None else AveragedWeights(self.model, decay)
        self.forward: Any = compiled(self.model) if config.compile else self.model
        """The model, compiled where the configuration asks for it."""
        self.optimizer = build_optimizer(self.model, config, ranks.device)
        self.scheduler = build_scheduler(self.optimizer, config)
        self.stepper = self._layout.stepper(self.forward, self.model, self.optimizer, config)

    def state(self, step: int, loss: float, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole state of a checkpoint; tensors are the live ones, not copies.

        `extra` is what the other parts of the run add to it. All ranks take part.
        """
        own = {
            "scaler_state_dict": self.stepper.scaler.state_dict(),
            "skipped_steps": self.stepper.skipped_steps,
            "averaged_state_dict": self.average.state_dict() if self.average else None,
        }
        return self._layout.full_state(
            build_state(
                self.model,
                self.optimizer,
                self.scheduler,
                step,
                loss,
                self._config,
                {**own, **extra},
            )
        )

    def restore(self, state: Mapping[str, Any], path: Path) -> None:
        """Take weights, moments, schedule and scale from the state of the checkpoint `path`."""
        weights = self._layout.local_weights(state["model_state_dict"], self.model)
        load_model(self.model, weights, path)
        if self.average is not None:
            averages = state.get("averaged_state_dict")
            self.average.load(averages and self._layout.local_weights(averages, self.model))
        self._restore_optimizer(state["optimizer_state_dict"])
        self.scheduler.load_state_dict(state["scheduler_state_dict"])
        if state["scaler_state_dict"]:  # empty unless the run was in fp16
            self.stepper.scaler.load_state_dict(state["scaler_state_dict"])
        self.stepper.skipped_steps = state["skipped_steps"]

    def _restore_optimizer(self, saved: Mapping[str, Any]) -> None:
        """Take the moments; rates and decays stay those of the configuration."""
        groups = self.optimizer.param_groups
        options = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        self.optimizer.load_state_dict(self._layout.local_moments(saved, self.optimizer))
        for group, configured in zip(self.optimizer.param_groups, options, strict=True):
            group.update(configured)
