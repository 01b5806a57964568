"""A tokenizer of one's own: byte-level BPE, trained on the text that it is going to encode.

The same text gives the same bytes of tokenizer.json, whatever the number of threads. Text is given
to the library in long pieces: in a file it would see each line alone, and learn no token that goes
over a line's end. Words are divided as Qwen 2 divides them, each digit for itself.
"""

from __future__ import annotations

import contextvars
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from app.training import progress
from app.training.text_cuts import WORDS
from app.training.tokenizer import (
    PretrainedTokenizer,
    Tokenizer,
    TokenizerError,
    load_tokenizer,
)
from app.training.tokenizer_files import SMALLEST_BPE, trained_size

logger = logging.getLogger(__name__)

END_OF_TEXT: Final = "<|endoftext|>"

SAMPLE_CHARACTERS: Final = 1 << 28
"""Characters that a tokenizer is trained on at most: of a longer text, pieces at even distances."""

_PIECE_CHARACTERS: Final = 1 << 16
_SHOW_SECONDS: Final = 0.5
_LEAST_COUNT: Final = 2
"""Occurrences of a pair before it becomes a token: what occurs once compresses nothing else."""


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    *,
    special_tokens: Sequence[str] = (),
    characters: int | None = None,
    name: str = "bpe",
) -> PretrainedTokenizer:
    """Train a tokenizer of at most `vocab_size` ids.

    Its ids are `<|endoftext|>`, which is id 0, further special tokens, the bytes and the merges.

    Args:
        texts: the text in pieces of any length.
        characters: about how long the text is, or None where it is short enough for all of it.
        name: what to call the tokenizer in messages.

    Raises:
        TokenizerError: `vocab_size` has no room for bytes and special tokens, or there is no text.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    special = [END_OF_TEXT, *special_tokens]
    _require_room(vocab_size, len(special))
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=_LEAST_COUNT,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    counted = _CountedTexts(sample(texts, characters), special)
    _shown(lambda: made.train_from_iterator(counted, trainer), counted)
    if not counted.characters:
        raise TokenizerError(
            "there is no text to train a tokenizer on; the data must hold some; check the path"
        )
    return PretrainedTokenizer(str(made.to_str(pretty=True)), name, {"eos_token": END_OF_TEXT})


def _shown(train: Callable[[], object], texts: _CountedTexts) -> None:
    """Call `train` in a thread, and report to `progress` once it has read all texts.

    Merging the pairs that it counted takes minutes without a call to Python.
    """
    context = contextvars.copy_context()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            context.run(train)
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with progress.working("training_tokenizer", 0):
        while thread.is_alive():
            thread.join(_SHOW_SECONDS)
            if texts.all_read:
                progress.advanced(0)
    if errors:
        raise errors[0]


def tokenizer_of_text(
    spec: str,
    texts: Iterable[str],
    *,
    characters: int | None = None,
    special_tokens: Sequence[str] = (),
) -> Tokenizer:
    """Return the tokenizer that follows from a text: an alphabet (`char`), or trained (`bpe:4096`).

    Args:
        characters: about how long the text is, see `train_bpe`.
    """
    size = trained_size(spec)
    if size is None:
        return load_tokenizer(spec, text_source=texts)
    share = 1 / _step(characters)
    logger.info("training a tokenizer of %s ids on %.3g %% of the text", f"{size:,}", 100 * share)
    return train_bpe(texts, size, special_tokens=special_tokens, characters=characters, name=spec)


def sample(
    texts: Iterable[str], characters: int | None, most: int = SAMPLE_CHARACTERS
) -> Iterator[str]:
    """Yield the text in pieces.

    Of one with more than `most` characters every second, third, … piece.
    """
    step = _step(characters, most)
    for number, piece in enumerate(_pieces(texts)):
        if number % step == 0:
            yield piece


def _step(characters: int | None, most: int = SAMPLE_CHARACTERS) -> int:
    return 1 if not characters else -(-characters // most)


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """Pieces of about the same length, whatever the length of what comes in."""
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(text)
        if length >= _PIECE_CHARACTERS:
            joined = "".join(waiting)
            whole = len(joined) - len(joined) % _PIECE_CHARACTERS
            yield from (
                joined[start : start + _PIECE_CHARACTERS]
                for start in range(0, whole, _PIECE_CHARACTERS)
            )
            waiting, length = [joined[whole:]], len(joined) - whole
    if length:
        yield "".join(waiting)


def _require_room(vocab_size: int, special: int) -> None:
    if vocab_size < SMALLEST_BPE - 1 + special:
        raise TokenizerError(
            f"the tokenizer's `vocab_size` is {vocab_size}; it must be at least "
            f"{SMALLEST_BPE - 1 + special}, for 256 bytes and {special} special tokens; try 4096"
        )


class _CountedTexts:
    """Text on its way to the library, without special tokens, and how much of it there was."""

    def __init__(self, texts: Iterator[str], special: Sequence[str]) -> None:
        self._texts = texts
        self._special = re.compile("|".join(map(re.escape, special)))
        self.characters = 0
        self.all_read = False

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.characters += len(text)
            yield self._special.sub("", text)
        self.all_read = True
