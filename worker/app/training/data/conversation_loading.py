"""From a corpus of instruction data to windows: rendered, tokenized once into the cache, packed.

The cache holds, beside the ids, a bit for each that says whether it is trained on (`trained.bits`),
and for each conversation its length and the place of the first such id (`conversations.bin`).
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.training import progress
from app.training.config import TrainingConfig
from app.training.data.arrays import TokenArray, id_dtype
from app.training.data.cache import Entry, SideFile, cache_directory, cache_key, get_or_create
from app.training.data.chat_template import (
    CHATML,
    CHATML_TOKENS,
    ChatTemplate,
    RenderedConversation,
)
from app.training.data.continued import ContinuedData, continued_data
from app.training.data.conversation_texts import rendered_conversations, template_of
from app.training.data.conversation_windows import (
    Conversations,
    ConversationWindows,
    Fit,
    fitted,
)
from app.training.data.corpus_digests import corpus_digests
from app.training.data.documents import shuffled_order
from app.training.data.errors import DataError, require_row
from app.training.data.packing import Indices
from app.training.data.parts import Place
from app.training.data.sources import Corpus, CorpusWithValidation, corpus_at
from app.training.data.trained_tokens import TrainedTokens, trained_tokens
from app.training.data_warnings import warn
from app.training.fit import unused_vocabulary
from app.training.tokenizer import (
    Ids,
    Tokenizer,
    TokenizerError,
    load_tokenizer,
    tokenizer_from_dict,
)
from app.training.tokenizer_files import is_made_of_text
from app.training.tokenizer_training import tokenizer_of_text

logger = logging.getLogger(__name__)

_MARKS: Final = "trained.bits"
_LENGTHS: Final = "conversations.bin"
_TOKENS_AT_ONCE: Final = 1 << 18
"""Conversations are written together up to about so many tokens."""


@dataclass(frozen=True, slots=True)
class TokenizedConversations:
    """Conversations on disk with what is known of them."""

    conversations: Conversations
    tokenizer: Tokenizer
    template: ChatTemplate
    fingerprint: str


def load_conversations(
    path: Path, corpora: CorpusWithValidation, config: TrainingConfig
) -> tuple[ConversationWindows, ConversationWindows | None]:
    """Return windows for training and for validation, see `load_dataset`.

    Raises:
        DataError: A record is not a conversation, the template cannot write it, or none is left.
    """
    data = _tokenize(path, corpora.corpus, config, None, continued_data(config))
    _warn_of_unused_vocabulary(data.tokenizer, config)
    order, validation = _order(len(data.conversations), config), corpora.validation
    count = len(order)
    if config.val_dataset_path is not None:
        path_there = Path(config.val_dataset_path)
        validation = corpus_at(path_there, config, "validation").corpus
        _require_conversations(validation, path_there)
    if validation is not None:
        all_of_it = replace(config, data=replace(config.data, max_documents=None))
        other = _tokenize(path, validation, all_of_it, data.tokenizer)
        held_back = _windows(other, np.arange(len(other.conversations)), path, config)
        return _windows(data, order, path, config), held_back
    split = max(int(count * (1 - config.val_fraction)), 1)
    train = _windows(data, order[:split], path, config)
    return train, _windows(data, order[split:], path, config) if split < count else None


def require_no_conversations(corpus: Corpus, config: TrainingConfig, path: Path) -> None:
    """Raise `DataError` for conversations beside text, or text where answers are asked for."""
    if corpus.content == "conversation":
        raise DataError(
            f"the validation data {str(path)!r} hold conversations, and the training data do not; "
            "both must be of one kind; set `val_dataset_path` to other data"
        )
    if config.data.loss_on == "completion":
        raise DataError(
            f"`data.loss_on` is 'completion', and {str(path)!r} holds no conversations (`messages`,"
            " `prompt` and `completion`, or `instruction` and `output`), so no text is known to be "
            "an answer; leave `data.loss_on` out, or bring such records"
        )


def _require_conversations(corpus: Corpus, path: Path) -> None:
    if corpus.content != "conversation":
        raise DataError(
            f"the validation data {str(path)!r} hold no conversations, and the training data do; "
            "both must be of one kind; set `val_dataset_path` to other data"
        )


def _warn_of_unused_vocabulary(tokenizer: Tokenizer, config: TrainingConfig) -> None:
    if warning := unused_vocabulary(config, config.tokenizer, tokenizer.vocab_size):
        warn(warning.field, warning.message)


def _order(count: int, config: TrainingConfig) -> Indices:
    """Return the conversations in their order, or in one drawn from the seed."""
    return shuffled_order(count, config.seed) if config.data.shuffle_documents else np.arange(count)


def _tokenize(
    path: Path,
    corpus: Corpus,
    config: TrainingConfig,
    tokenizer: Tokenizer | None,
    continued: ContinuedData | None = None,
) -> TokenizedConversations:
    """Return the conversations of a corpus; for `tokenizer` and `continued` see `tokenize`."""
    spec = config.tokenizer
    if tokenizer is None and not is_made_of_text(spec):
        tokenizer = load_tokenizer(config.tokenizer)
    template, directory = template_of(config, tokenizer), cache_directory(path)
    data, digests = config.data, corpus_digests(corpus, directory)

    def key_of(tokenizer: Tokenizer | None) -> str:
        return cache_key(
            "weighted conversations",  # earlier releases ignored `weight`
            spec if tokenizer is None else tokenizer.fingerprint,
            json.dumps([template.source, dict(template.tokens)], sort_keys=True),
            json.dumps([data.loss_on or "completion", data.document_separator, data.max_documents]),
            *digests,
        )

    if continued is not None:
        tokenizer = continued.tokenizer_unless(_fingerprint(key_of(None), config))
    key = key_of(tokenizer)

    def write() -> tuple[Iterator[Ids | SideFile], dict[str, Any]]:
        logger.info("tokenizing the conversations of %d files", len(corpus.files))
        used = tokenizer or _made_of_text(corpus, template, config)
        tokens = _tokenized(rendered_conversations(corpus, template, config), used, config)
        return _written(tokens, everything=data.loss_on == "all"), {"tokenizer": used.to_dict()}

    dtype = id_dtype(spec, tokenizer)
    with progress.working("tokenizing", corpus.size):
        entry = get_or_create(directory, key, dtype, write)
    _require_row(repr(str(path)), entry.largest, config)
    used = tokenizer or tokenizer_from_dict(entry.extra["tokenizer"])
    return TokenizedConversations(_conversations(entry), used, template, key)


def _fingerprint(conversations: str, config: TrainingConfig) -> str:
    """Return the fingerprint of windows of these conversations."""
    data = config.data
    return cache_key(conversations, str(data.pack), str(data.attend_across_documents))


def _made_of_text(corpus: Corpus, template: ChatTemplate, config: TrainingConfig) -> Tokenizer:
    texts = (rendered.text for _, rendered in rendered_conversations(corpus, template, config))
    special = CHATML_TOKENS if template.source == CHATML else ()
    with progress.working("reading", corpus.size):
        return tokenizer_of_text(
            config.tokenizer, texts, characters=corpus.size, special_tokens=special
        )


def _windows(
    data: TokenizedConversations, indices: Indices, path: Path, config: TrainingConfig
) -> ConversationWindows:
    """Windows of these conversations.

    Raises:
        DataError: None has anything to train on.
    """
    length = config.get_sequence_length()
    fit = fitted(data.conversations, indices, length + 1)
    if not len(fit.used):
        raise DataError(
            f"none of {len(indices)} conversations of {str(path)!r} has an answer that begins "
            f"within sequence_length + 1 = {length + 1} tokens, so there is nothing to train on; "
            "raise `sequence_length`"
        )
    _warn_of_losses(path, fit, len(indices), length)
    options = config.data
    return ConversationWindows(
        data.conversations,
        fit,
        length,
        pack=options.pack,
        attend_across=options.attend_across_documents,
        tokenizer=data.tokenizer,
        fingerprint=_fingerprint(data.fingerprint, config),
        chat_template=data.template.to_dict(),
    )


def _warn_of_losses(path: Path, fit: Fit, count: int, length: int) -> None:
    if not fit.cut and not fit.empty:
        return
    warn(
        "sequence_length",
        f"of {count:,} conversations of {str(path)!r}, {fit.cut:,} are longer than "
        f"sequence_length + 1 = {length + 1:,} tokens and lose their ends, together {fit.lost:,} "
        f"tokens; {fit.empty:,} are left out, since nothing of them is left to train on; raise "
        "`sequence_length` to take all",
    )


def _tokenized(
    conversations: Iterator[tuple[Place, RenderedConversation]],
    tokenizer: Tokenizer,
    config: TrainingConfig,
) -> Iterator[TrainedTokens]:
    end = _end(tokenizer, config.data.document_separator)
    for place, rendered in conversations:
        try:
            encode = functools.partial(trained_tokens, tokenizer, rendered)
            tokens = progress.encode_at(place, encode)
        except TokenizerError as error:
            raise DataError(f"{place} cannot be encoded: {error}") from error
        if tokens.ids.size:
            _require_row(place, int(tokens.ids.max()), config)
        yield _ended(tokens, end)


def _require_row(where: object, largest: int, config: TrainingConfig) -> None:
    remedy = f"choose another tokenizer than {config.tokenizer!r}"
    require_row(where, largest, config.model_config.vocab_size, remedy)


def _end(tokenizer: Tokenizer, separator: str | None) -> Ids:
    """Return what follows a conversation."""
    if separator is not None:
        return tokenizer.encode(separator)
    end = tokenizer.end_of_text_id
    return np.array([] if end is None else [end], dtype=np.int64)


def _ended(conversation: TrainedTokens, end: Ids) -> TrainedTokens:
    """Return the conversation with its end behind it, unless the last answer ends in it already.

    It is trained on where the assistant's turn reaches it: there it is what ends the turn.
    """
    answers = np.flatnonzero(conversation.trained)
    if not end.size or (answers.size and end[0] in conversation.ids[answers[-1] :]):
        return conversation
    marks = np.full(end.size, bool(conversation.trained.size and conversation.trained[-1]))
    return TrainedTokens(np.append(conversation.ids, end), np.append(conversation.trained, marks))


def _written(tokens: Iterator[TrainedTokens], *, everything: bool) -> Iterator[Ids | SideFile]:
    """Yield what the cache's entry is made of."""
    group: list[TrainedTokens] = []
    size = 0
    for conversation in tokens:
        marks = np.ones_like(conversation.trained) if everything else conversation.trained
        group.append(conversation._replace(trained=marks))
        size += len(conversation.ids)
        if size >= _TOKENS_AT_ONCE:
            yield from _group(group)
            group, size = [], 0
    yield from _group(group)


def _group(group: list[TrainedTokens]) -> Iterator[Ids | SideFile]:
    numbers = [(len(conversation.ids), _first_trained(conversation)) for conversation in group]
    yield np.concatenate([np.empty(0, np.int64), *(conversation.ids for conversation in group)])
    bits = [np.packbits(conversation.trained).tobytes() for conversation in group]
    yield SideFile(_MARKS, b"".join(bits))
    yield SideFile(_LENGTHS, np.array(numbers, dtype="<u4").tobytes())


def _first_trained(conversation: TrainedTokens) -> int:
    """From 1 on: the first token of a conversation follows from nothing."""
    places = np.flatnonzero(conversation.trained[1:])
    return int(places[0]) + 1 if places.size else len(conversation.ids)


def _conversations(entry: Entry) -> Conversations:
    folder = entry.path.parent
    numbers = np.fromfile(folder / _LENGTHS, dtype="<u4").reshape(-1, 2).astype(np.int64)
    lengths: Indices = numbers[:, 0]
    return Conversations(
        TokenArray(entry.path, entry.dtype, 0, entry.count),
        TokenArray(folder / _MARKS, "|u1", 0, entry.beside[_MARKS]),
        lengths,
        numbers[:, 1],
    )
