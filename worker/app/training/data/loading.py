"""From a path in the configuration to a training and a validation dataset."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from app.training.config import DataConfig, TrainingConfig
from app.training.data.continued import continued_data
from app.training.data.conversation_loading import load_conversations, require_no_conversations
from app.training.data.conversation_windows import ConversationWindows
from app.training.data.errors import DataError
from app.training.data.mixing import load_mixture
from app.training.data.mixture import MixedValidation, MixedWindows
from app.training.data.selection import Role
from app.training.data.sources import CorpusWithValidation, corpus_at
from app.training.data.summary import data_summary
from app.training.data.tokenizing import TokenizedData, tokenize
from app.training.data.windows import TrainingWindows, ValidationWindows
from app.training.data_warnings import warn
from app.training.fit import (
    short_validation,
    split_at,
    too_short,
    too_short_validation,
    unused_vocabulary,
)
from app.training.home import expanded
from app.training.initial_weights import complete_from_weights
from app.training.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

TrainingData = TrainingWindows | MixedWindows | ConversationWindows
ValidationData = ValidationWindows | MixedValidation | ConversationWindows


def load_dataset(
    path: str | Path | None, config: TrainingConfig
) -> tuple[TrainingData, ValidationData | None]:
    """Return the training windows of `path`, and validation windows.

    Where `config.data.sources` names several paths, `path` is None: they are mixed.

    Validation is `config.val_dataset_path`, else the files of `path` that are named for it, else
    the last `config.val_fraction` of `path`, else (a fraction of 0) None. A dataset's `tokenizer`
    is None where ids came without one that fits. A run that resumes keeps its checkpoint's where
    the configuration's is made of the text.

    Args:
        path: text or source code, records with `text`, a conversation or `input_ids` (JSON, JSON
            Lines, CSV, TSV, Parquet, Arrow), ids in `.bin`, `.ds` or `.npy`, or a folder of these,
            see `select`.
        config: read for `tokenizer`, `text_column`, `token_dtype`, `data`, `sequence_length`,
            `seed`, `val_fraction`, `val_dataset_path` and the model's `vocab_size`; what its
            `initial_weights` say of model and tokenizer is filled in.

    Raises:
        DataError: the data is missing, unreadable, too short, or has ids outside `vocab_size`.
        TokenizerError: the tokenizer cannot be had or cannot express the text.
    """
    complete_from_weights(config)
    if path is not None and not config.data.sources:
        train, validation = _load_path(path, corpus_at(Path(path), config, "train"), config)
        logger.info("%s", data_summary(train, validation, config))
        return train, validation
    if path is None and config.data.sources:
        mixture, held_back = load_mixture(config, _load_path)
        logger.info("%s", data_summary(mixture, held_back, config))
        return mixture, held_back
    raise DataError(
        f"the path of the data is {path!r} and `data.sources` has {len(config.data.sources)} "
        "entries; there must be one of the two; give a path, or set `data.sources`"
    )


def _load_path(
    path: str | Path, corpora: CorpusWithValidation, config: TrainingConfig
) -> tuple[TrainingWindows | ConversationWindows, ValidationWindows | ConversationWindows | None]:
    if corpora.corpus.content == "conversation":
        return load_conversations(Path(path), corpora, config)
    data, own_validation = _load(Path(path), corpora, config, None, "train")
    if own_validation is not None:
        config = dataclasses.replace(config, val_fraction=0.0)  # nothing is held back of the rest
    _warn_of_unused_vocabulary(data.tokenizer, config)
    if problem := too_short(path, data.tokens.count, config):
        raise DataError(problem)
    split = split_at(data.tokens.count, config)
    train = TrainingWindows(
        data.tokens,
        0,
        split,
        config.get_sequence_length(),
        seed=config.seed,
        tokenizer=data.tokenizer,
        fingerprint=data.fingerprint,
    )
    if config.val_dataset_path is not None:
        name: str | Path = config.val_dataset_path
        corpora = corpus_at(Path(name), config, "validation")
        val_data = _load(Path(name), corpora, config, data.tokenizer, "validation")[0]
        start = 0
    elif own_validation is not None:
        name, val_data, start = path, own_validation, 0
    elif split < data.tokens.count:
        name, val_data, start = path, data, split
    else:
        return train, None
    return train, _validation(val_data, start, name, config)


def _warn_of_unused_vocabulary(tokenizer: Tokenizer | None, config: TrainingConfig) -> None:
    if tokenizer is None:
        return
    if warning := unused_vocabulary(config, config.tokenizer, tokenizer.vocab_size):
        warn(warning.field, warning.message)


def _validation(
    data: TokenizedData, start: int, path: str | Path, config: TrainingConfig
) -> ValidationWindows:
    count = data.tokens.count - start
    if problem := too_short_validation(path, count):
        raise DataError(problem)
    if warning := short_validation(path, count, config):
        warn(warning.field, warning.message)
    return ValidationWindows(
        data.tokens,
        start,
        data.tokens.count,
        config.get_sequence_length(),
        tokenizer=data.tokenizer,
        fingerprint=data.fingerprint,
    )


def _load(
    path: Path,
    corpora: CorpusWithValidation,
    config: TrainingConfig,
    tokenizer: Tokenizer | None,
    role: Role,
) -> tuple[TokenizedData, TokenizedData | None]:
    """Return the ids of `path`, and of the data for validation that it holds itself."""
    path = expanded(path)
    for corpus in (corpora.corpus, corpora.validation):
        if corpus is not None:
            require_no_conversations(corpus, config, path)
    documents = config.data if role == "train" else _all_documents(config.data)
    continued = continued_data(config) if role == "train" else None
    part = dataclasses.replace(config, data=documents)
    data = tokenize(path, corpora.corpus, part, tokenizer, continued)
    config = dataclasses.replace(config, data=_all_documents(config.data))
    if corpora.validation is None or config.val_dataset_path is not None:
        return data, None
    return data, tokenize(path, corpora.validation, config, data.tokenizer)


def _all_documents(data: DataConfig) -> DataConfig:
    """Return the settings for validation data, which is taken as a whole and in order."""
    return dataclasses.replace(data, max_documents=None, shuffle_documents=False)
