"""The data of a run: what its datasets say about themselves, and the batches of each step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.training.batches import Batch, BatchStream, SampleReader, sample_count
from app.training.config import TrainingConfig
from app.training.data_warnings import warn
from app.training.distributed import Ranks
from app.training.errors import ResumeError
from app.training.fit import step_beyond_data
from app.training.sampler import BatchSampler, SamplerStateError, seed_for

logger = logging.getLogger(__name__)


class RunData:
    """The datasets of a run, the training data in the order of its sampler.

    Args:
        config, train_dataset, val_dataset: as for `Trainer`.
        ranks: the processes that share the batches.

    Raises `ValueError` for datasets that have no length or no sample.
    """

    def __init__(
        self, config: TrainingConfig, ranks: Ranks, train_dataset: Any, val_dataset: Any
    ) -> None:
        self.tokenizer = getattr(train_dataset, "tokenizer", None)
        self._chat_template = getattr(train_dataset, "chat_template", None)
        self._fingerprint = getattr(train_dataset, "fingerprint", None)
        self._batches_of_step = config.gradient_accumulation_steps
        samples = sample_count(train_dataset, "train_dataset")
        self._sampler = BatchSampler(
            samples,
            config.batch_size,
            config.seed,
            shuffle=not getattr(train_dataset, "has_own_order", False),
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        batch = self._sampler.global_batch_size
        if warning := step_beyond_data(samples, batch, config.gradient_accumulation_steps):
            warn(warning.field, warning.message)
        size, length = config.model_config.vocab_size, config.get_sequence_length() + 1
        reader = SampleReader(train_dataset, config.seed, size, length)
        pinned = ranks.device.type == "cuda"
        self.stream = BatchStream(reader, self._sampler, config.num_workers, pinned)
        self.val_reader: SampleReader | None = None
        if val_dataset is not None:
            sample_count(val_dataset, "val_dataset")
            seed = seed_for("validation", config.seed)
            self.val_reader = SampleReader(val_dataset, seed, size, length)

    def fetch(self) -> tuple[list[Batch], str]:
        """Return the micro-batches of the next step, and where in the data they come from."""
        epoch, first = self._sampler.epoch, self._sampler.position
        batches, count = [], 0
        for _ in range(self._batches_of_step):
            count += self._sampler.span
            batches.append(self.stream.next())
        return batches, f"epoch {epoch}, {count} samples from {first} on"

    def state_dict(self) -> dict[str, Any]:
        """Return the data's part of a checkpoint."""
        return {
            "sampler_state_dict": self._sampler.state_dict(),
            "tokenizer": self.tokenizer.to_dict() if self.tokenizer is not None else None,
            "chat_template": self._chat_template,
            "data_fingerprint": self._fingerprint,
        }

    def restore(self, state: Mapping[str, Any], path: Path, *, is_fork: bool = False) -> list[str]:
        """Continue where the checkpoint `path` was; return what is no longer bitwise about it.

        A fork begins other data, or another order of them, at their start.

        Raises:
            ResumeError: The checkpoint's place is not one in these data.
        """
        try:
            self._sampler.load_state_dict(state["sampler_state_dict"])
        except SamplerStateError as error:
            if is_fork:
                logger.info("the data begin at their start: %s", error)
                return []
            raise ResumeError(f"cannot resume from {path}: {error}") from None
        if state["data_fingerprint"] == self._fingerprint:
            return []
        if is_fork:
            self._sampler.begin()
            return []
        logger.warning("the run is no longer bitwise what it would have been: other data")
        return ["the data are not those it was begun with"]
