"""The conversations of a corpus as text. Never imports torch: a look at the data asks it too."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from app.training.config import TrainingConfig
from app.training.data.chat_template import CHATML, ChatTemplate, RenderedConversation
from app.training.data.conversations import conversation_of
from app.training.data.errors import DataError
from app.training.data.parts import Place
from app.training.data.pieces import WHOLE_CHARACTERS
from app.training.data.sources import Corpus
from app.training.special_tokens import named_template
from app.training.tokenizer import PretrainedTokenizer, Tokenizer
from app.training.tokenizer_files import definition_file, is_path


def template_of(config: TrainingConfig, tokenizer: Tokenizer | None) -> ChatTemplate:
    """Return the configuration's template, else that of the tokenizer's files, else ChatML."""
    source = config.data.chat_template
    if source is None and is_path(config.tokenizer):
        source = named_template(definition_file(config.tokenizer))
    tokens = tokenizer.special_tokens if isinstance(tokenizer, PretrainedTokenizer) else {}
    return ChatTemplate(source or CHATML, tokens)


def rendered_conversations(
    corpus: Corpus, template: ChatTemplate, config: TrainingConfig
) -> Iterator[tuple[Place, RenderedConversation]]:
    """Yield the conversations as text."""
    for place, record in islice(corpus.records(), config.data.max_documents):
        rendered = template.render(conversation_of(record, place), place)
        if len(rendered.text) > WHOLE_CHARACTERS:
            raise DataError(
                f"{place} is a conversation of {len(rendered.text):,} characters; it must have at "
                f"most {WHOLE_CHARACTERS:,}, since it is encoded as a whole; divide it"
            )
        yield place, rendered
