"""The text of a corpus as one, for tokenizers that are made of it. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from app.training import progress
from app.training.config import DataConfig, TrainingConfig
from app.training.data.chat_template import CHATML, CHATML_TOKENS
from app.training.data.conversation_texts import rendered_conversations, template_of
from app.training.data.documents import first_documents, parts_and_breaks
from app.training.data.errors import DataError
from app.training.data.parts import Part
from app.training.data.sources import Corpus, corpus_at
from app.training.tokenizer import PretrainedTokenizer
from app.training.tokenizer_files import trained_name
from app.training.tokenizer_training import train_bpe

BLANK_LINE: Final = "\n\n"
"""Separates documents where the tokenizer has no end-of-text id."""


def text_parts(corpus: Corpus, data: DataConfig) -> Iterator[Part | None]:
    """Yield the parts of the documents that are wanted, with None between two documents."""
    return parts_and_breaks(first_documents(corpus.pieces(), data.max_documents))


def plain_text(corpus: Corpus, data: DataConfig) -> Iterator[str]:
    """Yield the text of a corpus with the separator between its documents."""
    separator = BLANK_LINE if data.document_separator is None else data.document_separator
    for part in text_parts(corpus, data):
        yield separator if part is None else str(part.content)


def train_tokenizer(path: str, vocab_size: int, text_column: str = "text") -> PretrainedTokenizer:
    """Train a byte-level BPE on the data of a path, as `tokenizer: {train: bpe}` does.

    Raises:
        DataError: the path holds no text, or none that can be read.
        TokenizerError: `vocab_size` is too small.
        ConfigError: an argument is out of range.
    """
    name = trained_name(vocab_size)
    config = TrainingConfig(tokenizer=name, text_column=text_column)
    config.validate()
    corpus = corpus_at(Path(path), config, "train").corpus
    if corpus.content == "input_ids":
        raise DataError(f"{path!r} holds ids; a tokenizer is trained on text; give the text")
    special: Sequence[str] = ()
    if corpus.content == "text":
        texts = plain_text(corpus, config.data)
    else:
        rendered = rendered_conversations(corpus, template_of(config, None), config)
        texts = (conversation.text for _, conversation in rendered)
        special = CHATML_TOKENS if template_of(config, None).source == CHATML else ()
    size = corpus.size
    with progress.working("reading", size):
        return train_bpe(texts, vocab_size, special_tokens=special, characters=size, name=name)
