"""What a resumed run keeps of its checkpoint when it loads its data: a tokenizer made of text.

The text may have changed since, and would make another tokenizer, whose ids mean something else.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from app.training.config import TrainingConfig
from app.training.data_warnings import warn
from app.training.home import expanded
from app.training.initial_weights import continues_tokenizer, weights_path
from app.training.tokenizer import (
    CharTokenizer,
    PretrainedTokenizer,
    Tokenizer,
    tokenizer_from_dict,
)
from app.training.tokenizer_files import is_made_of_text


class ContinuedData(NamedTuple):
    """What a checkpoint says of the data that its run was trained on."""

    tokenizer: Tokenizer
    fingerprint: str

    def tokenizer_unless(self, fingerprint: str) -> Tokenizer | None:
        """Return the checkpoint's tokenizer for data that are not those of its run."""
        if fingerprint == self.fingerprint:
            return None
        warn(
            "tokenizer",
            "the text is not what the checkpoint's tokenizer was made of: the run keeps that "
            "tokenizer",
        )
        return self.tokenizer


def continued_data(config: TrainingConfig) -> ContinuedData | None:
    """Return what the run's checkpoint says, where its tokenizer was made of its text.

    A run that begins with the weights of a checkpoint keeps that one's tokenizer. None for another
    run from step 0, and for another tokenizer than the configuration names: to go on with that is
    an error of the resume.

    Raises:
        CheckpointError: The checkpoint cannot be read.
    """
    if not is_made_of_text(config.tokenizer):
        return None
    from app.training.checkpoint_file import read_state

    path = checkpoint_to_continue(config) if config.resume_from_checkpoint else None
    if path is None and continues_tokenizer(config):
        path = weights_path(config)
    state = {} if path is None else read_state(path, mapped=True)
    if not (saved := state.get("tokenizer")):
        return None
    tokenizer = tokenizer_from_dict(saved)
    if not _is_named(tokenizer, config.tokenizer):
        return None
    return ContinuedData(tokenizer, state.get("data_fingerprint") or "")


def checkpoint_to_continue(config: TrainingConfig) -> Path | None:
    """Return the file that the run continues, as the trainer will find it."""
    from app.training.checkpoint import CheckpointManager

    where = config.resume_from_checkpoint
    manager = CheckpointManager(config.checkpoint_dir)
    named = manager.checkpoint_dir if where is True else expanded(str(where))
    if not named.is_dir():
        return named if named.is_file() else None
    latest, _ = manager.find_latest(named)
    return None if latest is None else Path(latest)


def _is_named(tokenizer: Tokenizer, spec: str) -> bool:
    if spec == "char":
        return isinstance(tokenizer, CharTokenizer)
    return isinstance(tokenizer, PretrainedTokenizer) and tokenizer.name == spec
