"""The text that a look into data reads, and the tokenizer that it reads it with."""

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
"""Characters that a tokenizer is trained on for a look."""


def tokenizer_of_sample(
    files: Sequence[DataFile], config: TrainingConfig, characters: int
) -> Tokenizer | None:
    """Return the tokenizer for so many characters of the files; None where ids need none.

    An alphabet or a vocabulary is learned from those characters.
    """
    contents = {content_of_file(file, ReadOptions.of(config)) for file in files}
    try:
        if contents - {"input_ids"} and config.tokenizer == "char":
            return CharTokenizer(_alphabet(files, config, characters))
        if contents - {"input_ids"} and trained_size(config.tokenizer):
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
    """Yield the beginning of the text, about so many characters."""
    for file in files:
        for piece in pieces_of(file, config):
            if isinstance(piece, Part) and isinstance(piece.content, str):
                yield piece.content
                characters -= len(piece.content)
            if characters <= 0:
                return


def pieces_of(file: DataFile, config: TrainingConfig) -> Iterator[Piece]:
    """Yield the documents of a file as training reads them; of conversations, their texts."""
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
    """Return the tokenizer where its files say how a conversation is written."""
    return load_tokenizer(config.tokenizer) if is_path(config.tokenizer) else None


def first_conversations(
    file: DataFile, config: TrainingConfig, tokenizer: Tokenizer
) -> list[WindowReport]:
    """Return the first conversations with what is trained on; empty for data of another kind."""
    options = ReadOptions.of(config)
    corpus = Corpus((file,), content_of_file(file, options), options)
    if corpus.content != "conversation":
        return []
    conversations = rendered_conversations(corpus, template_of(config, tokenizer), config)
    everything = config.data.loss_on == "all"
    return [
        WindowReport(len(tokenizer.encode(rendered.text)), list(_segments(rendered, everything)))
        for _, rendered in itertools.islice(conversations, WINDOWS)
    ]


def _segments(rendered: RenderedConversation, everything: bool) -> Iterator[WindowSegment]:
    start = 0
    for first, last in rendered.spans:
        if start < first:
            yield WindowSegment(rendered.text[start:first], everything)
        if first < last:
            yield WindowSegment(rendered.text[first:last], True)
        start = last
    if start < len(rendered.text):
        yield WindowSegment(rendered.text[start:], everything)
