"""From files to ids in the cache, once for each content and tokenizer. Never imports torch.

Documents follow each other with a separator between them: the tokenizer's end-of-text id where it
has one (gpt2), else a blank line. A single text file is one document and gets no separator.
Records of `input_ids` are taken as they are and simply joined.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.training import progress
from app.training.config import DataConfig, TrainingConfig
from app.training.data.arrays import TokenArray, id_dtype, open_token_file
from app.training.data.cache import (
    Entry,
    cache_directory,
    cache_key,
    get_or_create,
)
from app.training.data.continued import ContinuedData
from app.training.data.corpus_digests import corpus_digests
from app.training.data.documents import in_order, shuffled
from app.training.data.encoding import UnequalIdsError, encode_parts
from app.training.data.errors import DataError, require_id, require_row
from app.training.data.facts import content_digest, memoized
from app.training.data.formats import ReadOptions
from app.training.data.parts import Part
from app.training.data.pieces import PIECE_CHARACTERS, cut_pieces
from app.training.data.sources import Corpus
from app.training.data.training_text import BLANK_LINE, plain_text, text_parts
from app.training.data_warnings import warn
from app.training.text_cuts import Cut
from app.training.tokenizer import (
    Tokenizer,
    TokenizerError,
    load_tokenizer,
    tokenizer_from_dict,
)
from app.training.tokenizer_files import is_made_of_text
from app.training.tokenizer_training import tokenizer_of_text

logger = logging.getLogger(__name__)

Ids = npt.NDArray[Any]

_TOKENIZER_OF_MODEL = "use the tokenizer that the model was made for"
_NO_IDS: Ids = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class TokenizedData:
    """Ids on disk with what is known of them."""

    tokens: TokenArray
    largest: int
    tokenizer: Tokenizer | None
    fingerprint: str


def tokenize(
    path: Path,
    corpus: Corpus,
    config: TrainingConfig,
    tokenizer: Tokenizer | None,
    continued: ContinuedData | None = None,
) -> TokenizedData:
    """Return the ids of a corpus.

    Args:
        tokenizer: wins over the configuration's.
        continued: of the checkpoint that the run goes on from; its tokenizer encodes text that has
            changed since.
    """
    directory = cache_directory(path)
    vocab_size = config.model_config.vocab_size
    if [file.form for file in corpus.files] == ["array"]:
        data = _from_array(corpus.files[0].path, directory, corpus.options, config.tokenizer)
    else:
        data = _from_corpus(corpus, directory, config, tokenizer, continued)
    if data.tokens.count == 0:
        raise DataError(f"{str(path)!r} is empty; it must hold text or ids; check the path")
    require_row(repr(str(path)), data.largest, vocab_size, _TOKENIZER_OF_MODEL)
    return data


def _from_array(path: Path, directory: Path, options: ReadOptions, spec: str) -> TokenizedData:
    tokens = open_token_file(path, options)
    name = f"range:{tokens.dtype}:{tokens.offset}"
    with progress.working("reading", path.stat().st_size):
        fact = memoized(path, directory, name, lambda: "{} {}".format(*tokens.range()))
    smallest, largest = map(int, fact.split())
    require_id(repr(str(path)), smallest)
    with progress.working("reading", path.stat().st_size):
        digest = cache_key(content_digest(path, directory), tokens.dtype)
    return TokenizedData(tokens, largest, _tokenizer_of_ids(spec, largest), digest)


def _from_corpus(
    corpus: Corpus,
    directory: Path,
    config: TrainingConfig,
    tokenizer: Tokenizer | None,
    continued: ContinuedData | None,
) -> TokenizedData:
    spec = config.tokenizer
    digests = corpus_digests(corpus, directory)
    selected = _document_selection(config)
    if corpus.content == "input_ids":
        key = cache_key("input_ids", *selected, *digests)
        ids = _arranged(_ids_of(corpus, config.data), lambda: _NO_IDS, config, directory)
        with progress.working("reading", corpus.size):
            entry = get_or_create(directory, key, "<u4", lambda: (ids, {}))
        return _tokenized(entry, key, _tokenizer_of_ids(spec, entry.largest))
    if tokenizer is None and not is_made_of_text(spec):
        tokenizer = load_tokenizer(spec)
    # A tokenizer that follows from the text has the text alone as its key: it need not be made to
    # find the entry, which holds it.
    separator = config.data.document_separator
    named = [] if separator is None else [f"separator {separator!r}"]

    def key_of(tokenizer: Tokenizer | None) -> str:
        name = _tokenizer_key(tokenizer, spec, corpus)
        return cache_key("text", name, *named, *selected, *digests)

    if continued is not None:
        tokenizer = continued.tokenizer_unless(key_of(None))
    key = key_of(tokenizer)

    def write(fast: bool = True) -> tuple[Iterable[npt.NDArray[Any]], dict[str, Any]]:
        logger.info("tokenizing %d files into %s", len(corpus.files), directory)
        used = tokenizer or _made_of_text(corpus, config)
        stream = _encoded(corpus, used, config, fast=fast)
        between = functools.cache(lambda: _separator(used, separator))
        ids = _arranged(stream, between, config, directory)
        return ids, {"tokenizer": used.to_dict()}

    dtype = id_dtype(spec, tokenizer)
    try:
        with progress.working("tokenizing", corpus.size):
            entry = get_or_create(directory, key, dtype, write)
    except UnequalIdsError as place:
        logger.warning("the faster encoder's ids differ at %s; tokenizing again without it", place)
        with progress.working("tokenizing", corpus.size):
            entry = get_or_create(directory, key, dtype, lambda: write(fast=False))
    return _tokenized(entry, key, tokenizer or tokenizer_from_dict(entry.extra["tokenizer"]))


def _made_of_text(corpus: Corpus, config: TrainingConfig) -> Tokenizer:
    with progress.working("reading", corpus.size):
        texts = plain_text(corpus, config.data)
        return tokenizer_of_text(config.tokenizer, texts, characters=corpus.size)


def _document_selection(config: TrainingConfig) -> list[str]:
    """Return the part of the cache key for which documents are taken, and in which order."""
    data = config.data
    return [
        *([] if data.max_documents is None else [f"documents {data.max_documents}"]),
        *([f"shuffled {config.seed}"] if data.shuffle_documents else []),
    ]


def _arranged(
    stream: Iterable[Ids | None],
    separator: Callable[[], Ids],
    config: TrainingConfig,
    directory: Path,
) -> Iterator[Ids]:
    if config.data.shuffle_documents:
        return shuffled(stream, separator, config.seed, directory)
    return in_order(stream, separator)


def _tokenizer_key(tokenizer: Tokenizer | None, spec: str, corpus: Corpus) -> str:
    """Return what a cache entry depends on beside the text.

    Releases before this one cut long text in places where some tokenizers do not divide it: what
    they wrote for such a tokenizer is not used.
    """
    if tokenizer is None:
        return spec
    is_long = any(file.path.stat().st_size >= PIECE_CHARACTERS for file in corpus.files)
    cut_otherwise = tokenizer.cut < Cut.BEFORE_WHITE_SPACE and is_long
    return tokenizer.fingerprint + (" whole" if cut_otherwise else "")


def _tokenized(entry: Entry, fingerprint: str, tokenizer: Tokenizer | None) -> TokenizedData:
    tokens = TokenArray(entry.path, entry.dtype, 0, entry.count)
    return TokenizedData(tokens, entry.largest, tokenizer, fingerprint)


def _tokenizer_of_ids(spec: str, largest: int) -> Tokenizer | None:
    """Return the configured tokenizer if it can have made these ids, which training never needs."""
    try:
        tokenizer = load_tokenizer(spec)
        if largest < tokenizer.vocab_size:
            return tokenizer
        reason = f"it has {tokenizer.vocab_size} ids and the data holds {largest}"
    except TokenizerError as error:
        reason = str(error)
    warn(
        "tokenizer",
        f"the data holds ids, and the tokenizer {spec!r} does not fit them ({reason}); the "
        "checkpoint will have none, so text cannot be generated from it",
    )
    return None


def _encoded(
    corpus: Corpus, tokenizer: Tokenizer, config: TrainingConfig, *, fast: bool
) -> Iterator[Ids | None]:
    may_lack_rows = tokenizer.vocab_size > config.model_config.vocab_size
    pieces = cut_pieces(text_parts(corpus, config.data), tokenizer.cut, config.tokenizer)
    for part, ids in encode_parts(pieces, tokenizer, fast=fast):
        if may_lack_rows and part is not None and ids is not None:
            _require_row(ids, part, tokenizer, config)
        yield ids


def _require_row(ids: Ids, part: Part, tokenizer: Tokenizer, config: TrainingConfig) -> None:
    """Refuse an id without a row at the first text that holds one, not after the last."""
    vocab_size = config.model_config.vocab_size
    if ids.size and (largest := int(ids.max())) >= vocab_size:
        raise DataError(
            f"{part.place} holds the token {largest}, but `model_config.vocab_size` is "
            f"{vocab_size}; the tokenizer {config.tokenizer!r} has {tokenizer.vocab_size} ids; set "
            f"vocab_size to at least {tokenizer.vocab_size}, or choose another tokenizer"
        )


def _separator(tokenizer: Tokenizer, text: str | None) -> Ids:
    if text is None and tokenizer.end_of_text_id is not None:
        return np.array([tokenizer.end_of_text_id], dtype=np.int64)
    try:
        return tokenizer.encode(BLANK_LINE if text is None else text)
    except TokenizerError as error:
        raise DataError(f"`data.document_separator` cannot be encoded: {error}") from error


def _ids_of(corpus: Corpus, data: DataConfig) -> Iterator[Ids | None]:
    for part in text_parts(corpus, data):
        yield None if part is None else np.asarray(part.content)
