"""The beginning of a dataset as text, and a tokenizer for it, for a report before training.

The report reads part of the data only. So a tokenizer that training learns from the data is learned
from that part here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from app.training.config import TrainingConfig
from app.training.data.chat_template import RenderedConversation
from app.training.data.conversation_texts import rendered_conversations, template_of
from app.training.data.documents import first_documents
from app.training.data.formats import DataFile, ReadOptions
from app.training.data.inspection import WindowReport, WindowSegment
from app.training.data.parts import DOCUMENT_END, Part, Piece
from app.training.data.sources import Corpus, content_of_file
from app.training.data.tally import WINDOWS
from app.training.tokenizer import CharTokenizer, Tokenizer, TokenizerError, load_tokenizer
from app.training.tokenizer_files import is_path, trained_size
from app.training.tokenizer_training import tokenizer_of_text

_MOST_TRAINED_ON = 1 << 21
"""Characters that a tokenizer is trained on for the report."""


def tokenizer_of_sample(
    files: Sequence[DataFile], config: TrainingConfig, characters: int
) -> Tokenizer | None:
    """Return the configured tokenizer; None where it cannot be loaded and all files hold ids.

    An alphabet (`char`) or a trained vocabulary is learned from the first `characters` characters.
    """
    contents = {content_of_file(file, ReadOptions.of(config)) for file in files}
    has_text = any(content != "input_ids" for content in contents)
    try:
        if has_text and config.tokenizer == "char":
            return CharTokenizer(_alphabet(files, config, characters))
        if has_text and trained_size(config.tokenizer):
            texts = _texts(files, config, min(characters, _MOST_TRAINED_ON))
            return tokenizer_of_text(config.tokenizer, texts)
        return load_tokenizer(config.tokenizer)
    except TokenizerError:
        if contents == {"input_ids"}:
            return None
        raise


def _alphabet(files: Sequence[DataFile], config: TrainingConfig, characters: int) -> set[str]:
    alphabet = {"\n"}
    for text in _texts(files, config, characters):
        alphabet.update(text)
    return alphabet


def _texts(files: Sequence[DataFile], config: TrainingConfig, characters: int) -> Iterator[str]:
    """Yield the texts of documents until they have `characters` characters or more."""
    for file in files:
        for piece in pieces_of(file, config):
            if isinstance(piece, Part) and isinstance(piece.content, str):
                yield piece.content
                characters -= len(piece.content)
            if characters <= 0:
                return


def pieces_of(file: DataFile, config: TrainingConfig) -> Iterator[Piece]:
    """Yield the documents of a file as training reads them; conversations as rendered text."""
    options = ReadOptions.of(config)
    corpus = Corpus((file,), content_of_file(file, options), options)
    if corpus.content == "conversation":
        return _conversations(corpus, config)
    return first_documents(corpus.pieces(), config.data.max_documents)


def _conversations(corpus: Corpus, config: TrainingConfig) -> Iterator[Piece]:
    template = template_of(config, _tokenizer_of_files(config))
    for place, rendered in rendered_conversations(corpus, template, config):
        yield Part(rendered.text, place)
        yield DOCUMENT_END


def _tokenizer_of_files(config: TrainingConfig) -> Tokenizer | None:
    """Return the configured tokenizer if it has files, whose chat template then counts."""
    return load_tokenizer(config.tokenizer) if is_path(config.tokenizer) else None


def first_conversations(
    file: DataFile, config: TrainingConfig, tokenizer: Tokenizer
) -> list[WindowReport]:
    """Return the first conversations in segments, trained on or not; empty for other data."""
    options = ReadOptions.of(config)
    corpus = Corpus((file,), content_of_file(file, options), options)
    if corpus.content != "conversation":
        return []
    conversations = rendered_conversations(corpus, template_of(config, tokenizer), config)
    train_on_all = config.data.loss_on == "all"
    return [
        WindowReport(len(tokenizer.encode(rendered.text)), list(_segments(rendered, train_on_all)))
        for _, rendered in itertools.islice(conversations, WINDOWS)
    ]


def _segments(rendered: RenderedConversation, train_on_all: bool) -> Iterator[WindowSegment]:
    """Yield the text in turn: what is between the assistant's spans, and the spans."""
    text, end = rendered.text, 0
    for span_start, span_end in rendered.spans:
        if end < span_start:
            yield WindowSegment(text[end:span_start], trained=train_on_all)
        if span_start < span_end:
            yield WindowSegment(text[span_start:span_end], trained=True)
        end = span_end
    if end < len(text):
        yield WindowSegment(text[end:], trained=train_on_all)
